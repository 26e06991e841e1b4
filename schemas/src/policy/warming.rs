//! `[warming]`: what keeping the hot set may cost.

use serde::Deserialize;

use super::PolicyError;

const PLACE: &str = "warming";
const ENTRIES_PER_SECOND_DEFAULT: u32 = 2_000;
const DATABASE_SHARE_DEFAULT: u32 = 20;
const EDGE_PAGES_MAX: usize = 10_000;

/// What keeping the hot set may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warming {
    /// Entries looked at or filled a second, at most.
    pub entries_per_second: u32,
    /// The hundredths of its time in which the warmer may have a statement running in the database, one at a time.
    pub database_share: u32,
    /// Bytes of names and values that the set's entries may hold together.
    pub bytes_max: Option<u64>,
    /// Pages of the hottest that are asked for through the edge.
    pub edge_pages: usize,
}

impl Default for Warming {
    fn default() -> Self {
        Warming {
            entries_per_second: ENTRIES_PER_SECOND_DEFAULT,
            database_share: DATABASE_SHARE_DEFAULT,
            bytes_max: None,
            edge_pages: 0,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WarmingFile {
    entries_per_second: Option<u32>,
    database_share: Option<String>,
    bytes_max: Option<String>,
    edge_pages: Option<usize>,
}

pub(super) fn warming(file: WarmingFile) -> Result<Warming, PolicyError> {
    let refuse = |why: String| PolicyError::new(PLACE, why);
    let default = Warming::default();
    let entries_per_second = file.entries_per_second.unwrap_or(default.entries_per_second);
    if entries_per_second == 0 {
        return Err(refuse("entries_per_second = 0 warms nothing; leave the role warmer out instead".to_owned()));
    }
    let share = |text: String| {
        percent(&text).ok_or_else(|| refuse(format!("database_share `{text}`; write \"20%\", from 1% to 100%")))
    };
    let size = |text: String| {
        bytes(&text).ok_or_else(|| refuse(format!("`{text}` is not a size; write \"500KB\", \"64MB\" or \"2GB\"")))
    };
    let edge_pages = file.edge_pages.unwrap_or(default.edge_pages);
    if edge_pages > EDGE_PAGES_MAX {
        return Err(refuse(format!("edge_pages = {edge_pages}; at most {EDGE_PAGES_MAX}")));
    }
    Ok(Warming {
        entries_per_second,
        database_share: file.database_share.map(share).transpose()?.unwrap_or(default.database_share),
        bytes_max: file.bytes_max.map(size).transpose()?,
        edge_pages,
    })
}

pub(super) fn percent(text: &str) -> Option<u32> {
    text.strip_suffix('%')?.trim().parse().ok().filter(|share| (1..=100).contains(share))
}

/// `64MB`: powers of 1,024, as Redis counts them.
fn bytes(text: &str) -> Option<u64> {
    let units = [("KB", 10), ("MB", 20), ("GB", 30)];
    let (number, shift) = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))?;
    let number: u64 = number.trim().parse().ok()?;
    (number > 0).then(|| number.checked_mul(1 << shift)).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT, Policy};
    use super::*;

    #[test]
    fn what_warming_may_cost() {
        let check = |section: &str, expected: Result<Warming, &str>| {
            let text = DEFAULT.split("[warming]").next().map(|head| format!("{head}[warming]\n{section}\n"));
            let rest = DEFAULT.split_once("# Every product, for two hours.").map_or("", |(_, rest)| rest);
            let policy = Policy::parse(&format!("{}{rest}", text.unwrap_or_default()));
            match (policy, expected) {
                (Ok(policy), expected) => assert_eq!(Ok(policy.warming), expected, "{section}"),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{section}: {error}"),
                (Err(error), Ok(_)) => panic!("{section}: {error}"),
            }
        };
        check("", Ok(Warming::default()));
        check(
            "entries_per_second = 5\ndatabase_share = \"7%\"\nbytes_max = \"64MB\"\nedge_pages = 9",
            Ok(Warming { entries_per_second: 5, database_share: 7, bytes_max: Some(64 << 20), edge_pages: 9 }),
        );
        check("entries_per_second = 0", Err("warms nothing"));
        check("database_share = \"0%\"", Err("database_share `0%`"));
        check("database_share = \"20\"", Err("write \"20%\""));
        check("bytes_max = \"64\"", Err("is not a size"));
        check("bytes_max = \"99999999999GB\"", Err("is not a size"));
        check("edge_pages = 10001", Err("at most 10000"));
        check("pages = 1", Err("unknown field `pages`"));
    }
}
