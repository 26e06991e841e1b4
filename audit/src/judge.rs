//! Whether a copy says what the row says, as far as its tier's watermark obliges it to. Pure.
//!
//! A sample is read in this order: the row (`before`), the watermark, the copy, the row again (`after`). The copy holds
//! every change up to the watermark, and none that `after` lacks: what is applied was visible before (docs/protocol.md,
//! "The gate"). So a copy that differs from a row that did not change meanwhile is wrong, if the watermark had reached the
//! position at which `before` was read; otherwise the difference may be a change on its way.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_schemas::policy::Rows;
use lockstep_schemas::position::Position;

/// Fields and their texts; a null is a field that is not there.
pub type Fields = BTreeMap<String, String>;

/// Fields that begin so are Lockstep's own.
const OWN: char = '_';

/// A copy as a tier has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// Every field, ours included. None: there is no such key.
    pub fields: Fields,
    /// Whether it has no end.
    pub is_endless: bool,
    /// Whether one and the same lease lay beside it all the while: somebody may still fill it with what he read long ago.
    pub is_leased: bool,
    /// What it is.
    pub form: Form,
}

/// What lies in a copy's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// An entry or a page, or nothing.
    #[default]
    Fields,
    /// Something that nobody can read as one.
    Instead(&'static str),
    /// A page that we can't read, but others may; why.
    Opaque(&'static str),
}

/// A row as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its columns; `None`: there is no such row.
    pub fields: Option<Fields>,
    /// Which versions of which rows these are: two readings with equal ones saw no change between them.
    pub version: String,
    /// Every commit that it holds lies before this.
    pub read_at: Position,
}

/// What a tier says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything up to here has been applied.
    pub position: Position,
    /// What lies below is dead.
    pub floor: Position,
    /// The database's time of the position, microseconds since 1970; 0 where that is not known.
    pub at: i64,
    /// The next offset of the partition that it has not applied.
    pub offset: i64,
}

/// What a copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It says what the row says.
    Same,
    /// There is none (any more).
    Gone,
    /// From below its partition's floor: no reader takes it.
    Dead,
    /// It differs, and may: the watermark has not come so far, or the row changed while we looked.
    InFlight,
    /// It says something else than it must.
    Wrong(Wrong, Vec<Difference>),
    /// Nothing can be said of it; why.
    Unknown(&'static str),
}

/// In which way a copy is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A field has another value, or the copy has no end.
    Stale,
    /// It lacks what the row has: a field, or the whole row.
    Missing,
    /// It has what the row lacks: a field, or it is of no row at all.
    Orphan,
}

impl Wrong {
    /// `stale`, `missing`, `orphan`.
    pub fn as_str(self) -> &'static str {
        match self {
            Wrong::Stale => "stale",
            Wrong::Missing => "missing",
            Wrong::Orphan => "orphan",
        }
    }
}

/// Fields whose changes need not reach a copy: those behind a test.
#[derive(Clone, Debug, Default)]
pub struct Lenient {
    /// Columns.
    pub columns: BTreeSet<String>,
    /// Fields that are rows.
    pub rows: Vec<Rows>,
}

impl Lenient {
    fn has(&self, field: &str) -> bool {
        self.columns.contains(field) || self.rows.iter().any(|rows| rows.row_of(field).is_some())
    }
}

/// A field that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub field: String,
    /// As the copy has it.
    pub copy: Option<String>,
    /// As the database has it.
    pub row: Option<String>,
}

/// The field under which a copy without an end is told.
pub const END: &str = "_end";

/// The field under which a lease is told that lies beside an entry (docs/protocol.md, [14]).
pub const LEASE: &str = "_lease";

/// The field under which it is told what lies in a copy's place.
pub const FORM: &str = "_form";

/// The field that every entry of ours has.
const LOW: &str = "_low";
/// The other one; a page has none.
const HIGH: &str = "_high";

