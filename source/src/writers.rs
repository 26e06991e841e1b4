//! Who writes: the transactions that hold up whatever waits for all before it to be visible.

use std::fmt;

use crate::database::{Database, DatabaseError, required};

/// The oldest transaction with an id, prepared ones among them, but for those that have only just begun. Of other users' processes the server tells number and name
/// to everybody, but not since when.
const OLDEST: &str = "SELECT pid::text, name, since::text FROM (\
        SELECT pid, application_name AS name, xact_start AS since, backend_xid AS xid FROM pg_stat_activity \
        WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
        UNION ALL SELECT NULL, gid, prepared, transaction FROM pg_prepared_xacts\
    ) AS writing WHERE coalesce(since < clock_timestamp() - interval '2 s', true) ORDER BY age(xid) DESC LIMIT 1";

/// A transaction that has an id, and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The server's process; `None`: it is prepared, and waits for its second phase.
    pub pid: Option<String>,
    /// What its client calls itself, or the prepared transaction's name.
    pub name: String,
    /// The server's time at which it began, where we may know it.
    pub since: Option<String>,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "without a name" } else { &self.name };
        match &self.pid {
            Some(pid) => write!(f, "process {pid} of the database ({name})")?,
            None => write!(f, "prepared transaction {name}")?,
        }
        self.since.as_ref().map_or(Ok(()), |since| write!(f, ", which has been writing since {since}"))
    }
}

/// The one that has been writing for longest; `None`: nobody has been for more than two seconds.
pub async fn oldest(database: &Database) -> Result<Option<Writer>, DatabaseError> {
    let rows = database.texts(OLDEST.to_owned()).await?;
    let writer = |row: &Vec<Option<String>>| {
        let name = required(row, 1, "a name")?.to_owned();
        Ok(Writer { pid: row[0].clone(), name, since: row.get(2).cloned().flatten() })
    };
    rows.first().map(writer).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_told_as_far_as_it_is_known() {
        let of = |pid: Option<&str>, name: &str, since: Option<&str>| {
            let text = |text: &str| text.to_owned();
            Writer { pid: pid.map(text), name: name.to_owned(), since: since.map(text) }.to_string()
        };
        assert_eq!(
            of(Some("7"), "report", Some("2026-01-01 00:00:00+00")),
            "process 7 of the database (report), which has been writing since 2026-01-01 00:00:00+00"
        );
        assert_eq!(of(Some("7"), "", None), "process 7 of the database (without a name)");
        assert_eq!(of(None, "two-phase", None), "prepared transaction two-phase");
    }
}
