//! Which tables the publication carries. A change of one that it does not carry is in no log: so where a table was out of it,
//! nobody knows what of its rows is still as it was.

use std::collections::BTreeMap;

use lockstep_process::Failure;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::signal::Signal;
use lockstep_source::{Database, DatabaseError, chunk, preflight};
use tokio::sync::watch;

/// The policy's tables as they were seen last: as which member, if as one. Kept in the checkpoint, for a table may be out
/// while nobody looks.
pub(crate) type Seen = BTreeMap<String, Option<u32>>;

/// The publication's members, and what they were before.
pub(crate) struct Members<'p> {
    policy: &'p Policy,
    publication: &'p str,
    seen: watch::Sender<Seen>,
    /// Tables that are back, and the first transaction that began since: those before it may have written while the table was
    /// out, and what they wrote is passed over also where they end later.
    awaited: BTreeMap<String, u64>,
}

/// What became of a table.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Left,
    /// It is a member that it was not: it was out, if only between two looks.
    Back,
}

impl<'p> Members<'p> {
    /// `seen`: as of the checkpoint; from there on, what is seen here.
    pub fn new(policy: &'p Policy, publication: &'p str, seen: watch::Sender<Seen>) -> Self {
        Members { policy, publication, seen, awaited: BTreeMap::new() }
    }

    /// Looks at the publication, and has everything dropped that was made of a group of which a table was out.
    pub async fn look(&mut self, database: &Database) -> Result<(), DatabaseError> {
        let members = preflight::members(database, self.publication).await?;
        let mut seen = self.seen.borrow().clone();
        for (name, group) in &self.policy.groups {
            for table in &group.tables {
                let now = members.get(&**table).copied();
                let before = seen.get(&**table).copied();
                match before.and_then(|before| news(before, now)) {
                    Some(News::Left) => self.say_left(table),
                    // Until the last transaction has ended that may have missed it, it is not called seen: who is killed
                    // in between begins again.
                    Some(News::Back) if !self.drop_group(database, name, table).await? => continue,
                    Some(News::Back) | None => {}
                }
                // The word stands in the log before this is known: who is killed in between reads it there.
                seen.insert(table.to_string(), now);
                self.seen.send_replace(seen.clone());
            }
        }
        Ok(())
    }

    fn say_left(&mut self, table: &str) {
        self.awaited.remove(table);
        let left = format!("publication {} no longer carries {table}: its changes reach no tier", self.publication);
        let remedy = "put the table back, with its columns; its group's entries are dropped then";
        tracing::error!("{}", Failure::configuration(left).remedy(remedy));
    }

    /// Has a group's entries dropped: at once, and again when no transaction is left that began before. Whether that is done.
    async fn drop_group(&mut self, database: &Database, group: &str, table: &str) -> Result<bool, DatabaseError> {
        let running = preflight::running(database).await?;
        let awaited = self.awaited.get(table).copied();
        let is_over = running.start >= awaited.unwrap_or(running.end);
        if awaited.is_none() || is_over {
            tracing::warn!(table, group, "a table was out of the publication; its group's entries are dropped");
            chunk::send(database, &Signal::Forget { group: group.to_owned(), table: Some(table.to_owned()) }).await?;
        }
        match is_over {
            true => drop(self.awaited.remove(table)),
            false => drop(self.awaited.entry(table.to_owned()).or_insert(running.end)),
        }
        Ok(is_over)
    }
}

fn news(before: Option<u32>, now: Option<u32>) -> Option<News> {
    match (before, now) {
        (Some(_), None) => Some(News::Left),
        (before, Some(now)) if before != Some(now) => Some(News::Back),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_out_between_two_looks_was_out() {
        assert_eq!(news(Some(7), Some(7)), None);
        assert_eq!(news(Some(7), None), Some(News::Left));
        assert_eq!(news(None, None), None);
        assert_eq!(news(None, Some(9)), Some(News::Back));
        assert_eq!(news(Some(7), Some(9)), Some(News::Back));
    }
}
