use lockstep_schemas::position::Lsn;
use proptest::prelude::*;

use super::*;

fn at(lsn: u64) -> Position {
    Position::before(1, Lsn(lsn))
}

fn fields(of: &[(&str, &str)]) -> Fields {
    of.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn row(of: Option<&[(&str, &str)]>, version: &str, read_at: u64) -> Row {
    Row { fields: of.map(fields), version: version.to_owned(), read_at: at(read_at) }
}

fn entry(of: &[(&str, &str)]) -> Copy {
    let mut fields = fields(of);
    fields.insert("_low".to_owned(), at(50).to_string());
    Copy { fields, ..Copy::default() }
}

fn mark(position: u64) -> Mark {
    Mark { position: at(position), floor: at(10), at: 0, offset: 0 }
}

const SHOWN: &[(&str, &str)] = &[("product_id", "1"), ("stock", "5")];

/// Against a row that has not changed, read at 100.
fn settled(copy: &Copy, of: Option<&[(&str, &str)]>) -> Verdict {
    judge(&row(of, "v1", 100), Some(&mark(100)), copy, &row(of, "v1", 120), &Lenient::default())
}

#[test]
fn a_settled_copy_is_the_same_or_wrong_in_one_way() {
    let is = |copy: &Copy, of, expected: Option<Wrong>| {
        let verdict = settled(copy, of);
        match (&verdict, expected) {
            (Verdict::Same, None) => {}
            (Verdict::Wrong(wrong, differences), Some(expected)) if *wrong == expected => {
                assert!(!differences.is_empty(), "{copy:?} says how");
            }
            _ => panic!("{copy:?} beside {of:?} is {verdict:?}"),
        }
    };
    is(&entry(SHOWN), Some(SHOWN), None);
    is(&entry(&[("product_id", "1"), ("stock", "4")]), Some(SHOWN), Some(Wrong::Stale));
    is(&entry(&[("product_id", "1")]), Some(SHOWN), Some(Wrong::Missing));
    is(&entry(&[("product_id", "1"), ("stock", "5"), ("name", "x")]), Some(SHOWN), Some(Wrong::Orphan));
    is(&entry(SHOWN), None, Some(Wrong::Orphan));
    is(&entry(&[]), None, Some(Wrong::Orphan));
    is(&entry(&[("_neg", "1")]), None, None);
    is(&entry(&[("_neg", "1")]), Some(SHOWN), Some(Wrong::Missing));
    is(&entry(&[SHOWN, &[("_neg", "1")]].concat()), Some(SHOWN), Some(Wrong::Missing));
    let bound = |name: &str, lsn| {
        let mut copy = entry(SHOWN);
        copy.fields.insert(name.to_owned(), at(lsn).to_string());
        copy
    };
    is(&bound("_low", 120), Some(SHOWN), None);
    is(&bound("_low", 121), Some(SHOWN), Some(Wrong::Orphan));
    is(&bound("_high", 50), Some(SHOWN), None);
    is(&bound("_high", 49), Some(SHOWN), Some(Wrong::Orphan));
    is(&Copy { is_endless: true, ..entry(SHOWN) }, Some(SHOWN), Some(Wrong::Stale));
    is(&Copy { is_leased: true, ..entry(SHOWN) }, Some(SHOWN), Some(Wrong::Orphan));
    is(&Copy { form: Form::Instead("no hash"), ..Copy::default() }, Some(SHOWN), Some(Wrong::Orphan));
    let planted = Copy { fields: fields(SHOWN), is_endless: true, ..Copy::default() };
    is(&planted, Some(SHOWN), Some(Wrong::Orphan));
}

#[test]
fn what_is_not_there_or_dead_is_not_judged() {
    assert_eq!(settled(&Copy::default(), Some(SHOWN)), Verdict::Gone);
    let mut dead = entry(&[("product_id", "2")]);
    dead.fields.insert("_low".to_owned(), at(9).to_string());
    assert_eq!(settled(&dead, Some(SHOWN)), Verdict::Dead);
    let before = row(Some(SHOWN), "v1", 100);
    let judge = |mark: Option<&Mark>| judge(&before, mark, &entry(&[]), &before, &Lenient::default());
    assert!(matches!(judge(None), Verdict::Unknown(_)));
    let newer = Mark { position: Position::before(2, Lsn(1)), ..mark(1) };
    assert!(matches!(judge(Some(&newer)), Verdict::Unknown(_)));
}

#[test]
fn a_difference_counts_once_the_watermark_has_passed_and_nothing_moved() {
    let copy = entry(&[("product_id", "1"), ("stock", "4")]);
    let judge = |position, after: &str| {
        let (before, after) = (row(Some(SHOWN), "v1", 100), row(Some(SHOWN), after, 120));
        judge(&before, Some(&mark(position)), &copy, &after, &Lenient::default())
    };
    assert_eq!(judge(99, "v1"), Verdict::InFlight, "the tier is behind the row");
    assert_eq!(judge(100, "v2"), Verdict::InFlight, "the row changed, and came back to what it was");
    assert!(matches!(judge(100, "v1"), Verdict::Wrong(Wrong::Stale, _)));
}

#[test]
fn a_lenient_field_may_differ_but_not_its_row() {
    let lenient = Lenient { columns: BTreeSet::from(["stock".to_owned()]), rows: Vec::new() };
    let judge = |copy: &Copy, of: Option<&[(&str, &str)]>| {
        let row = row(of, "v1", 100);
        judge(&row, Some(&mark(100)), copy, &row, &lenient)
    };
    assert_eq!(judge(&entry(&[("product_id", "1"), ("stock", "4")]), Some(SHOWN)), Verdict::Same);
    assert!(matches!(judge(&entry(&[("product_id", "2"), ("stock", "5")]), Some(SHOWN)), Verdict::Wrong(..)));
    assert!(matches!(judge(&entry(SHOWN), None), Verdict::Wrong(Wrong::Orphan, _)));
}

/// A row's life: at LSN 10, 20, ... its value changes. One reading of each kind, in the order in which they are made.
#[derive(Clone, Debug)]
struct Sample {
    values: Vec<u8>,
    before: usize,
    watermark: usize,
    copy: usize,
    after: usize,
}

prop_compose! {
    fn samples()(values in prop::collection::vec(0u8..3, 1..8))
        (before in 0..values.len(), watermark in 0..values.len(), spread in 0usize..8, later in 0usize..8, values in Just(values))
        -> Sample
    {
        let last = values.len() - 1;
        // The copy holds all up to the watermark, and nothing that `after` lacks; `after` lacks nothing of `before`.
        let copy = (watermark + spread).min(last);
        let after = (copy.max(before) + later).min(last);
        Sample { values, before, watermark, copy, after }
    }
}

fn state(sample: &Sample, index: usize) -> Row {
    let value = sample.values[index].to_string();
    Row { fields: Some(fields(&[("value", &value)])), version: format!("v{index}"), read_at: at(index as u64 * 10 + 5) }
}

proptest! {
    #[test]
    fn no_correct_tier_is_ever_wrong(sample in samples()) {
        let watermark = mark(sample.watermark as u64 * 10 + 9);
        let watermark = Mark { floor: at(0), ..watermark };
        let mut copy = entry(&[("value", &sample.values[sample.copy].to_string())]);
        copy.fields.insert("_low".to_owned(), at(sample.copy as u64 * 10).to_string());
        let (before, after) = (state(&sample, sample.before), state(&sample, sample.after));
        let verdict = judge(&before, Some(&watermark), &copy, &after, &Lenient::default());
        prop_assert!(matches!(verdict, Verdict::Same | Verdict::InFlight), "{sample:?}: {verdict:?}");
    }

    #[test]
    fn a_value_that_never_was_is_found_as_soon_as_all_is_settled(sample in samples()) {
        let copy = entry(&[("value", "planted")]);
        let row = state(&sample, sample.before);
        let passed = mark(sample.before as u64 * 10 + 9);
        let verdict = judge(&row, Some(&Mark { floor: at(0), ..passed }), &copy, &row, &Lenient::default());
        prop_assert!(matches!(verdict, Verdict::Wrong(Wrong::Stale, _)), "{sample:?}: {verdict:?}");
    }
}
