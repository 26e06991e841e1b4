//! What the warmer says of the hot set.

use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::grade::{GradeState, Graded};
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use serde::Serialize;

/// The warmer says how it does every 30 s.
const SILENT_SECONDS: f64 = 120.0;

/// As scripts read it.
#[derive(Serialize)]
pub(super) struct WarmerStatus {
    state: WarmerState,
    seconds_since: f64,
    hit_ratio_gain: Option<f64>,
    #[serde(flatten)]
    graded: Graded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum WarmerState {
    /// The set covers 80 % of the last hour or more.
    Good,
    /// It covers less.
    Low,
    /// Too little was asked for to tell.
    Unknown,
    /// The warmer has not said anything for long.
    Silent,
}

/// The warmer's newest word; `None`: it has never said one, or it can't be read now.
pub(super) async fn read(kafka: &KafkaConfig) -> Option<WarmerStatus> {
    let mut tail = Tail::open(kafka, "status", topics::GRADE, Begin::Newest).await.ok()?;
    let message = tail.next_before_end().await.ok()??;
    let graded = Graded::from_json(message.payload()?)?;
    let seconds_since = (now_micros() - graded.at).max(0) as f64 / 1e6;
    Some(WarmerStatus { state: state(&graded, seconds_since), seconds_since, hit_ratio_gain: graded.gain(), graded })
}

fn state(graded: &Graded, seconds_since: f64) -> WarmerState {
    match graded.state() {
        _ if seconds_since > SILENT_SECONDS => WarmerState::Silent,
        GradeState::Good => WarmerState::Good,
        GradeState::Low => WarmerState::Low,
        GradeState::Unknown => WarmerState::Unknown,
    }
}

/// As people read it.
pub(super) fn text(status: Option<&WarmerStatus>) -> String {
    let Some(WarmerStatus { state, seconds_since, hit_ratio_gain, graded }) = status else {
        return "warmer: unknown, it has not said anything".to_owned();
    };
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let state = match state {
        WarmerState::Good => "good",
        WarmerState::Low => "LOW",
        WarmerState::Unknown => "unknown",
        WarmerState::Silent => "silent",
    };
    let points = hit_ratio_gain.map_or("-".to_owned(), |gain| format!("{:+.1}", gain * 100.0));
    let by = graded.by.as_deref().unwrap_or("lines");
    let halted = graded.halted.as_deref().map(|why| format!("; halted: {why}")).unwrap_or_default();
    format!(
        "warmer: {state}, {} members; the last hour: {} of {} {by} covered, {points} points above an LRU, {} of the set asked for; \
         the last day: {}; {} of {} bytes filled for nothing; {}, {:.0} entries/s{halted}; {seconds_since:.0} s ago",
        graded.members,
        percent(graded.coverage),
        graded.asked,
        percent(graded.precision),
        percent(graded.coverage_of_day),
        graded.wasted_bytes,
        graded.filled_bytes,
        graded.phase,
        graded.entries_per_second,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read() {
        let graded = Graded { asked: 40, coverage: Some(0.75), lru_hit_ratio: Some(0.7), ..Graded::default() };
        assert_eq!(state(&graded, 121.0), WarmerState::Silent);
        let status =
            WarmerStatus { state: state(&graded, 1.0), seconds_since: 1.0, hit_ratio_gain: graded.gain(), graded };
        let text = text(Some(&status));
        assert!(
            text.starts_with("warmer: LOW, 0 members; the last hour: 75.0 % of 40 lines covered, +5.0 points"),
            "{text}"
        );
        let json = serde_json::to_value(&status).expect("JSON");
        assert_eq!((&json["state"], &json["asked"]), (&"low".into(), &40.into()));
    }
}
