//! The network between engine and gateway on one side, and each server on the other: slow, reset, refused, half-open, silent.

use std::time::{Duration, Instant};

use crate::faults::{REPAIR_LOOK, repaired, said};
use crate::front::Purge;
use crate::harness::cut::{Mode, Towards};
use crate::harness::until;
use crate::load::Load;
use crate::site::Site;
use crate::ways::Way;

const DELAY: Duration = Duration::from_millis(40);
/// Longer than the time-outs of every client but Kafka's.
const SILENCE: Duration = Duration::from_secs(12);
/// Longer than Kafka's, a minute.
const KAFKA_SILENCE: Duration = Duration::from_secs(70);
/// How a broken way shows: a state that is logged, once.
const SIGNS: [(Way, &[&str]); 5] = [
    (Way::Database, &["the gate holds all lanes"]),
    (Way::Kafka, &[]),
    (Way::L2, &["the tier does not answer", "the tier is detached"]),
    (Way::L1, &["the tier does not answer", "the tier is detached"]),
    (Way::Edge, &["purging the edge: failed"]),
];

pub fn slow(way: Way, site: &Site, load: &Load) -> String {
    let met = site.ways().met(way);
    site.ways().set(way, Mode::Slow(DELAY));
    load.flowed(500);
    site.ways().set(way, Mode::Pass);
    assert!(site.ways().met(way) > met, "{way:?}: nothing was slow");
    format!("{} pieces {DELAY:?} late", site.ways().met(way) - met)
}

/// Every way in which a connection breaks, one after the other.
pub fn broken(way: Way, site: &Site, load: &Load) -> String {
    let silence = if way == Way::Kafka { KAFKA_SILENCE } else { SILENCE };
    let mut signs = Vec::new();
    for mode in [Mode::Reset, Mode::Silent(Towards::Client), Mode::Silent(Towards::Server), Mode::Silent(Towards::Both)]
    {
        let (since, met, began) = (said(site).len(), site.ways().met(way), Instant::now());
        site.ways().set(way, mode);
        let words = SIGNS.iter().find(|(of, _)| *of == way).map_or(&[][..], |(_, words)| words);
        if mode == Mode::Reset || words.is_empty() {
            until("the fault to strike", REPAIR_LOOK, || (site.ways().met(way) > met).then_some(()));
        } else {
            signs.push(until(&format!("{way:?}, {mode:?} to be told"), REPAIR_LOOK, || {
                words.iter().find(|word| said(site)[since..].contains(*word)).copied()
            }));
        }
        let lasts = if mode == Mode::Silent(Towards::Both) { silence } else { silence / 4 };
        until("it to have lasted", REPAIR_LOOK, || (began.elapsed() >= lasts).then_some(()));
        site.ways().set(way, Mode::Pass);
        load.flowed(500);
        // Whoever is still held by this one says nothing about the next.
        repaired(site);
    }
    signs.dedup();
    if signs.is_empty() { "connections broken, and bytes held".to_owned() } else { signs.join("; ") }
}

/// The edge answers a purge in this way for a while.
pub fn bad_answers(purge: Purge, site: &Site, load: &Load) -> String {
    let (since, met) = (said(site).len(), site.ways().edge.met());
    site.ways().edge.purges_get(purge);
    let word = "purging the edge: failed";
    until(word, REPAIR_LOOK, || said(site)[since..].contains(word).then_some(()));
    load.flowed(500);
    site.ways().edge.purges_get(Purge::Done);
    let said = said(site);
    let line = said[since..].lines().find(|line| line.contains(word)).unwrap_or_default().to_owned();
    assert!(site.ways().edge.met() > met);
    line.split_once("error=").map_or(line.clone(), |(_, why)| why.to_owned())
}
