//! Random transactions against the whole chain on real servers, while readers at every tier hold each answer against what
//! was shown before and against what its own position promises. In the end every entry and every page is compared with
//! its row. A run names its seed; `LOCKSTEP_TEST_SEED` repeats its choices, though not its timing.

#[path = "interleavings/chain.rs"]
mod chain;
#[path = "chain/compare.rs"]
mod compare;
#[path = "interleavings/contents.rs"]
mod contents;
#[allow(dead_code, reason = "this suite uses a part")]
#[path = "chain/heard.rs"]
mod heard;
#[path = "interleavings/history.rs"]
mod history;
#[allow(dead_code, reason = "this suite uses a part")]
#[path = "chain/l2.rs"]
mod l2;
#[path = "harness/mutants.rs"]
mod mistakes;
#[path = "interleavings/mutants.rs"]
mod mutants;
#[path = "interleavings/pen.rs"]
mod pen;
#[path = "interleavings/plain.rs"]
mod plain;
#[path = "interleavings/play.rs"]
mod play;
#[path = "interleavings/readers.rs"]
mod readers;
#[allow(dead_code, reason = "this suite uses a part")]
#[path = "chain/roles.rs"]
mod roles;
#[path = "interleavings/rows.rs"]
mod rows;
#[path = "interleavings/standby.rs"]
mod standby;
#[path = "chain/until.rs"]
mod until;
#[path = "interleavings/witness.rs"]
mod witness;
#[path = "interleavings/writer.rs"]
mod writer;

use std::sync::Arc;
use std::time::Duration;

use crate::chain::Chain;
use crate::play::Traffic;
use crate::witness::Witness;

/// Of a minute.
const THIRD: Duration = Duration::from_secs(20);

/// What the fast suite has for both of its parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_traffic_stays_coherent_and_planted_mistakes_are_seen() {
    let witness = Arc::new(Witness::default());
    let (chain, seed) = coherent(&witness, 1).await;
    let unseen = mutants::unseen(&chain, &witness, seed, &mutants::SUREST).await;
    assert!(unseen.is_empty(), "seed {seed}: nobody saw {unseen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes ten minutes"]
async fn random_traffic_stays_coherent_for_long() {
    coherent(&Arc::default(), 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes"]
async fn mistakes_beneath_a_whole_system_are_seen() {
    let (witness, seed) = (Arc::default(), seed());
    let chain = Chain::open().await;
    let unseen = mutants::unseen(&chain, &witness, seed, &mistakes::MET_BY_READERS).await;
    assert!(unseen.is_empty(), "seed {seed}: nobody saw {unseen:?}");
}

/// Minutes of traffic, with an engine that ends on the way, and an L1 that forgets everything, in each of them.
async fn coherent(witness: &Arc<Witness>, minutes: usize) -> (Chain, u64) {
    let seed = seed();
    let _tell = heard::TellOnPanic::here();
    let mut chain = Chain::open().await;
    let mut traffic = Traffic::start(&chain, witness, seed).await;
    for _ in 0..minutes {
        traffic.last(THIRD, witness).await;
        chain.restart_engine();
        traffic.last(THIRD, witness).await;
        chain.flush(chain.l1()).await;
        traffic.last(THIRD, witness).await;
        if !witness.violations().is_empty() {
            break;
        }
    }
    traffic.end().await;
    eprintln!("{}, versions {}", witness.counts(), witness.history.drawn());
    let violations = witness.violations();
    assert!(violations.is_empty(), "seed {seed}: {}", violations.join("\n"));
    for what in [
        "l1",
        "l2",
        "database",
        "edge hits",
        "plain reads",
        "commits that waited",
        "rolled back in part",
        "met another",
    ] {
        assert!(witness.counted(what) > 0, "nothing was seen of: {what}");
    }
    chain.settled().await;
    compare::all(&chain).await;
    (chain, seed)
}

fn seed() -> u64 {
    let given = std::env::var("LOCKSTEP_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("LOCKSTEP_TEST_SEED={seed}");
    seed
}
