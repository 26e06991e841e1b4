//! L2 under load: rows written by the function library, and by plain `HSET`, over one client and as many lanes.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lockstep_coherence::folded::Folded;
use lockstep_process::config::Url;
use lockstep_schemas::change::{Cell, Change};
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::position::Position;
use lockstep_tiers::tier::nonce;
use lockstep_tiers::{Applied, Apply, Fill, Filled, Layout, Place, Read, Tier};
use redis::aio::ConnectionManager;
use tokio::task::JoinSet;

use super::catalogue::{GROUP, VIEWS};
use crate::bench::usage::Account;
use crate::demo::PARTITIONS;

const TIMELINE: &str = "00000001";
const FILLS_AT_ONCE: usize = 64;
const TTL: Duration = Duration::from_secs(7_200);

/// What writing some rows cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub rows: f64,
    pub seconds: f64,
    pub server_cpu_seconds: f64,
    pub client_cpu_seconds: f64,
}

impl Cost {
    pub fn rows_per_second(&self) -> f64 {
        self.rows / self.seconds
    }

    pub fn server_us(&self) -> f64 {
        self.server_cpu_seconds * 1e6 / self.rows
    }

    pub fn client_us(&self) -> f64 {
        self.client_cpu_seconds * 1e6 / self.rows
    }
}

/// L2, its entries, and where each partition's watermark stands.
pub(super) struct Node {
    tier: Tier,
    plain: ConnectionManager,
    view: Arc<View>,
    reached: Vec<Position>,
}

impl Node {
    pub async fn connect(url: &str, policy: &Policy) -> Result<Self> {
        let layout = Arc::new(Layout::new(policy, "", PARTITIONS as u32));
        let tier = Tier::node(TierName::L2, &Url::parse("L2", url, &["redis"])?, layout).await?;
        tier.load_library().await?;
        let plain = redis::Client::open(url)?.get_connection_manager().await.context("connect to L2")?;
        let view = policy.views[VIEWS[0]].clone();
        Ok(Node { tier, plain, view, reached: vec![Position::LEAST; PARTITIONS] })
    }

    /// Creates an entry of each change, as a reader's miss does, and a plain hash beside it.
    pub async fn fill(&mut self, changes: Vec<Change>) -> Result<()> {
        let first = changes.first().context("a change")?.position;
        for (partition, reached) in self.reached.iter_mut().enumerate() {
            let first = Folded { through: first, actions: Vec::new() };
            apply(&self.tier, &place(partition), *reached, &first).await?;
            *reached = first.through;
        }
        let fills = changes.iter().map(|change| fill(&self.tier, &self.view, change));
        stream::iter(fills).buffer_unordered(FILLS_AT_ONCE).try_collect::<Vec<()>>().await?;
        self.set(vec![changes], usize::MAX).await.map(drop)
    }

    /// What each lane folds, applied by the library, one call after the other in a lane.
    pub async fn apply<F>(&mut self, rows: usize, lanes: Vec<F>) -> Result<Cost>
    where
        F: Iterator<Item = Folded> + Send + 'static,
    {
        let (tier, reached) = (self.tier.clone(), self.reached.clone());
        let work = lanes.into_iter().zip(reached).enumerate().map(|(partition, (folded, reached))| {
            let (tier, place) = (tier.clone(), place(partition));
            async move {
                let mut reached = reached;
                for batch in folded {
                    apply(&tier, &place, reached, &batch).await?;
                    reached = batch.through;
                }
                Ok((partition, reached))
            }
        });
        let (cost, ends) = self.measured(rows, work.collect()).await?;
        ends.into_iter().for_each(|(partition, reached)| self.reached[partition] = reached);
        Ok(cost)
    }