/// Judges a sample. `lenient` are fields whose changes need not reach the copy.
pub fn judge(before: &Row, mark: Option<&Mark>, copy: &Copy, after: &Row, lenient: &Lenient) -> Verdict {
    match copy.form {
        Form::Fields => {}
        // Readers by protocol take it for absent; others fail, or read it.
        Form::Instead(form) => {
            let form = Difference { field: FORM.to_owned(), copy: Some(form.to_owned()), row: None };
            return Verdict::Wrong(Wrong::Orphan, vec![form]);
        }
        Form::Opaque(why) => return Verdict::Unknown(why),
    }
    if copy.fields.is_empty() {
        return Verdict::Gone;
    }
    let Some(mark) = mark else { return Verdict::Unknown("its partition has no watermark in the tier") };
    let low = copy.fields.get(LOW).map(|low| low.parse::<Position>());
    // Readers by protocol take what has no `_low` for absent; others read it.
    let is_ours = matches!(low, Some(Ok(_)));
    if let Some(Ok(low)) = low
        && low < mark.floor
    {
        return Verdict::Dead;
    }
    if copy.is_endless && is_ours {
        let end = Difference { field: END.to_owned(), copy: Some("never".to_owned()), row: None };
        return Verdict::Wrong(Wrong::Stale, vec![end]);
    }
    if copy.is_leased && is_ours {
        let lease = Difference { field: LEASE.to_owned(), copy: Some("beside it".to_owned()), row: None };
        return Verdict::Wrong(Wrong::Orphan, vec![lease]);
    }
    let mut differences = differences(copy, after.fields.as_ref(), lenient);
    if let Some(Ok(low)) = low {
        differences.extend(impossible(copy, low, after.read_at));
    }
    if !is_ours {
        differences.push(Difference { field: LOW.to_owned(), copy: copy.fields.get(LOW).cloned(), row: None });
        return Verdict::Wrong(Wrong::Orphan, differences);
    }
    if differences.is_empty() {
        return Verdict::Same;
    }
    if mark.position.epoch > before.read_at.epoch {
        return Verdict::Unknown("its tier is of a newer epoch than the database");
    }
    if before.version != after.version || mark.position < before.read_at {
        return Verdict::InFlight;
    }
    Verdict::Wrong(wrong(copy, after.fields.is_some(), &differences), differences)
}

/// Bounds that no call of ours sets. Changes that they claim to hold would be passed over, and nobody would mend the copy.
fn impossible(copy: &Copy, low: Position, read_at: Position) -> Option<Difference> {
    let told = |name: &str| Difference { field: name.to_owned(), copy: copy.fields.get(name).cloned(), row: None };
    // What it holds was visible before, and the row was read after it.
    if low > read_at {
        return Some(told(LOW));
    }
    let high = copy.fields.get(HIGH)?.parse::<Position>();
    high.is_ok_and(|high| high < low).then(|| told(HIGH))
}

/// Whether a copy differs from what was read before it: only then is it worth to be looked at again.
pub fn differs(before: &Row, mark: Option<&Mark>, copy: &Copy, lenient: &Lenient) -> bool {
    !matches!(judge(before, mark, copy, before, lenient), Verdict::Same | Verdict::Gone | Verdict::Dead)
}

fn differences(copy: &Copy, row: Option<&Fields>, lenient: &Lenient) -> Vec<Difference> {
    let own: BTreeMap<&String, &String> = copy.fields.iter().filter(|(name, _)| !name.starts_with(OWN)).collect();
    let is_absence = copy.fields.contains_key("_neg");
    let nothing = Fields::new();
    let there = row.unwrap_or(&nothing);
    let names: BTreeSet<&String> = own.keys().copied().chain(there.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let (of_copy, of_row) = (own.get(name).map(|text| (*text).clone()), there.get(name).cloned());
        // Where one side has no row at all, that is told by all that the other has.
        let may_differ = lenient.has(name) && row.is_some() && !is_absence;
        if of_copy != of_row && !may_differ {
            differences.push(Difference { field: name.clone(), copy: of_copy, row: of_row });
        }
    }
    if row.is_some() && is_absence {
        // Readers take it for absent, whatever else it has.
        let absence = Difference { field: "_neg".to_owned(), copy: copy.fields.get("_neg").cloned(), row: None };
        differences.push(absence);
    }
    if differences.is_empty() && row.is_none() && !is_absence {
        // An entry without fields of a row that is not there.
        differences.push(Difference { field: "_neg".to_owned(), copy: None, row: Some("1".to_owned()) });
    }
    differences
}

fn wrong(copy: &Copy, has_row: bool, differences: &[Difference]) -> Wrong {
    if !has_row {
        return Wrong::Orphan;
    }
    if copy.fields.contains_key("_neg") {
        return Wrong::Missing;
    }
    if differences.iter().any(|one| one.copy.is_some() && one.row.is_some()) {
        Wrong::Stale
    } else if differences.iter().any(|one| one.copy.is_none()) {
        Wrong::Missing
    } else {
        Wrong::Orphan
    }
}

#[cfg(test)]
mod tests;
