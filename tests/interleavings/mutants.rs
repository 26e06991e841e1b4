//! Mistakes in the functions, loaded in the library's place beneath a whole system at work: readers see each of them, or
//! the comparison in the end does.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use crate::chain::Chain;
use crate::compare;
use crate::mistakes::{LIBRARY, with_mistake};
use crate::play::Traffic;
use crate::witness::Witness;

/// A mistake may go unseen for so long.
const UNSEEN_MAX: Duration = Duration::from_secs(40);

/// Those that show at once.
pub const SUREST: [&str; 2] = ["absent is created", "a drop leaves the entry"];
/// Plants each of them in turn. The names of those that nobody has seen.
pub async fn unseen(chain: &Chain, witness: &Arc<Witness>, seed: u64, names: &[&'static str]) -> Vec<&'static str> {
    let mut unseen = Vec::new();
    for name in names {
        cleared(chain, witness).await;
        let broken = with_mistake(name);
        load(chain, &broken).await;
        let began = Instant::now();
        let seen = violation(chain, witness, seed).await;
        eprintln!("{name}: after {:.1?}: {}", began.elapsed(), seen.as_deref().unwrap_or("unseen"));
        if seen.is_none() {
            unseen.push(*name);
        }
        check_still_there(chain, &broken).await;
        load(chain, LIBRARY).await;
    }
    unseen
}

/// The first thing wrong, by readers or in the end.
async fn violation(chain: &Chain, witness: &Arc<Witness>, seed: u64) -> Option<String> {
    let mut traffic = Traffic::start(chain, witness, seed).await;
    traffic.last(UNSEEN_MAX, witness).await;
    traffic.end().await;
    if let Some(first) = witness.violations().into_iter().next() {
        return Some(first);
    }
    chain.settled().await;
    let compared = AssertUnwindSafe(compare::all(chain)).catch_unwind().await;
    compared.is_err().then(|| "the comparison in the end".to_owned())
}

/// Nothing of an earlier mistake is left in any tier.
async fn cleared(chain: &Chain, witness: &Witness) {
    chain.flush(&chain.primaries()).await;
    chain.settled().await;
    witness.forget();
}

async fn load(chain: &Chain, text: &str) {
    for url in chain.primaries() {
        let mut node = compare::connect(&url).await;
        let loaded: Result<String, _> =
            redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(text).query_async(&mut node).await;
        loaded.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Nobody has put the library back meanwhile.
async fn check_still_there(chain: &Chain, text: &str) {
    for url in chain.primaries() {
        let mut node = compare::connect(&url).await;
        let list = redis::cmd("FUNCTION").arg("LIST").arg("WITHCODE").query_async(&mut node).await;
        let list: Vec<HashMap<String, redis::Value>> = list.expect("a list");
        let code: String = redis::from_redis_value(list[0]["library_code"].clone()).expect("code");
        assert!(code == text, "{url} has another library");
    }
}
