//! The auditor's time and its share.

use std::time::Duration;

use serde::Deserialize;

use crate::Failure;

const CYCLE_SECONDS_DEFAULT: u64 = 3_600;
const COPIES_PER_SECOND_MIN_DEFAULT: u32 = 1;
const REPAIRS_PER_SECOND_DEFAULT: u32 = 10;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditSection {
    cycle_s: Option<u64>,
    copies_per_second_min: Option<u32>,
    repair: Option<bool>,
    repairs_per_second: Option<u32>,
}

/// What the role audit may take.
#[derive(Clone, Copy, Debug)]
pub struct AuditConfig {
    /// Every copy of a tier is to be looked at within it.
    pub cycle: Duration,
    /// So many copies of a tier a second are looked at, however little it has to do; beyond it, one in a hundred of its
    /// commands may be ours.
    pub copies_per_second_min: u32,
    /// Whether the role has wrong copies dropped.
    pub repair: bool,
    /// So many of them a second.
    pub repairs_per_second: u32,
}

impl AuditSection {
    /// Checks it.
    pub fn build(&self) -> Result<AuditConfig, Failure> {
        let cycle_s = self.cycle_s.unwrap_or(CYCLE_SECONDS_DEFAULT);
        let copies_per_second_min = self.copies_per_second_min.unwrap_or(COPIES_PER_SECOND_MIN_DEFAULT);
        if cycle_s == 0 || copies_per_second_min == 0 {
            return Err(Failure::configuration("[audit] cycle_s and copies_per_second_min must not be 0")
                .remedy("choose at least 1, or run no role audit"));
        }
        let repairs_per_second = self.repairs_per_second.unwrap_or(REPAIRS_PER_SECOND_DEFAULT);
        if repairs_per_second == 0 {
            return Err(Failure::configuration("[audit] repairs_per_second = 0")
                .remedy("choose at least 1, or leave repair = true out"));
        }
        let repair = self.repair.unwrap_or(false);
        Ok(AuditConfig { cycle: Duration::from_secs(cycle_s), copies_per_second_min, repair, repairs_per_second })
    }
}
