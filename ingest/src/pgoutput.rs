//! Messages of the logical replication protocol's output plugin, `pgoutput`, protocol version 1
//! (PostgreSQL documentation, "Logical Replication Message Formats").

use std::{fmt, str};

use lockstep_schemas::position::Lsn;
use lockstep_schemas::shown::Shown;

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
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Null,
    /// A TOAST value that did not change, and so is not in the log.
    Unchanged,
    Text(&'a str),
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Null => f.write_str("null"),
            Field::Unchanged => f.write_str("unchanged"),
            Field::Text(text) => fmt::Display::fmt(&Shown::private(text), f),
        }
    }
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

    /// Messages as the server writes them.
    struct Written(Vec<u8>);

    impl Written {
        fn text(&mut self, text: &str) {
            self.0.extend(text.as_bytes());
            self.0.push(0);
        }

        fn tuple(&mut self, kind: u8, tuple: &[Value]) {
            self.0.push(kind);
            self.0.extend((tuple.len() as u16).to_be_bytes());
            for value in tuple {
                match value {
                    Value::Null => self.0.push(b'n'),
                    Value::Unchanged => self.0.push(b'u'),
                    Value::Text(text) => {
                        self.0.push(b't');
                        self.0.extend((text.len() as u32).to_be_bytes());
                        self.0.extend(text.as_bytes());
                    }
                }
            }
        }

        fn relation(&mut self, relation: &Relation) {
            self.0.push(b'R');
            self.0.extend(relation.id.to_be_bytes());
            self.text(&relation.schema);
            self.text(&relation.name);
            self.0.push(relation.identity);
            self.0.extend((relation.columns.len() as u16).to_be_bytes());
            for column in &relation.columns {
                self.0.push(u8::from(column.in_identity));
                self.text(&column.name);
                self.0.extend(column.type_oid.to_be_bytes());
                self.0.extend(column.type_modifier.to_be_bytes());
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Value {
        Null,
        Unchanged,
        Text(String),
    }

    fn fields(values: &[Value]) -> Tuple<'_> {
        let field = |value| match value {
            &Value::Null => Field::Null,
            &Value::Unchanged => Field::Unchanged,
            Value::Text(text) => Field::Text(text),
        };
        values.iter().map(field).collect()
    }

    fn values() -> impl Strategy<Value = Vec<Value>> {
        let value = prop_oneof![Just(Value::Null), Just(Value::Unchanged), any::<String>().prop_map(Value::Text)];
        prop::collection::vec(value, 0..8)
    }

    fn relation() -> impl Strategy<Value = Relation> {
        // A name has no zero byte.
        let name = || "[^\0]{0,12}";
        let column = (name(), any::<(bool, u32, i32)>()).prop_map(|(name, (in_identity, type_oid, type_modifier))| {
            RelationColumn { name, in_identity, type_oid, type_modifier }
        });
        let parts = (any::<u32>(), name(), name(), any::<u8>(), prop::collection::vec(column, 0..8));
        parts.prop_map(|(id, schema, name, identity, columns)| Relation { id, schema, name, identity, columns })
    }

    proptest! {
        #[test]
        fn rows_come_back(id: u32, kind in 0_usize..4, old in values(), new in values()) {
            let mut written = Written(Vec::new());
            let is_full = kind % 2 == 1;
            let old_kind = if is_full { b'O' } else { b'K' };
            let old_tuple = || if is_full { OldTuple::Full(fields(&old)) } else { OldTuple::Key(fields(&old)) };
            written.0.push(b"IUUD"[kind]);
            written.0.extend(id.to_be_bytes());
            if kind > 0 {
                written.tuple(old_kind, &old);
            }
            if kind < 3 {
                written.tuple(b'N', &new);
            }
            let expected = match kind {
                0 => Message::Insert { relation: id, new: fields(&new) },
                3 => Message::Delete { relation: id, old: old_tuple() },
                _ => Message::Update { relation: id, old: Some(old_tuple()), new: fields(&new) },
            };
            prop_assert_eq!(decode(&written.0), Ok(expected));
            for end in 0..written.0.len() {
                prop_assert!(decode(&written.0[..end]).is_err(), "cut at {}", end);
            }
        }

        #[test]
        fn an_update_without_an_old_row_comes_back(id: u32, new in values()) {
            let mut written = Written(vec![b'U']);
            written.0.extend(id.to_be_bytes());
            written.tuple(b'N', &new);
            let expected = Message::Update { relation: id, old: None, new: fields(&new) };
            prop_assert_eq!(decode(&written.0), Ok(expected));
        }

        #[test]
        fn descriptions_and_truncates_come_back(shape in relation(), relations: Vec<u32>, options: u8) {
            let mut written = Written(Vec::new());
            written.relation(&shape);
            prop_assert_eq!(decode(&written.0), Ok(Message::Relation(shape)));
            let mut written = Written(vec![b'T']);
            written.0.extend((relations.len() as u32).to_be_bytes());
            written.0.push(options);
            written.0.extend(relations.iter().flat_map(|id| id.to_be_bytes()));
            prop_assert_eq!(decode(&written.0), Ok(Message::Truncate { relations }));
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(kind in prop::sample::select(b"BCMRIUDTYOX".to_vec()), rest: Vec<u8>) {
            let mut bytes = vec![kind];
            bytes.extend(rest);
            let _ = decode(&bytes);
        }
    }
}
