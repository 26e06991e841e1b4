//! Both arms: the same reads, one after another, through the same tiers.

use std::collections::HashSet;

use anyhow::Result;
use lockstep_schemas::policy::TierName;
use lockstep_tiers::AnsweredBy;
use lockstep_warmer::forecast::cut::top;
use lockstep_warmer::forecast::hour::Hour;
use lockstep_warmer::forecast::online::Forecast;
use lockstep_warmer::lru::Lru;

use super::reads::Reads;
use super::shop::Shop;
use crate::demo::output::Output;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub reads: u64,
    pub hours: u64,
    pub warmed_hits: u64,
    pub lru_hits: u64,
    /// What an LRU of names only says, by which the other is known to be one.
    pub shadow_hits: u64,
    pub filled: u64,
    /// In L1 at the end, warmed and left to its readers.
    pub entries: [u64; 2],
}

pub(super) async fn play(shop: &Shop, reads: &Reads, k: usize, output: &Output) -> Result<Played> {
    let mut played = Played::default();
    let mut forecast = Forecast::new(&[k]);
    for (hour, product) in &reads.before {
        forecast.advance(hour.plus(-1));
        forecast.sold(product, *hour);
    }
    let (mut left, mut shadow) = (Left::new(k), Lru::new(k));
    for product in newest(&reads.before, k) {
        left.read(shop, &product).await?;
        shadow.ask(&product);
    }
    let mut warmed = Warmed::default();
    let bar = output.bar("playing the sales", reads.hours.len());
    for (hour, products) in &reads.hours {
        warmed.warm(shop, chosen(&mut forecast, *hour, k)).await?;
        for product in products {
            let (warmed_hit, left_hit) = tokio::join!(warmed.read(shop, product), left.read(shop, product));
            played.warmed_hits += u64::from(warmed_hit?);
            played.lru_hits += u64::from(left_hit?);
            played.shadow_hits += u64::from(shadow.ask(product));
            played.reads += 1;
            forecast.sold(product, *hour);
        }
        played.hours += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    played.filled = warmed.filled;
    played.entries = [shop.entries("*:product:hot:*").await?, shop.entries("*:product:lru:*").await?];
    Ok(played)
}

/// The set for an hour that begins, by all that was read before it: as the forecast publishes it.
fn chosen(forecast: &mut Forecast, hour: Hour, k: usize) -> HashSet<String> {
    forecast.advance(hour.plus(-1));
    let mut all = forecast.with_all_lines();
    let way = all.chosen(0);
    let best = top(all.expect(way, hour), k, &mut Vec::new());
    best.into_iter().map(|number| all.products().name(number).to_string()).collect()
}

/// The products read last, oldest first.
fn newest(before: &[(Hour, String)], k: usize) -> Vec<String> {
    let (mut seen, mut newest) = (HashSet::new(), Vec::new());
    for (_, product) in before.iter().rev() {
        if newest.len() == k {
            break;
        }
        if seen.insert(product) {
            newest.push(product.clone());
        }
    }
    newest.reverse();
    newest
}

/// L1 as the warmer keeps it.
#[derive(Default)]
struct Warmed {
    set: HashSet<String>,
    filled: u64,
}

impl Warmed {
    async fn warm(&mut self, shop: &Shop, set: HashSet<String>) -> Result<()> {
        for product in self.set.difference(&set) {
            shop.evict(&shop.hot, product).await?;
        }
        for product in set.difference(&self.set) {
            shop.tiers.get_through(&shop.hot, &shop.all, product).await?;
            self.filled += 1;
        }
        self.set = set;
        Ok(())
    }

    /// As the gateway reads: who is not hot has no entry in L1.
    async fn read(&self, shop: &Shop, product: &str) -> Result<bool> {
        let answer = match self.set.contains(product) {
            true => shop.tiers.get_through(&shop.hot, &shop.all, product).await?,
            false => shop.tiers.get(&shop.all, product).await?,
        };
        Ok(answer.by == AnsweredBy::Tier(TierName::L1))
    }
}

/// L1 as its readers leave it: every miss makes an entry, and what was read longest ago goes for it. Which that is, is known
/// exactly here; Redis itself would guess by samples, and in seconds.
struct Left {
    k: usize,
    order: std::collections::BTreeMap<u64, String>,
    last: std::collections::HashMap<String, u64>,
    clock: u64,
}

impl Left {
    fn new(k: usize) -> Self {
        Left { k, order: Default::default(), last: Default::default(), clock: 0 }
    }

    async fn read(&mut self, shop: &Shop, product: &str) -> Result<bool> {
        let answer = shop.tiers.get_through(&shop.lru, &shop.all, product).await?;
        self.clock += 1;
        if let Some(before) = self.last.insert(product.to_owned(), self.clock) {
            self.order.remove(&before);
        }
        self.order.insert(self.clock, product.to_owned());
        if self.last.len() > self.k
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.last.remove(&oldest);
            shop.evict(&shop.lru, &oldest).await?;
        }
        Ok(answer.by == AnsweredBy::Tier(TierName::L1))
    }
}
