//! The shop: what is in its database before the demo, and the customers who change it.

/// One basket as one transaction.
pub mod basket;
/// Users and carts.
pub mod customers;
/// The week of sales before.
pub mod history;
/// Products.
pub mod load;
/// How fast, and for how long.
pub mod pace;
/// Everything that is not a sale.
pub mod sundry;

use crate::demo::shop::pace::Pace;
use crate::demo::trace::{Basket, Trace};
use anyhow::{Context, Result};
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::task::JoinSet;

const WRITERS: usize = 4;
/// After this many baskets something else happens once.
const BASKETS_PER_SUNDRY: usize = 50;
/// How often a transaction is tried again that the server gave up for another's sake.
const RETRIES_MAX: u32 = 5;

/// How far the shop has come in its trace: writers take the next basket, shoppers look a little ahead.
#[derive(Default)]
pub struct Till {
    next: AtomicUsize,
}

impl Till {
    /// The turn of the basket that is sold next.
    pub fn turn(&self) -> usize {
        self.next.load(Relaxed)
    }
}

/// Sells baskets by several connections until the pace is over.
pub async fn trade(pool: &PgPool, trace: &Arc<Trace>, till: &Arc<Till>, pace: &Arc<Pace>) -> Result<()> {
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write(pool.clone(), Arc::clone(trace), Arc::clone(till), Arc::clone(pace)));
    }
    while let Some(writer) = writers.join_next().await {
        writer.context("a writer panicked")?.context("write to the shop's database")?;
    }
    Ok(())
}

/// One transaction of a writer.
#[derive(Clone, Copy)]
enum Work<'a> {
    Basket(&'a Basket),
    Sundry(u64),
}

impl Work<'_> {
    fn estimate(self) -> i64 {
        match self {
            Self::Basket(basket) => basket::estimate(basket),
            Self::Sundry(_) => sundry::ESTIMATE,
        }
    }

    async fn commit(self, pool: &PgPool, trace: &Trace) -> sqlx::Result<u64> {
        match self {
            Self::Basket(basket) => basket::sell(pool, trace, basket).await,
            Self::Sundry(turn) => sundry::commit(pool, trace, turn).await,
        }
    }
}

async fn write(pool: PgPool, trace: Arc<Trace>, till: Arc<Till>, pace: Arc<Pace>) -> Result<()> {
    loop {
        let turn = till.next.fetch_add(1, Relaxed);
        if !do_in_time(&pool, &trace, &pace, Work::Basket(trace.basket(turn))).await? {
            return Ok(());
        }
        if turn % BASKETS_PER_SUNDRY == BASKETS_PER_SUNDRY - 1 {
            let sundry = Work::Sundry((turn / BASKETS_PER_SUNDRY) as u64);
            do_in_time(&pool, &trace, &pace, sundry).await?;
        }
    }
}

/// Commits `work` when it is due. `false`: the time is over, and nothing was done.
async fn do_in_time(pool: &PgPool, trace: &Trace, pace: &Pace, work: Work<'_>) -> sqlx::Result<bool> {
    if !pace.due(work.estimate()).await {
        return Ok(false);
    }
    let mut retries = 0;
    let changes = loop {
        match work.commit(pool, trace).await {
            Err(error) if is_retryable(&error) && retries < RETRIES_MAX => retries += 1,
            result => break result?,
        }
    };
    pace.committed(work.estimate(), changes);
    Ok(true)
}

/// Chosen as the victim of a deadlock, or not to be serialized: nothing was done, and another try may succeed.
fn is_retryable(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40P01" | "40001"))
}
