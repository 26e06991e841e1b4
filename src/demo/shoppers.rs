//! Shoppers: readers of product pages at the edge, who notice what they are given.

/// Which product is looked at next.
pub mod choice;
/// Numbers of reads.
pub mod counts;
/// What the shoppers saw.
pub mod tally;

use crate::demo::shop::pace::Pace;
use crate::demo::shoppers::choice::Choice;
use crate::demo::shoppers::tally::{Sight, Tally};
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Each with a connection of its own.
const SHOPPERS: u32 = 8;

/// The readers that are under way.
pub struct Shoppers {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Shoppers {
    /// Starts reading `edge` at `reads` per second in all.
    pub fn start(
        edge: &str,
        http: &reqwest::Client,
        reads: u32,
        choice: &Arc<Choice>,
        pace: &Arc<Pace>,
        tally: &Arc<Tally>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        let shoppers = SHOPPERS.min(reads);
        for _ in 0..shoppers {
            let shopper = Shopper {
                edge: edge.trim_end_matches('/').to_owned(),
                http: http.clone(),
                choice: Arc::clone(choice),
                pace: Arc::clone(pace),
                tally: Arc::clone(tally),
                newest: HashMap::new(),
            };
            let period = Duration::from_secs_f64(f64::from(shoppers) / f64::from(reads));
            tasks.spawn(shopper.shop(period, stop.clone()));
        }
        Self { tasks, stop }
    }

    /// Waits for the reads under way, and no more.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(shopper) = self.tasks.join_next().await {
            shopper.context("a shopper panicked")?;
        }
        Ok(())
    }
}

struct Shopper {
    edge: String,
    http: reqwest::Client,
    choice: Arc<Choice>,
    pace: Arc<Pace>,
    tally: Arc<Tally>,
    /// Per product and tier, the newest position that this shopper was given.
    newest: HashMap<(String, String), String>,
}

impl Shopper {
    async fn shop(mut self, period: Duration, stop: CancellationToken) {
        let mut clock = tokio::time::interval(period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = clock.tick() => {}
            }
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let product_id = self.choice.next();
        let sight = self.look(&product_id).await;
        self.tally.count(&sight, self.pace.is_second_half());
        if let Sight::Miss { tier, position: Some(position), .. } = sight {
            self.check_order(product_id, tier, position);
        }
    }

    /// The whole body is read, so that the connection can be used again.
    async fn look(&self, product_id: &str) -> Sight {
        let url = format!("{}/v1/product/{product_id}", self.edge);
        let Ok(response) = self.http.get(url).send().await else {
            return Sight::Failed;
        };
        let sight = Sight::of(response.status().as_u16(), response.headers());
        match response.bytes().await {
            Ok(_) => sight,
            Err(_) => Sight::Failed,
        }
    }

    /// What one reader is given of one product by one tier never goes back. Positions compare as text. Answers kept by the
    /// edge are left out: they carry the position of the time when they were made.
    fn check_order(&mut self, product_id: String, tier: String, position: String) {
        let newest = self.newest.entry((product_id, tier)).or_default();
        if position < *newest {
            self.tally.count_backwards();
        } else {
            *newest = position;
        }
    }
}
