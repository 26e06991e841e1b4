//! PostgreSQL's snapshots, and which transactions they see.

use std::str::FromStr;

use crate::database::DatabaseError;

/// `pg_current_snapshot()`: every transaction below `xmin` has ended, none from `xmax` on is seen, and of those between
/// the listed ones are still under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The oldest transaction still under way.
    pub xmin: u64,
    /// One past the newest that has ended.
    pub xmax: u64,
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// Whether a committed transaction is seen. The log carries the low 32 bits only; transactions of the log are never
    /// further than half of that space away, and those that are, are covered by the horizon.
    pub fn sees(&self, xid: u32) -> bool {
        let before_xmax = (xid.wrapping_sub(self.xmax as u32) as i32) < 0;
        before_xmax && !self.in_progress.iter().any(|running| *running as u32 == xid)
    }
}

impl Snapshot {
    /// The 64-bit form of a transaction id at or after xmax, of which only the low 32 bits are known.
    pub fn widen(&self, xid: u32) -> u64 {
        self.xmax + u64::from(xid.wrapping_sub(self.xmax as u32))
    }
}

impl FromStr for Snapshot {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let xmin = parts.next()?.parse().ok()?;
            let xmax = parts.next()?.parse().ok()?;
            let running = parts.next()?.split(',').filter(|part| !part.is_empty());
            let in_progress = running.map(|xid| xid.parse().ok()).collect::<Option<Vec<u64>>>()?;
            Some(Snapshot { xmin, xmax, in_progress })
        };
        parse().ok_or_else(|| DatabaseError::Answer { expected: "a snapshot", answer: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_has_ended() {
        let snapshot: Snapshot = "100:110:100,105".parse().expect("a snapshot");
        let seen: Vec<u32> = (98..112).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [98, 99, 101, 102, 103, 104, 106, 107, 108, 109]);
    }

    #[test]
    fn ids_are_widened_past_a_wrap() {
        let near: Snapshot = format!("{0}:{0}:", (1_u64 << 32) - 2).parse().expect("a snapshot");
        assert_eq!(near.widen(u32::MAX), (1 << 32) - 1);
        assert_eq!(near.widen(3), (1 << 32) + 3);
    }

    #[test]
    fn xids_wrap() {
        let wrapped: Snapshot = format!("{0}:{0}:", (1_u64 << 32) + 5).parse().expect("a snapshot");
        assert!(wrapped.sees(u32::MAX) && wrapped.sees(4) && !wrapped.sees(5));
        assert!("1:2".parse::<Snapshot>().is_err() && "1:2:x".parse::<Snapshot>().is_err());
    }
}
