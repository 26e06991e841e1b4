//! Reads and the tiers that answered them, in numbers.

use crate::demo::output::{percent, ratio};
use crate::demo::shoppers::tally::Sight;
use std::ops::Add;

/// Of the reads that reached a tier, the share that it answered. None: no read reached it.
#[derive(Debug, Clone, Copy)]
pub struct HitRatios {
    /// Of all reads.
    pub edge: Option<f64>,
    /// Of those that the edge passed on for a product of the hot set.
    pub l1: Option<f64>,
    /// Of those that L1 did not answer.
    pub l2: Option<f64>,
}

impl std::fmt::Display for HitRatios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "edge {}, L1 {}, L2 {}", percent(self.edge), percent(self.l1), percent(self.l2))
    }
}

/// Counts of one span of time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Reads answered.
    pub reads: u64,
    /// Answered by the edge.
    pub edge_hits: u64,
    /// L1 was asked.
    pub l1_asked: u64,
    /// L1 answered.
    pub l1_hits: u64,
    /// L2 was asked.
    pub l2_asked: u64,
    /// L2 answered.
    pub l2_hits: u64,
    /// The database answered.
    pub database: u64,
    /// No answer.
    pub failed: u64,
}

impl Counts {
    /// Counts one read.
    pub fn count(&mut self, sight: &Sight) {
        self.failed += u64::from(*sight == Sight::Failed);
        self.reads += u64::from(*sight != Sight::Failed);
        self.edge_hits += u64::from(*sight == Sight::Hit);
        if let Sight::Miss { tier, asked_l1, asked_l2, .. } = sight {
            self.l1_asked += u64::from(*asked_l1);
            self.l1_hits += u64::from(tier == "l1");
            self.l2_asked += u64::from(*asked_l2);
            self.l2_hits += u64::from(tier == "l2");
            self.database += u64::from(tier == "database");
        }
    }

    /// Hit ratios of edge, L1 and L2: of those asked, so many answered.
    pub fn hit_ratios(&self) -> HitRatios {
        HitRatios {
            edge: ratio(self.edge_hits, self.reads),
            l1: ratio(self.l1_hits, self.l1_asked),
            l2: ratio(self.l2_hits, self.l2_asked),
        }
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            edge_hits: self.edge_hits - earlier.edge_hits,
            l1_asked: self.l1_asked - earlier.l1_asked,
            l1_hits: self.l1_hits - earlier.l1_hits,
            l2_asked: self.l2_asked - earlier.l2_asked,
            l2_hits: self.l2_hits - earlier.l2_hits,
            database: self.database - earlier.database,
            failed: self.failed - earlier.failed,
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            reads: self.reads + other.reads,
            edge_hits: self.edge_hits + other.edge_hits,
            l1_asked: self.l1_asked + other.l1_asked,
            l1_hits: self.l1_hits + other.l1_hits,
            l2_asked: self.l2_asked + other.l2_asked,
            l2_hits: self.l2_hits + other.l2_hits,
            database: self.database + other.database,
            failed: self.failed + other.failed,
        }
    }
}
