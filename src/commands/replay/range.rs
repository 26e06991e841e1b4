//! Where a range begins and ends in each partition.

use std::collections::HashMap;

use jiff::Timestamp;
use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::position::Position;
use lockstep_schemas::topics;
use lockstep_tiers::Layout;

use super::fold::Choice;
use crate::cli::ReplayArgs;
use crate::commands::records::{self, Partition, Ranges};

const FORM: &str = "write a time (2026-03-01T12:00:00Z), an offset (4711, of one --partition), or a position (0001-00000000016b3748-00000001)";

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
        match text.parse::<Timestamp>() {
            Ok(time) => Ok(Bound::Time(time.as_millisecond())),
            Err(_) => Err(Failure::new(FailureKind::Usage, format!("`{text}` is no place in the log")).remedy(FORM)),
        }
    }
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
