//! The states of ingest and of lanes. Pure.

use serde::Serialize;

/// Progress is said every second or two; a lane follows within another. Beyond this the silence means something.
const SILENT_SECONDS: f64 = 10.0;
/// What is younger is up to date, for people.
const CURRENT_SECONDS: f64 = 3.0;

/// How something that should move is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Up to date, with changes under way.
    Current,
    /// Up to date, and nothing happens.
    Idle,
    /// Late, and working on it.
    Behind,
    /// Late because the tier forgot what it had applied, which is applied again.
    Repairing,
    /// Late, and not moving.
    Stalled,
    /// An operator holds it.
    Paused,
    /// Of an epoch that the log has not come to: the database was put back behind what the tier has applied.
    Future,
    /// Nothing is known of it.
    Unknown,
}

/// What is known of ingest: the age of its newest progress record, and the bytes of the log that it has not read.
pub(crate) fn of_ingest(age_seconds: Option<f64>, unread_bytes: Option<u64>, moves: bool) -> State {
    match age_seconds {
        None => State::Unknown,
        // What drains a backlog is as old as what it has come to.
        Some(age) if age > SILENT_SECONDS && !moves => State::Stalled,
        Some(age) if age > CURRENT_SECONDS || unread_bytes.is_some_and(|bytes| bytes > 16 << 20) => State::Behind,
        Some(_) if moves => State::Current,
        Some(_) => State::Idle,
    }
}

/// What is known of a lane: records between it and the log's end, the age of its watermark, and ingest's state.
pub(crate) fn of_lane(records_behind: i64, age_seconds: Option<f64>, moves: bool, ingest: State) -> State {
    // While ingest is silent no watermark can move; a lane that has all there is, is not to blame.
    let excused = matches!(ingest, State::Stalled | State::Unknown) && records_behind == 0;
    match age_seconds {
        None => State::Unknown,
        Some(_) if excused => State::Idle,
        // It has all there is, and takes up to a second to say so.
        Some(age) if age > SILENT_SECONDS && ingest == State::Behind && records_behind == 0 => State::Behind,
        Some(age) if age > SILENT_SECONDS && !moves => State::Stalled,
        Some(age) if age > CURRENT_SECONDS => State::Behind,
        Some(_) if records_behind == 0 => State::Idle,
        Some(_) if moves => State::Current,
        Some(_) => State::Behind,
    }
}

/// Seconds until a lane has caught up, at the rate between two looks; `None` where it does not gain.
pub(crate) fn catch_up_seconds(behind_before: i64, behind_now: i64, between_seconds: f64) -> Option<f64> {
    let gained = (behind_before - behind_now) as f64 / between_seconds;
    (behind_now > 0 && gained > 0.0).then(|| behind_now as f64 / gained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_behind_and_stalled_differ() {
        assert_eq!(of_ingest(None, None, false), State::Unknown);
        assert_eq!(of_ingest(Some(1.0), Some(0), false), State::Idle);
        assert_eq!(of_ingest(Some(1.0), Some(0), true), State::Current);
        assert_eq!(of_ingest(Some(1.0), Some(1 << 30), true), State::Behind);
        assert_eq!(of_ingest(Some(60.0), Some(0), false), State::Stalled);
        assert_eq!(of_ingest(Some(60.0), Some(1 << 30), true), State::Behind, "late, but it drains a backlog");
        assert_eq!(of_lane(0, Some(1.2), false, State::Idle), State::Idle);
        assert_eq!(of_lane(5, Some(0.1), true, State::Current), State::Current);
        assert_eq!(of_lane(5, Some(0.1), false, State::Current), State::Behind, "there is something to do");
        assert_eq!(of_lane(900, Some(5.0), true, State::Current), State::Behind);
        assert_eq!(of_lane(900, Some(50.0), true, State::Current), State::Behind, "late, but it moves");
        assert_eq!(of_lane(900, Some(50.0), false, State::Current), State::Stalled);
        assert_eq!(
            of_lane(0, Some(50.0), false, State::Current),
            State::Stalled,
            "the source moves, the lane does not"
        );
        assert_eq!(of_lane(0, Some(50.0), false, State::Stalled), State::Idle, "there is nothing to move to");
        assert_eq!(of_lane(0, Some(50.0), false, State::Behind), State::Behind, "it has all that ingest has");
        assert_eq!(of_lane(9, Some(50.0), false, State::Behind), State::Stalled, "it has not");
        assert_eq!(of_lane(0, None, false, State::Idle), State::Unknown);
    }

    #[test]
    fn time_to_catch_up() {
        assert_eq!(catch_up_seconds(1_000, 900, 0.5), Some(4.5));
        assert_eq!(catch_up_seconds(900, 1_000, 0.5), None);
        assert_eq!(catch_up_seconds(100, 0, 0.5), None);
    }
}
