//! Old and new versions of a table's rows as changes, in the form in which the log has them. Pure.

use std::sync::Arc;

use lockstep_schemas::change::{Cell, Change, Op, Row};
use lockstep_schemas::position::Position;

use super::Version;
use crate::catalog::{Column, Table};

/// The columns that the log has.
pub(super) fn columns(known: &Table) -> impl Iterator<Item = (&String, &Column)> {
    known.iter().filter(|(_, column)| !column.generated)
}

/// An old and a new version with the same identity are an update; any other one is a delete or an insert. Under FULL the
/// identity is the primary key, and the old row is known.
pub(super) fn changes(
    table: &Arc<str>,
    known: &Table,
    primary: &[String],
    entity_key: &str,
    old: &[Version],
    new: &[Version],
) -> Vec<Change> {
    let form = Form::of(known, primary, entity_key);
    let mut rest: Vec<&Version> = new.iter().collect();
    let mut changes = Vec::new();
    for before in old {
        let after = rest.iter().position(|after| form.identity(after) == form.identity(before));
        let after = after.map(|at| rest.swap_remove(at));
        let op = if after.is_some() { Op::Update } else { Op::Delete };
        let shown = op == Op::Delete || form.is_full;
        changes.push((op, shown.then(|| form.old(before)), after.map(|after| form.row(after))));
    }
    changes.extend(rest.into_iter().map(|after| (Op::Insert, None, Some(form.row(after)))));
    let change = |(op, before, after)| Change {
        position: Position::LEAST,
        xid: 0,
        committed_at: 0,
        table: table.clone(),
        op,
        before,
        after,
        incomplete: false,
    };
    changes.into_iter().map(change).collect()
}

/// How a table's rows stand in the log.
struct Form<'t> {
    names: Arc<[Arc<str>]>,
    columns: Vec<&'t Column>,
    /// Indices of what tells a row from others.
    identity: Vec<usize>,
    is_full: bool,
}

impl<'t> Form<'t> {
    fn of(known: &'t Table, primary: &[String], entity_key: &str) -> Self {
        let is_full = columns(known).all(|(_, column)| column.identity);
        let tells = |(name, column): &(&String, &Column)| {
            if is_full { primary.contains(name) || *name == entity_key } else { column.identity }
        };
        let identity = columns(known).enumerate().filter(|(_, column)| tells(column)).map(|(at, _)| at).collect();
        let names = columns(known).map(|(name, _)| Arc::from(&**name)).collect();
        Form { names, columns: columns(known).map(|(_, column)| column).collect(), identity, is_full }
    }

    fn identity<'v>(&self, version: &'v Version) -> Vec<Option<&'v str>> {
        self.identity.iter().map(|at| version.texts.get(*at).and_then(Option::as_deref)).collect()
    }

    fn row(&self, version: &Version) -> Row {
        let cell = |(text, column): (&Option<String>, &&Column)| {
            text.as_ref().map_or(Cell::Null, |text| Cell::Value(column.kind.canonical(text).into()))
        };
        Row::new(self.names.clone(), version.texts.iter().zip(&self.columns).map(cell).collect())
    }

    /// Of an old row the log has the identity.
    fn old(&self, version: &Version) -> Row {
        let row = self.row(version);
        let cells = row.iter().zip(&self.columns);
        let cells = cells.map(|((_, cell), column)| if column.identity { cell.clone() } else { Cell::Unknown });
        Row::new(self.names.clone(), cells.collect())
    }
}
