//! Messages of the logical replication protocol's output plugin, `pgoutput`, protocol version 1
//! (PostgreSQL documentation, "Logical Replication Message Formats").

use std::str;

use lockstep_schemas::position::Lsn;

/// Microseconds from 1970 to PostgreSQL's epoch.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A message. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Begin {
        commit: Lsn,
        xid: u32,
        committed_at: i64,
    },
    Commit {
        end: Lsn,
    },
    /// By `pg_logical_emit_message`. Outside a transaction where it was sent so.
    Logical {
        transactional: bool,
        prefix: &'a str,
        content: &'a [u8],
    },
    Relation(Relation),
    Insert {
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        relation: u32,
        old: Option<OldTuple<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: u32,
        old: OldTuple<'a>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// A type's name or a change's origin: nothing that we need.
    Other,
}

/// A table as the log describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub id: u32,
    pub schema: String,
    pub name: String,
    /// `d`efault, `n`othing, `f`ull, `i`ndex.
    pub identity: u8,
    pub columns: Vec<RelationColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    pub name: String,
    pub in_identity: bool,
    pub type_oid: u32,
    pub type_modifier: i32,
}

/// What the log has of an old row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OldTuple<'a> {
    /// The columns of the replica identity.
    Key(Tuple<'a>),
    /// All columns.
    Full(Tuple<'a>),
}

/// A row's columns.
pub(crate) type Tuple<'a> = Vec<Field<'a>>;

/// One column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Null,
    /// A TOAST value that did not change, and so is not in the log.
    Unchanged,
    Text(&'a str),
}

/// A message that is not of the protocol's form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a message of the log that can't be read: {0}")]
pub(crate) struct PgoutputError(&'static str);

pub(crate) fn decode(message: &[u8]) -> Result<Message<'_>, PgoutputError> {
    let mut bytes = Bytes(message);
    match bytes.byte()? {
        b'B' => {
            let (commit, committed_at) = (Lsn(bytes.u64()?), bytes.time()?);
            Ok(Message::Begin { commit, xid: bytes.u32()?, committed_at })
        }
        b'C' => {
            bytes.take(9)?;
            let end = Lsn(bytes.u64()?);
            bytes.time()?;
            Ok(Message::Commit { end })
        }
        b'M' => {
            let transactional = bytes.byte()? & 1 == 1;
            bytes.u64()?;
            let prefix = bytes.text_to_nul()?;
            let length = bytes.u32()? as usize;
            Ok(Message::Logical { transactional, prefix, content: bytes.take(length)? })
        }
        b'R' => relation(&mut bytes).map(Message::Relation),
        b'I' => {
            let relation = bytes.u32()?;
            match bytes.byte()? {
                b'N' => Ok(Message::Insert { relation, new: bytes.tuple()? }),
                _ => Err(PgoutputError("an insert without a new row")),
            }
        }
        b'U' => {
            let relation = bytes.u32()?;
            let (old, kind) = match bytes.byte()? {
                b'N' => (None, b'N'),
                kind => (Some(bytes.old(kind)?), bytes.byte()?),
            };
            match kind {
                b'N' => Ok(Message::Update { relation, old, new: bytes.tuple()? }),
                _ => Err(PgoutputError("an update without a new row")),
            }
        }
        b'D' => {
            let relation = bytes.u32()?;
            let kind = bytes.byte()?;
            Ok(Message::Delete { relation, old: bytes.old(kind)? })
        }
        b'T' => {
            let count = bytes.u32()?;
            bytes.byte()?;
            let relations = (0..count).map(|_| bytes.u32()).collect::<Result<_, _>>()?;
            Ok(Message::Truncate { relations })
        }
        b'Y' | b'O' => Ok(Message::Other),
        _ => Err(PgoutputError("an unknown kind")),
    }
}

fn relation(bytes: &mut Bytes<'_>) -> Result<Relation, PgoutputError> {
    let id = bytes.u32()?;
    let schema = bytes.text_to_nul()?.to_owned();
    let name = bytes.text_to_nul()?.to_owned();
    let identity = bytes.byte()?;
    let count = bytes.u16()?;
    let column = |_| {
        let in_identity = bytes.byte()? & 1 == 1;
        let name = bytes.text_to_nul()?.to_owned();
        Ok(RelationColumn { name, in_identity, type_oid: bytes.u32()?, type_modifier: bytes.u32()? as i32 })
    };
    let columns = (0..count).map(column).collect::<Result<_, _>>()?;
    Ok(Relation { id, schema, name, identity, columns })
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], PgoutputError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(PgoutputError("it ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, PgoutputError> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Result<u16, PgoutputError> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, PgoutputError> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&mut self) -> Result<u64, PgoutputError> {
        let (high, low) = (self.u32()?, self.u32()?);
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    fn time(&mut self) -> Result<i64, PgoutputError> {
        Ok((self.u64()? as i64).wrapping_add(POSTGRES_EPOCH))
    }

    fn text_to_nul(&mut self) -> Result<&'a str, PgoutputError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(PgoutputError("a name without an end"))?;
        let text = self.take(end)?;
        self.byte()?;
        str::from_utf8(text).map_err(|_| PgoutputError("a name that is not UTF-8"))
    }

    fn old(&mut self, kind: u8) -> Result<OldTuple<'a>, PgoutputError> {
        match kind {
            b'K' => self.tuple().map(OldTuple::Key),
            b'O' => self.tuple().map(OldTuple::Full),
            _ => Err(PgoutputError("an old row of an unknown kind")),
        }
    }

    fn tuple(&mut self) -> Result<Tuple<'a>, PgoutputError> {
        let count = self.u16()?;
        let mut tuple = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            tuple.push(match self.byte()? {
                b'n' => Field::Null,
                b'u' => Field::Unchanged,
                b't' => {
                    let length = self.u32()? as usize;
                    Field::Text(
                        str::from_utf8(self.take(length)?).map_err(|_| PgoutputError("a value that is not UTF-8"))?,
                    )
                }
                _ => return Err(PgoutputError("a value of an unknown kind")),
            });
        }
        Ok(tuple)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_update_with_an_old_key() {
        let mut bytes = vec![b'U', 0, 0, 0, 7, b'K', 0, 1, b't', 0, 0, 0, 1, b'a', b'N', 0, 3];
        bytes.extend([b't', 0, 0, 0, 1, b'b', b'n', b'u']);
        let new = vec![Field::Text("b"), Field::Null, Field::Unchanged];
        let old = Some(OldTuple::Key(vec![Field::Text("a")]));
        assert_eq!(decode(&bytes), Ok(Message::Update { relation: 7, old, new }));
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(kind in prop::sample::select(b"BCMRIUDTYOX".to_vec()), rest: Vec<u8>) {
            let mut bytes = vec![kind];
            bytes.extend(rest);
            let _ = decode(&bytes);
        }
    }
}
