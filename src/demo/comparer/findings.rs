//! What a comparison found.

/// Stale entries that are told one by one; all are counted.
const LISTED_MAX: usize = 20;

/// One copy that says something else than the database.
#[derive(Debug, Clone)]
pub struct Stale {
    /// `l2`, `l1` or `edge`.
    pub tier: &'static str,
    /// Its key, or the page's path.
    pub key: String,
    /// What differs.
    pub what: String,
    /// From which position on it should have been good.
    pub low: Option<String>,
}

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let low = self.low.as_deref().unwrap_or("-");
        write!(f, "{:4} {}: {} (low {low})", self.tier, self.key, self.what)
    }
}

/// Counts of one tier.
#[derive(Debug, Default, Clone, Copy)]
pub struct TierFindings {
    /// Copies compared with their rows.
    pub compared: u64,
    /// Copies below their floor, which no reader takes.
    pub dead: u64,
    /// Copies that differ.
    pub stale: u64,
}

/// All tiers.
#[derive(Debug, Default)]
pub struct Findings {
    /// Redis, single node.
    pub l2: TierFindings,
    /// Redis Cluster.
    pub l1: TierFindings,
    /// Pages that the edge answered by itself.
    pub edge: TierFindings,
    /// Some of the stale copies.
    pub listed: Vec<Stale>,
}

impl Findings {
    /// Stale copies in all tiers.
    pub fn stale(&self) -> u64 {
        self.l2.stale + self.l1.stale + self.edge.stale
    }

    /// Counts a stale copy, and lists it while there are few.
    pub fn add_stale(&mut self, stale: Stale) {
        let tier = match stale.tier {
            "l2" => &mut self.l2,
            "l1" => &mut self.l1,
            _ => &mut self.edge,
        };
        tier.stale += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(stale);
        }
    }
}
