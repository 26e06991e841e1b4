//! sweep: what lies below the floor goes, and nothing else.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use lockstep_process::Shutdown;
use lockstep_schemas::policy::{DEFAULT, Policy, TierName, View};
use lockstep_tiers::call::Calls;
use lockstep_tiers::{Apply, Layout, Place, Swept, Tier, sweep};

use crate::bench::{Bench, at};

const PARTITIONS: u32 = 4;
const ENTITIES: u32 = 400;
const FAST: NonZeroU32 = NonZeroU32::new(1_000_000).expect("some");

/// Several places of one view, each entry at position 5 or, the even ones, at 9.
struct Shelf<'b> {
    bench: &'b Bench,
    policy: Policy,
    view: Arc<View>,
    tier: Tier,
    calls: Calls,
}

impl<'b> Shelf<'b> {
    async fn fill(bench: &'b Bench) -> Self {
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        let layout = Arc::new(Layout::new(&policy, &format!("{}.swept.", bench.tier.name.as_str()), PARTITIONS));
        let tier = bench.another(layout.clone(), "").await;
        let view = if tier.name == TierName::L1 { "product_hot" } else { "product_all" };
        let view = policy.views[view].clone();
        let shelf = Shelf { bench, policy, view, tier, calls: Calls::new(layout, bench.is_cluster()) };
        for n in 0..ENTITIES {
            let low = at(if n % 2 == 0 { 9 } else { 5 }).to_string();
            bench.plant(&shelf.name(n), &[("stock", "1"), ("_low", &low), ("_high", &low)]).await;
        }
        shelf
    }

    fn place(&self, n: u32) -> Place {
        self.tier.layout().place(&self.view.group, &n.to_string())
    }

    fn name(&self, n: u32) -> String {
        self.calls.entry(&self.place(n), &self.view.key.key(&n.to_string()))
    }

    fn partition(&self, partition: u32) -> Place {
        Place { group: self.view.group.clone(), partition }
    }

    async fn raise(&self, partition: u32) {
        let batch =
            Apply { floor: Some(at(9)), ..self.bench.batch(lockstep_schemas::position::Position::LEAST, at(10), &[]) };
        self.tier.apply(&self.partition(partition), &batch).await.expect("an answer");
    }

    async fn sweep(&self, places: &BTreeSet<Place>, shutdown: &Shutdown) -> Swept {
        sweep(&self.tier, &self.policy, places, FAST, shutdown).await.expect("a pass")
    }

    async fn is_there(&self, n: u32) -> bool {
        !self.bench.hash(&self.name(n)).await.is_empty()
    }

    async fn end(self) {
        for n in 0..ENTITIES {
            self.bench.remove(&self.name(n)).await;
        }
        for partition in 0..PARTITIONS {
            self.bench.remove(&self.tier.layout().watermark(&self.partition(partition))).await;
        }
    }
}

pub async fn what_lies_below_the_floor_is_swept(bench: &Bench) {
    let shelf = Shelf::fill(bench).await;
    for partition in [0, 1, 2] {
        shelf.raise(partition).await;
    }
    let odd = (1..ENTITIES).step_by(2).find(|n| shelf.place(*n).partition == 0).expect("an entity of place 0");
    let marker = format!("{}:_lease", shelf.name(odd));
    bench.text(&marker, &format!("{}one", at(1))).await;
    // Place 2 is not asked for, and in place 3 nothing was raised.
    let asked: BTreeSet<Place> = [0, 1, 3].map(|partition| shelf.partition(partition)).into();
    let stopped = Shutdown::new();
    stopped.cancel();
    assert_eq!(shelf.sweep(&asked, &stopped).await, Swept::default(), "a pass that is told to stop stops");
    let swept = shelf.sweep(&asked, &Shutdown::new()).await;
    let mut expected = 0;
    for n in 0..ENTITIES {
        let is_dead = n % 2 == 1 && [0, 1].contains(&shelf.place(n).partition);
        assert_eq!(shelf.is_there(n).await, !is_dead, "entity {n} of {:?}", shelf.place(n));
        expected += u64::from(is_dead);
    }
    assert!(expected > 0 && swept.swept == expected && swept.looked >= u64::from(ENTITIES), "{swept:?}, {expected}");
    let mut counted = 0;
    for partition in [0, 1] {
        let mark = shelf.tier.watermark(&shelf.partition(partition)).await.expect("an answer").expect("a watermark");
        counted += mark.swept;
    }
    assert_eq!(counted, expected, "and counted");
    assert_ne!(bench.life_ms(&marker).await, -2, "a marker is no entry");
    assert_eq!(shelf.sweep(&asked, &Shutdown::new()).await.swept, 0, "once is enough");
    bench.remove(&marker).await;
    shelf.end().await;
}

/// A text under an entry's name, as another program may have left it, is not ours to remove.
pub async fn somebody_elses_value_is_not_swept(bench: &Bench) {
    bench.plant_watermark(at(9)).await;
    bench.plant(&bench.watermark_name(), &[("floor", &at(6).to_string())]).await;
    bench.plant(&bench.entry_name("8"), &[("stock", "1")]).await;
    bench.text(&bench.entry_name("9"), "theirs").await;
    let calls = Calls::new(bench.tier.layout().clone(), bench.is_cluster());
    let names = ["7", "8", "9"].map(|entity| bench.entry_name(entity));
    assert_eq!(bench.send(&calls.sweep(&bench.place, &names)).await, redis::Value::Int(0));
    assert_eq!(bench.entry("8").await["stock"], "1");
    bench.remove(&names[2]).await;
}
