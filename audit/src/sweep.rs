//! One tier, again and again: each copy of it within the stated time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use lockstep_process::Shutdown;
use lockstep_process::retry::Pauses;
use lockstep_schemas::policy::TierName;

use crate::AuditError;
use crate::findings::Findings;
use crate::shared::{Paced, Seen, Shared};

/// Walks until shutdown.
pub(crate) async fn sweep(shared: Arc<Shared>, tier: TierName, shutdown: Shutdown) {
    let mut pauses = Pauses::default();
    loop {
        let began = Instant::now();
        let walked = tokio::select! {
            walked = walk(&shared, tier, &shutdown) => walked,
            () = shutdown.cancelled() => return,
        };
        match walked {
            Ok(copies) => {
                pauses = Pauses::default();
                let took = began.elapsed();
                shared.metrics.cycle(tier.as_str(), took.as_secs_f64());
                if took > shared.config.cycle {
                    tracing::warn!(
                        tier = tier.as_str(),
                        copies,
                        seconds = took.as_secs(),
                        "the audit's share does not suffice to look at every copy in the stated time"
                    );
                }
            }
            Err(error) => {
                shared.metrics.failures.inc();
                tracing::warn!(tier = tier.as_str(), %error, "a tier can't be audited; trying again");
            }
        }
        // An empty tier is walked at once, and then for ever.
        if !pauses.wait(&shutdown).await {
            return;
        }
    }
}

/// One walk: how many copies it looked at.
async fn walk(shared: &Arc<Shared>, tier: TierName, shutdown: &Shutdown) -> Result<u64, AuditError> {
    let mut paced = Paced::new(shared.clone(), tier, shutdown.clone());
    let (mut findings, mut seen) = (Findings::default(), Seen::new());
    let auditor = &shared.auditor;
    if tier != TierName::L3 {
        let mut nodes = auditor.nodes(tier, true).await?;
        let mut copies = 0;
        for node in &mut nodes {
            copies += node.size().await?;
        }
        shared.need(tier, copies);
        for mut node in nodes {
            auditor.node(tier, &mut node, &mut seen, &mut findings, &mut paced).await?;
        }
        return Ok(paced.looked);
    }
    let Some(edge) = &auditor.edge else { return Ok(0) };
    let mut marks = auditor.nodes(TierName::L2, false).await?;
    let mut copies = 0;
    for view in auditor.policy.views.values().filter(|view| view.tier == TierName::L3) {
        copies += auditor.rows.estimate(view).await?;
    }
    shared.need(tier, copies);
    for view in auditor.policy.views.values().filter(|view| view.tier == TierName::L3) {
        auditor.pages(edge, view, BTreeSet::new(), &mut marks, &mut findings, &mut paced).await?;
    }
    Ok(paced.looked)
}
