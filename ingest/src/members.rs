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
        Members { policy, publication, seen }
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
                    Some(News::Left) => {
                        let left = format!(
                            "publication {} no longer carries {table}: its changes reach no tier",
                            self.publication
                        );
                        let remedy = "put the table back, with its columns; its group's entries are dropped then";
                        tracing::error!("{}", Failure::configuration(left).remedy(remedy));
                    }
                    Some(News::Back) => {
                        tracing::warn!(
                            table = &**table,
                            group = &**name,
                            "a table was out of the publication; its group's entries are dropped"
                        );
                        let (group, table) = (name.to_string(), Some(table.to_string()));
                        chunk::send(database, &Signal::Forget { group, table }).await?;
                    }
                    None => {}
                }
                // The word stands in the log before this is known: who is killed in between reads it there.
                seen.insert(table.to_string(), now);
                self.seen.send_replace(seen.clone());
            }
        }
        Ok(())
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
