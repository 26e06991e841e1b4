//! How far the tiers have come, as their watermark hashes say.

use crate::demo::caches::{Caches, RedisTier, scan};
use anyhow::Result;
use redis::aio::MultiplexedConnection;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the watermarks of one tier say together.
#[derive(Debug, Default, Clone, Copy)]
pub struct TierState {
    /// Partitions that have a watermark.
    pub partitions: usize,
    /// The age of the partition that is furthest behind, in ms. None: no watermark tells a time.
    pub age_ms: Option<u64>,
    /// Entries refreshed in place so far.
    pub refreshed: u64,
    /// Entries dropped so far.
    pub dropped: u64,
}

/// Reads one tier's watermarks again and again, over connections that it keeps as long as they work.
pub struct Watch {
    caches: Caches,
    tier: RedisTier,
    nodes: Vec<MultiplexedConnection>,
}

impl Watch {
    /// Connects at the first look.
    pub fn new(caches: Caches, tier: RedisTier) -> Self {
        Self { caches, tier, nodes: Vec::new() }
    }

    /// One look at all watermarks. After a failure the next look finds the primaries anew.
    pub async fn look(&mut self) -> Result<TierState> {
        let mut nodes = std::mem::take(&mut self.nodes);
        if nodes.is_empty() {
            nodes = self.caches.primaries(self.tier).await?;
        }
        let mut state = TierState::default();
        for node in &mut nodes {
            look_at_node(node, &mut state).await?;
        }
        self.nodes = nodes;
        Ok(state)
    }
}

async fn look_at_node(node: &mut MultiplexedConnection, state: &mut TierState) -> Result<()> {
    let mut watermarks = BTreeSet::new();
    scan(node, "*:_w", &mut watermarks).await?;
    if watermarks.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    for key in &watermarks {
        pipe.cmd("HMGET").arg(key).arg("at").arg("refreshed").arg("dropped");
    }
    let rows: Vec<(Option<u64>, Option<u64>, Option<u64>)> = pipe.query_async(node).await?;
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    for (at_us, refreshed, dropped) in rows {
        state.partitions += 1;
        state.age_ms = state.age_ms.max(at_us.map(|at_us| now_us.saturating_sub(at_us) / 1_000));
        state.refreshed += refreshed.unwrap_or(0);
        state.dropped += dropped.unwrap_or(0);
    }
    Ok(())
}
