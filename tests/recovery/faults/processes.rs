//! Engines that are killed, that sleep and wake, and two at once; and a gateway whose clock is wrong.

use crate::faults::{REPAIR_LIMIT, REPAIR_LOOK, owns};
use crate::harness::process::send;
use crate::harness::until;
use crate::load::Load;
use crate::shop::DRAIN_LIMIT;
use crate::site::{LIMIT, Site};

pub fn engine_killed(site: &mut Site, _: &Load) -> String {
    let engine = site.engine.take().expect("an engine");
    send(engine.pid(), libc::SIGKILL);
    drop(engine);
    let engine = site.start_engine();
    let line = owns(&engine);
    site.engine = Some(engine);
    line
}

/// The other engine takes all over; the one that slept must write nothing when it wakes.
pub fn zombie(site: &mut Site, _: &Load) -> String {
    let sleeper = site.engine.take().expect("an engine");
    send(sleeper.pid(), libc::SIGSTOP);
    let other = site.start_engine();
    owns(&other);
    let lsn = site.shop.sql("SELECT pg_current_wal_insert_lsn()");
    site.ask(&format!("wait --for {lsn} --tier l2 --timeout {REPAIR_LIMIT}"));
    let since = sleeper.text().len();
    send(sleeper.pid(), libc::SIGCONT);
    let sign = until("its end as an owner", REPAIR_LOOK, || {
        let said = sleeper.text();
        let words = ["partitions given back", "another engine moved the watermark"];
        words.into_iter().find(|word| said[since..].contains(word)).map(str::to_owned)
    });
    sleeper.terminate();
    drop(sleeper);
    site.engine = Some(other);
    sign
}

/// A second one joins in the midst of it all, and then the first one leaves as it should.
pub fn two_engines(site: &mut Site, _: &Load) -> String {
    let first = site.engine.take().expect("an engine");
    let second = site.start_engine();
    let line = owns(&second);
    first.terminate();
    let ended = first.wait(DRAIN_LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
    site.engine = Some(second);
    line
}

/// The gateway's clock is an hour ahead, and then an hour behind: ages are the clock's, promises are not.
pub fn clock_stepped(site: &mut Site, load: &Load) -> String {
    let clock = tempfile::NamedTempFile::new().expect("a file");
    let step = |offset: &str| std::fs::write(clock.path(), offset).expect("a written step");
    step("+0");
    site.restart_gateway(Some(clock.path()));
    let mut ages = Vec::new();
    for (offset, seconds) in [("+1h", 3_600), ("-1h", -3_600)] {
        step(offset);
        ages.push(until("an entry born by the wrong clock", LIMIT, || {
            let born = site.born("P39")?;
            (born - seconds).abs().lt(&600).then(|| format!("{born} s"))
        }));
        load.flowed(1_000);
    }
    site.restart_gateway(None);
    format!("entries born {} from now", ages.join(" and "))
}
