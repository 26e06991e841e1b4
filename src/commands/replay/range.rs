//! Where a range begins and ends in each partition.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::position::Position;
use lockstep_schemas::topics;
use lockstep_tiers::Layout;

use super::fold::Choice;
use crate::cli::{ReplayArgs, duration};
use crate::commands::records::{self, Partition, Ranges};

const FORM: &str = "write a time (2026-03-01T12:00:00Z), a day (2026-03-01, from midnight UTC), an age (90m, 2h), an offset \
                    (4711, of one --partition), or a position (0001-00000000016b3748-00000001)";

/// An end of a range, as it is written.
enum Bound {
    Time(i64),
    Offset(i64),
    /// Positions are told apart in the records themselves.
    Position,
}

impl Bound {
    fn parse(text: &str) -> Result<Self, Failure> {
        if text.parse::<Position>().is_ok() {
            return Ok(Bound::Position);
        }
        if let Ok(offset) = text.parse() {
            return Ok(Bound::Offset(offset));
        }
        let time = text.parse().ok().or_else(|| midnight(text)).or_else(|| ago(text));
        let no_place = || Failure::new(FailureKind::Usage, format!("`{text}` is no place in the log")).remedy(FORM);
        let time = time.map(|time: Timestamp| time.as_millisecond()).filter(|time| *time >= 0);
        time.map(Bound::Time).ok_or_else(no_place)
    }
}

/// Of a day alone: a time without its zone would be taken for one.
fn midnight(text: &str) -> Option<Timestamp> {
    let day: Date = text.parse().ok().filter(|day: &Date| day.to_string() == text)?;
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

fn ago(text: &str) -> Option<Timestamp> {
    Timestamp::now().checked_sub(duration(text).ok()?).ok()
}

pub(super) async fn of(
    config: &Config,
    args: &ReplayArgs,
    choice: &Choice,
    layout: &Layout,
) -> Result<Ranges, Failure> {
    let kafka = config.kafka()?;
    let places = choice.places(args, layout.partitions());
    let partitions: Vec<Partition> =
        places.iter().map(|place| (topics::of_group(kafka, &place.group), place.partition as i32)).collect();
    let mut ranges = records::ends(kafka, "replay", partitions.clone()).await?;
    let bounds = [args.from.as_deref(), args.to.as_deref()].map(|text| text.map(Bound::parse).transpose());
    let [from, to] = bounds;
    for (bound, is_from) in [(from?, true), (to?, false)] {
        let at: HashMap<Partition, Option<i64>> = match bound {
            None | Some(Bound::Position) => continue,
            Some(Bound::Offset(offset)) if partitions.len() == 1 => {
                partitions.iter().map(|partition| (partition.clone(), Some(offset))).collect()
            }
            Some(Bound::Offset(_)) => {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!("an offset is of one partition, not of {}", partitions.len()),
                )
                .remedy("name one --group and one --partition"));
            }
            Some(Bound::Time(time)) => records::offsets_at(kafka, "replay", &partitions, time).await?,
        };
        for (partition, (begin, end)) in &mut ranges {
            let offset = at.get(partition).copied().flatten().unwrap_or(*end).clamp(*begin, *end);
            *(if is_from { begin } else { end }) = offset;
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_log_has_several_forms() {
        let time = |text: &str| match Bound::parse(text) {
            Ok(Bound::Time(time)) => Some(time),
            _ => None,
        };
        assert_eq!(time("2026-03-01"), Some(1_772_323_200_000));
        assert_eq!(time("2026-03-01T00:00:01Z"), Some(1_772_323_201_000));
        let an_hour_ago = Timestamp::now().as_millisecond() - 3_600_000;
        assert!(time("60m").is_some_and(|time| (an_hour_ago - 60_000..=an_hour_ago + 60_000).contains(&time)));
        assert!(matches!(Bound::parse("4711"), Ok(Bound::Offset(4711))));
        assert!(matches!(Bound::parse("0001-00000000016b3748-00000001"), Ok(Bound::Position)));
        for wrong in ["yesterday", "0/16B3748", "2026-13-01", "2026-03-01T12:00:00", "2026-03-01 12:00", "999999h", ""]
        {
            assert!(Bound::parse(wrong).is_err(), "{wrong}");
        }
    }
}
