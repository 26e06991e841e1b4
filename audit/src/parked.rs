//! How many things are parked and not resolved, by who parked them and why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::parked::Things;
use lockstep_schemas::tail::Begin;
use lockstep_schemas::topics;
use rdkafka::Message as _;

use crate::shared::Shared;

const TELL_PAUSE: Duration = Duration::from_secs(5);
/// Kinds of things; whoever writes to that topic is no reason to have more series.
const KINDS_MAX: usize = 50;

/// Follows the topic, and tells, until shutdown.
pub(crate) async fn parked(shared: Arc<Shared>, follower: Follower, shutdown: Shutdown) {
    let things = Arc::new(Mutex::new(Things::default()));
    let taken = things.clone();
    follower.follow(topics::PARKED, Begin::Oldest, move |message| {
        let mut things = taken.lock().unwrap_or_else(PoisonError::into_inner);
        things.take(message.offset(), message.payload().unwrap_or_default());
    });
    let mut known: BTreeMap<(String, String), i64> = BTreeMap::new();
    loop {
        known.values_mut().for_each(|open| *open = 0);
        count(&things.lock().unwrap_or_else(PoisonError::into_inner), &mut known);
        known.iter().for_each(|((by, reason), open)| shared.metrics.parked(by, reason, *open));
        tokio::select! {
            () = tokio::time::sleep(TELL_PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn count(things: &Things, known: &mut BTreeMap<(String, String), i64>) {
    for (_, word, _) in things.all().filter(|(_, _, resolution)| resolution.is_none()) {
        let kind = (word.by.clone(), word.reason.clone());
        if known.len() < KINDS_MAX || known.contains_key(&kind) {
            *known.entry(kind).or_insert(0) += 1;
        }
    }
}
