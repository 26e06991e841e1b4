//! What `status` tells, to people and to scripts.

use std::collections::BTreeMap;

use lockstep_schemas::switches::{Switch, What};
use lockstep_schemas::versions::Versions;
use serde::Serialize;

use super::audit::{self, Windows};
use super::state::State;
use super::warmer::{self, WarmerStatus};
use crate::commands::switch::time;
use crate::output;

#[derive(Serialize)]
pub(super) struct Status {
    pub(super) ingest: IngestStatus,
    /// `null`: it has never said anything.
    pub(super) warmer: Option<WarmerStatus>,
    /// Records behind of the slowest tier of each partition, summed; `null` where a tier does not answer.
    pub(super) unapplied: Option<i64>,
    pub(super) refreshed: u64,
    pub(super) dropped: u64,
    pub(super) tiers: BTreeMap<&'static str, Vec<PartitionStatus>>,
    /// Tiers that do not answer, and why: of their lanes nothing is known.
    pub(super) silent: BTreeMap<&'static str, String>,
    /// How often the auditor found copies right, by tier and view, then by window.
    pub(super) audit: BTreeMap<String, Windows>,
    /// What operators have switched; `null` where it can't be read.
    pub(super) switches: Option<Vec<Switch>>,
}

#[derive(Serialize)]
pub(super) struct IngestStatus {
    pub(super) state: State,
    /// Everything before it is in Kafka; `null`: nothing is known.
    pub(super) position: Option<String>,
    pub(super) seconds_behind: Option<f64>,
    /// `null` where it does not gain, or is not behind.
    pub(super) catch_up_seconds: Option<f64>,
    /// Bytes of the log that the database keeps for us.
    pub(super) retained_wal_bytes: Option<u64>,
    /// The process of the database that streams to ingest.
    pub(super) streaming_pid: Option<String>,
    /// Ingests that wait for the slot.
    pub(super) standing_by: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct PartitionStatus {
    pub(super) group: String,
    pub(super) partition: u32,
    pub(super) state: State,
    /// `null`: the tier is unknown, nothing has been applied there.
    pub(super) position: Option<String>,
    pub(super) records_behind: i64,
    pub(super) seconds_behind: Option<f64>,
    /// `null` where it does not gain, or is not behind.
    pub(super) catch_up_seconds: Option<f64>,
}

pub(super) fn print(status: &Status) {
    let seconds = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1}"));
    let ingest = &status.ingest;
    output::line(&format!(
        "ingest: {}, complete to {}, {} s behind{}, {} bytes of the log kept for it; streaming: {}, standing by: {}",
        name(ingest.state),
        ingest.position.as_deref().unwrap_or("nothing yet"),
        seconds(ingest.seconds_behind),
        ingest.catch_up_seconds.map_or_else(String::new, |left| format!(", caught up in {left:.1} s")),
        ingest.retained_wal_bytes.map_or("?".to_owned(), |bytes| bytes.to_string()),
        ingest.streaming_pid.as_deref().map_or("nobody".to_owned(), |pid| format!("by process {pid} of the database")),
        ingest.standing_by.map_or("?".to_owned(), |count| count.to_string())
    ));
    output::line(
        "tier  group        partition  state      position                       records behind  seconds behind  caught up in",
    );
    for (tier, partitions) in &status.tiers {
        for one in partitions {
            output::line(&format!(
                "{tier:<4}  {:<11}  {:>9}  {:<9}  {:<29}  {:>14}  {:>14}  {:>10} s",
                one.group,
                one.partition,
                name(one.state),
                one.position.as_deref().unwrap_or("unknown"),
                one.records_behind,
                seconds(one.seconds_behind),
                seconds(one.catch_up_seconds)
            ));
        }
    }
    for (tier, _) in status.tiers.iter().filter(|(_, lanes)| lanes.iter().any(|lane| lane.state == State::Future)) {
        output::line(&format!(
            "{tier} has applied what the database does not know: was that restored from a backup? Start ingest, which begins \
             a new epoch, or flush the tier, l2 before l1"
        ));
    }
    for (tier, why) in &status.silent {
        output::line(&format!("{tier} does not answer: {why}"));
    }
    output::line(&warmer::text(status.warmer.as_ref()));
    audit::lines(&status.audit).iter().for_each(|line| output::line(line));
    match &status.switches {
        None => output::line("what operators have switched can't be read"),
        Some(switches) => switches.iter().for_each(|switch| output::line(&switched(switch))),
    }
    output::line(&format!(
        "{} records unapplied; {} entries refreshed in place, {} dropped",
        status.unapplied.map_or("?".to_owned(), |unapplied| unapplied.to_string()),
        status.refreshed,
        status.dropped
    ));
}

fn switched(switch: &Switch) -> String {
    let Switch { what, reason, by, at, until, versions, .. } = switch;
    if let Some(Versions { read, beside, .. }) = versions {
        let beside = beside.map_or_else(String::new, |beside| format!(", {beside} is kept beside it"));
        return format!("{what}: {read} is read{beside}, since {}, by {by}: {reason}", time(*at));
    }
    if matches!(what, What::Warming { .. }) {
        return format!("{what} under way since {}, by {by}: {reason}", time(*at));
    }
    format!("{what} until {}, by {by}: {reason}", time(*until))
}

fn name(state: State) -> &'static str {
    match state {
        State::Current => "current",
        State::Idle => "idle",
        State::Behind => "behind",
        State::Stalled => "stalled",
        State::Paused => "paused",
        State::Future => "future",
        State::Repairing => "repairing",
        State::Unknown => "unknown",
    }
}
