//! SIGTERM in every state: whatever is away, the engine drains what it can, and ends well within its time.

use crate::faults::{owns, said};
use crate::front::Purge;
use crate::harness::cut::{Mode, Towards};
use crate::harness::process::catches;
use crate::harness::until;
use crate::load::Load;
use crate::shop::DRAIN_LIMIT;
use crate::site::{LIMIT, Site};
use crate::ways::Way;

/// A little more than operators may count on: the machine may be busy.
const MARGIN: std::time::Duration = std::time::Duration::from_secs(3);

pub fn in_all_states(site: &mut Site, load: &Load) -> String {
    let mut seen = Vec::new();
    for way in [None, Some(Way::Database), Some(Way::Kafka), Some(Way::L2), Some(Way::L1), Some(Way::Edge)] {
        load.flowed(200);
        if let Some(way) = way {
            let met = site.ways().met(way);
            site.ways().set(way, Mode::Silent(Towards::Both));
            until(&format!("{way:?} to be silent"), LIMIT, || (site.ways().met(way) > met).then_some(()));
        }
        seen.push(format!("{way:?}: {:.1} s", terminated(site)));
        if let Some(way) = way {
            site.ways().set(way, Mode::Pass);
        }
        start(site);
    }
    // It has not come to its partitions yet; but a process that does not listen yet, nobody can ask.
    start_over(site);
    let pid = site.engine.as_ref().expect("an engine").pid();
    until("the engine to listen", LIMIT, || catches(pid, libc::SIGTERM).then_some(()));
    seen.push(format!("just started: {:.1} s", terminated(site)));
    site.ways().edge.purges_get(Purge::Answered("500 Broken"));
    start(site);
    until("purges to fail", LIMIT, || said(site).contains("purging the edge: failed").then_some(()));
    seen.push(format!("purging: {:.1} s", terminated(site)));
    site.ways().edge.purges_get(Purge::Done);
    start(site);
    seen.join(", ")
}

fn terminated(site: &mut Site) -> f64 {
    let engine = site.engine.take().expect("an engine");
    let began = std::time::Instant::now();
    engine.terminate();
    let ended = engine.wait(DRAIN_LIMIT + MARGIN);
    assert_eq!(ended.code, Some(0), "{ended}");
    began.elapsed().as_secs_f64()
}

fn start_over(site: &mut Site) {
    site.engine = None;
    site.engine = Some(site.start_engine());
}

fn start(site: &mut Site) {
    start_over(site);
    owns(site.engine.as_ref().expect("an engine"));
}
