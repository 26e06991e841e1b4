//! Kafka killed, away, and without the records that a lane still needs; and ingest's slot dropped.

use lockstep_stack::Service;

use crate::faults::{REPAIR_LOOK, owns, said, told};
use crate::harness::process::send;
use crate::harness::{kafka, until};
use crate::load::Load;
use crate::site::{LIMIT, Site};

pub fn kafka_killed(site: &mut Site, _: &Load) -> String {
    site.shop.kill(Service::Kafka);
    let stalled = || site.shop.lockstep.run(&["status"]).stderr.contains("can't reach Kafka").then_some(());
    until("Kafka to be missed", LIMIT, stalled);
    site.shop.restart(Service::Kafka);
    "can't reach Kafka".to_owned()
}

/// The engine is away while its next records are deleted: what they said is in no log any more.
pub fn records_deleted(site: &mut Site, load: &Load) -> String {
    let engine = site.engine.take().expect("an engine");
    send(engine.pid(), libc::SIGKILL);
    drop(engine);
    load.flowed(2_000);
    until("the changes to be published", LIMIT, || {
        let state = site.ask_json("status")["ingest"]["state"].as_str()?.to_owned();
        ["current", "idle"].contains(&state.as_str()).then_some(())
    });
    kafka::delete_all(&site.shop.endpoints().kafka, "lockstep.catalogue");
    let engine = site.start_engine();
    owns(&engine);
    site.engine = Some(engine);
    until("what is missing to be told", REPAIR_LOOK, || {
        let words = ["its place in the log is gone", "records are gone from the log"];
        words.into_iter().find(|word| said(site).contains(word)).map(str::to_owned)
    })
}

/// Whoever drops the slot of a running ingest must end its connection first.
pub fn slot_dropped(site: &mut Site, _: &Load) -> String {
    let since = said(site).len();
    let before = epoch(site);
    until("the slot to be dropped", LIMIT, || {
        let drop = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'lockstep'; \
                    SELECT pg_drop_replication_slot('lockstep')";
        site.shop.try_sql(drop)
    });
    until("a new epoch", REPAIR_LOOK, || (epoch(site) > before).then_some(()));
    told(site, since, "swept below raised floors")
}

fn epoch(site: &Site) -> i64 {
    site.shop.sql("SELECT max(epoch) FROM lockstep.epoch").parse().expect("a number")
}