    /// The same rows as plain `HSET`s, so many in a pipeline.
    pub async fn set(&self, lanes: Vec<Vec<Change>>, at_once: usize) -> Result<Cost> {
        let rows = lanes.iter().map(Vec::len).sum();
        let work = lanes.into_iter().map(|changes| {
            let mut plain = self.plain.clone();
            async move {
                for batch in changes.chunks(at_once.min(1_000)) {
                    let mut pipe = redis::pipe();
                    batch.iter().for_each(|change| hset(&mut pipe, change));
                    pipe.query_async::<()>(&mut plain).await.context("HSET")?;
                }
                Ok(())
            }
        });
        Ok(self.measured(rows, work.collect()).await?.0)
    }

    async fn measured<T: Send + 'static>(
        &self,
        rows: usize,
        work: Vec<impl Future<Output = Result<T>> + Send + 'static>,
    ) -> Result<(Cost, Vec<T>)> {
        let server_before = self.server_cpu_seconds().await?;
        let (client_before, began) = (Account::of("self")?, Instant::now());
        let mut lanes: JoinSet<Result<T>> = work.into_iter().collect();
        let mut results = Vec::new();
        while let Some(done) = lanes.join_next().await {
            results.push(done.context("a lane panicked")??);
        }
        let (seconds, client_cpu_seconds) = (began.elapsed().as_secs_f64(), client_before.seconds_since()?);
        let server_cpu_seconds = self.server_cpu_seconds().await? - server_before;
        Ok((Cost { rows: rows as f64, seconds, server_cpu_seconds, client_cpu_seconds }, results))
    }

    async fn server_cpu_seconds(&self) -> Result<f64> {
        let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut self.plain.clone()).await?;
        let figure = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        let (system, user) = (figure("used_cpu_sys:"), figure("used_cpu_user:"));
        system.zip(user).map(|(system, user)| system + user).context("INFO cpu")
    }
}

fn place(partition: usize) -> Place {
    Place { group: GROUP.into(), partition: partition as u32 }
}

async fn apply(tier: &Tier, place: &Place, expect: Position, batch: &Folded) -> Result<()> {
    let nonce = nonce();
    let call = Apply {
        expect,
        new: batch.through,
        offset: batch.through.lsn.0 as i64,
        floor: None,
        timeline: TIMELINE,
        at: 0,
        nonce: &nonce,
        actions: &batch.actions,
        outward: None,
    };
    match tier.apply(place, &call).await? {
        Applied::Ok { refreshed, .. } if refreshed == batch.actions.len() as u64 => Ok(()),
        other => bail!("{} refreshes came to {other:?}", batch.actions.len()),
    }
}

async fn fill(tier: &Tier, view: &View, change: &Change) -> Result<()> {
    let entity = entity(change)?;
    let (key, place) = (view.key.key(entity), tier.layout().place(&GROUP.into(), entity));
    let Read::Lease(lease) = tier.read(&place, &key, None).await? else { bail!("{key} is there already") };
    let row = change.row().context("a row")?;
    let fields = row.iter().filter_map(|(name, cell)| match cell {
        Cell::Value(text) => Some((name.into(), text.to_string())),
        Cell::Null | Cell::Unknown => None,
    });
    let fill = Fill {
        nonce: &lease.nonce,
        low: lease.mark.position,
        high: lease.mark.position,
        source_at: Position::GREATEST,
        timeline: TIMELINE,
        ttl: TTL,
        fields: Some(&fields.collect()),
    };
    let filled = tier.fill(&place, &key, &fill).await?;
    ensure!(filled == Filled::Ok, "{key}: {filled:?}");
    Ok(())
}

fn hset(pipe: &mut redis::Pipeline, change: &Change) {
    let (row, entity) = (change.row(), entity(change).unwrap_or_default());
    let command = pipe.cmd("HSET").arg(format!("plain:{entity}"));
    for (name, cell) in row.into_iter().flat_map(|row| row.iter()) {
        if let Cell::Value(text) = cell {
            command.arg(name).arg(text.as_str());
        }
    }
    command.ignore();
}

fn entity(change: &Change) -> Result<&str> {
    change.row().and_then(|row| row.text("product_id")).context("a product's id")
}
