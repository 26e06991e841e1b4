//! Connections to the primaries that are kept from one round to the next. After a failure they are made anew, which finds
//! a cluster as it is by then.

use lockstep_schemas::policy::TierName;

use crate::AuditError;
use crate::full::Auditor;
use crate::nodes::Node;

/// None yet, or all of a tier's.
#[derive(Default)]
pub(crate) struct Ways {
    l2: Vec<Node>,
    l1: Vec<Node>,
}

impl Ways {
    /// Gives connections up, after a failure.
    pub fn forget(&mut self, tier: TierName) {
        match tier {
            TierName::L1 => self.l1.clear(),
            TierName::L2 | TierName::L3 => self.l2.clear(),
        }
    }

    /// To a tier's primaries; of L3, whose watermarks lie there, to L2's.
    pub async fn to(&mut self, auditor: &Auditor, tier: TierName) -> Result<&mut Vec<Node>, AuditError> {
        let (on, kept) = match tier {
            TierName::L1 => (TierName::L1, &mut self.l1),
            TierName::L2 | TierName::L3 => (TierName::L2, &mut self.l2),
        };
        if kept.is_empty() {
            *kept = auditor.nodes(on, false).await?;
        }
        Ok(kept)
    }
}
