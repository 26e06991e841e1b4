//! What an entry is made of, between the database that it is read from and the tier that it is written to.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::column::ColumnType;
use crate::policy::{Rows, View};
use crate::position::Position;
use crate::shown::{MaskedFields, Shown};

/// An entry's fields with their canonical texts; a null is a field that is not there.
pub type Fields = Vec<(Arc<str>, String)>;

/// The types of an entry's fields, for answers that tell numbers from texts.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    /// Fields that are columns.
    pub columns: BTreeMap<Arc<str>, ColumnType>,
    /// Fields that are rows, and the types of a row's columns.
    pub rows: Vec<(Rows, BTreeMap<Arc<str>, ColumnType>)>,
}

/// One entity as the database has it, with the bounds of what the reading snapshot can hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The entity.
    pub entity: String,
    /// Its fields; `None`: there is no such row.
    pub fields: Option<Fields>,
    /// It holds nothing beyond this (docs/protocol.md, "low and high").
    pub high: Position,
    /// The timeline of the server that was read, eight hexadecimal digits.
    pub timeline: String,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.as_deref().map(MaskedFields);
        let entity = Shown::private(&self.entity);
        f.debug_struct("Loaded").field("entity", &entity).field("fields", &fields).field("high", &self.high).finish()
    }
}

/// Why a loader could not answer. Its text is for logs; what to do is the caller's to know: nothing is filled.
#[derive(Debug, thiserror::Error)]
#[error("loading from the database: {0}")]
pub struct LoadError(pub String);

/// What reads entities from the database, so that tiers need not know how.
pub trait Load: Send + Sync {
    /// Reads entities of a view as the database has them now. An entity that can't exist is left out.
    fn load<'a>(&'a self, view: &'a View, entities: &'a [String]) -> Loading<'a>;
}

/// The answer of a loader, on its way.
pub type Loading<'a> = Pin<Box<dyn Future<Output = Result<Vec<Loaded>, LoadError>> + Send + 'a>>;
