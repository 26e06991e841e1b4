use super::*;
use lockstep_schemas::position::{Lsn, Position};

fn row(cells: &[(&str, Cell)]) -> Row {
    let columns = cells.iter().map(|(name, _)| Arc::from(*name)).collect();
    Row::new(columns, cells.iter().map(|(_, cell)| cell.clone()).collect())
}

fn text(text: &str) -> Cell {
    Cell::Value(text.into())
}

fn change(op: Op, table: &str, before: Option<Row>, after: Option<Row>) -> Change {
    let position = Position { epoch: 1, lsn: Lsn(10), ordinal: 1 };
    Change { position, xid: 7, committed_at: 0, table: table.into(), op, before, after, incomplete: false }
}

fn effects(change: &Change) -> Vec<String> {
    effects_by(lockstep_schemas::policy::DEFAULT, change)
}

fn effects_by(policy: &str, change: &Change) -> Vec<String> {
    let policy = Policy::parse(policy).unwrap_or_else(|why| panic!("{why}"));
    let shown = |effect| match effect {
        Effect::Purge(tag) => format!("purge {tag}"),
        Effect::Entry(EntryAction { key, action: Action::Invalidate, .. }) => format!("invalidate {key}"),
        Effect::Entry(EntryAction { key, action: Action::Refresh { fields, .. }, .. }) => {
            let shown = |(name, cell): (&str, &Cell)| match cell {
                Cell::Value(text) => Some(format!("{name}={text}")),
                Cell::Null => Some(format!("{name}=null")),
                Cell::Unknown => None,
            };
            let fields: Vec<String> = fields.iter().filter_map(shown).collect();
            format!("refresh {key} {}", fields.join(" "))
        }
    };
    Planner::new(&policy).effects(change).expect("an entity").into_iter().map(shown).collect()
}

#[test]
fn an_update_refreshes_what_it_knows() {
    let after = row(&[
        ("product_id", text("7")),
        ("name", text("bowl")),
        ("description", Cell::Unknown),
        ("category", Cell::Null),
        ("active", text("true")),
    ]);
    assert_eq!(
        effects(&change(Op::Update, "public.products", None, Some(after))),
        [
            "refresh product:all:7 product_id=7 name=bowl category=null active=true",
            "refresh product:hot:7 product_id=7 name=bowl category=null active=true",
            "purge product:7"
        ]
    );
}

/// Whether what the change does to the first of its entries replaces it, and with what age.
fn born_by(policy: &str, change: &Change) -> Option<i64> {
    let policy = Policy::parse(policy).unwrap_or_else(|why| panic!("{why}"));
    let effects = Planner::new(&policy).effects(change).expect("an entity");
    match effects.first().expect("an effect") {
        Effect::Entry(EntryAction { action: Action::Refresh { born, .. }, .. }) => *born,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_all_of_an_entry_replaces_it() {
    let product = |description: Cell| {
        row(&[
            ("product_id", text("7")),
            ("name", text("bowl")),
            ("description", description),
            ("category", Cell::Null),
            ("active", text("true")),
        ])
    };
    let of = |description| {
        let update = change(Op::Update, "public.products", None, Some(product(description)));
        born_by(ONE_TABLE, &Change { committed_at: 42, ..update })
    };
    assert_eq!(of(text("blue")), Some(42));
    assert_eq!(of(Cell::Null), Some(42), "a null is known");
    assert_eq!(of(Cell::Unknown), None, "what did not change stays");
    let item = row(&[("product_id", text("7")), ("name", text("a")), ("note", text("x"))]);
    let update = change(Op::Update, "public.products", None, Some(item));
    assert_eq!(born_by(DEFERRING, &update), None, "the entry has the other table's too");
}

const ONE_TABLE: &str = r#"
    [groups.catalogue]
    entity_key = "product_id"
    tables = ["public.products"]
    [views.item]
    group = "catalogue"
    tiers = ["l2"]
    key = "item:{product_id}"
    ttl = "1h"
    sources = [{ table = "public.products", columns = ["product_id", "name", "description", "category"] }]
"#;

#[test]
fn everything_else_invalidates() {
    let prices = || row(&[("product_id", text("7")), ("price_pence", text("5")), ("currency", text("GBP"))]);
    let gone = ["invalidate product:all:7", "invalidate product:hot:7", "purge product:7"];
    assert_eq!(effects(&change(Op::Insert, "public.prices", None, Some(prices()))), gone);
    assert_eq!(effects(&change(Op::Delete, "public.prices", Some(prices()), None)), gone);
    let hollow = row(&[("product_id", text("7")), ("price_pence", Cell::Unknown), ("currency", Cell::Unknown)]);
    assert_eq!(effects(&Change { incomplete: true, ..change(Op::Update, "public.prices", None, Some(hollow)) }), gone);
}

#[test]
fn what_no_view_shows_has_no_effect() {
    let lines = row(&[("order_id", text("7")), ("line_no", text("1"))]);
    assert!(effects(&change(Op::Insert, "public.order_lines", None, Some(lines))).is_empty());
    let same = || row(&[("product_id", text("7")), ("price_pence", text("5")), ("currency", text("GBP"))]);
    assert!(effects(&change(Op::Update, "public.prices", Some(same()), Some(same()))).is_empty());
}

const SHELVES: &str = r#"
    [groups.catalogue]
    entity_key = "product_id"
    tables = ["public.products", "public.inventory"]
    [views.shelf]
    group = "catalogue"
    tiers = ["l2"]
    key = "shelf:{category}:{product_id}"
    ttl = "1h"
    sources = [{ table = "public.products", columns = ["product_id", "name", "category"] }]
    [views.plain]
    group = "catalogue"
    tiers = ["l2"]
    key = "plain:{product_id}"
    ttl = "1h"
    on_change = "invalidate"
    sources = [{ table = "public.products", columns = ["name"] }]
    [views.page]
    group = "catalogue"
    tiers = ["l3"]
    key = "/p/{product_id}"
    tag = "page:{product_id}"
    ttl = "1h"
    sources = [{ table = "public.inventory", columns = ["stock", "shelf"], when = "stock crosses 0" }]
"#;

fn product(category: Cell) -> Row {
    row(&[("product_id", text("7")), ("name", text("bowl")), ("category", category)])
}

#[test]
fn a_key_moves_with_its_columns() {
    let update = |before: Option<Row>, after: Row| {
        effects_by(SHELVES, &change(Op::Update, "public.products", before, Some(after)))
    };
    let refreshed = "refresh shelf:bowls:7 product_id=7 name=bowl category=bowls";
    let plain = "invalidate plain:7";
    assert_eq!(update(None, product(text("bowls"))), [plain, refreshed]);
    let before = || Some(row(&[("product_id", text("7")), ("name", text("cup")), ("category", text("bowls"))]));
    assert_eq!(update(before(), product(text("bowls"))), [plain, refreshed]);
    let moved = [plain, "invalidate shelf:bowls:7", "invalidate shelf:cups:7"];
    assert_eq!(update(before(), product(text("cups"))), moved);
    assert_eq!(update(before(), product(Cell::Null)), moved[..2]);
    // What did not change is as it was.
    assert_eq!(update(before(), product(Cell::Unknown)), [plain, "refresh shelf:bowls:7 product_id=7 name=bowl"]);
    assert_eq!(
        effects_by(SHELVES, &change(Op::Delete, "public.products", Some(product(text("bowls"))), None)),
        [plain, "invalidate shelf:bowls:7"]
    );
    let policy = Policy::parse(SHELVES).expect("a policy");
    let unknown = change(Op::Update, "public.products", None, Some(product(Cell::Unknown)));
    assert_eq!(Planner::new(&policy).effects(&unknown), Err(NoEntity), "which entry is not known");
}

#[test]
fn a_test_decides_whether_the_edge_is_purged() {
    let stock = |stock: &str, shelf: &str| {
        let stock = if stock == "?" { Cell::Unknown } else { text(stock) };
        row(&[("product_id", text("7")), ("stock", stock), ("shelf", text(shelf))])
    };
    let check = |before: Option<Row>, after: Row, purged: bool| {
        let change = change(Op::Update, "public.inventory", before, Some(after));
        let expected: &[&str] = if purged { &["purge page:7"] } else { &[] };
        assert_eq!(effects_by(SHELVES, &change), expected);
    };
    check(Some(stock("5", "a")), stock("4", "b"), false);
    check(Some(stock("1", "a")), stock("0", "a"), true);
    check(Some(stock("?", "a")), stock("4", "a"), true);
    check(None, stock("4", "a"), true);
    let hollow = change(Op::Update, "public.inventory", Some(stock("5", "a")), Some(stock("4", "a")));
    assert_eq!(effects_by(SHELVES, &Change { incomplete: true, ..hollow }), ["purge page:7"]);
    let gone = change(Op::Delete, "public.inventory", Some(stock("5", "a")), None);
    assert_eq!(effects_by(SHELVES, &gone), ["purge page:7"]);
}

const DEFERRING: &str = r#"
    [groups.catalogue]
    entity_key = "product_id"
    tables = ["public.products", "public.texts"]
    [views.item]
    group = "catalogue"
    tiers = ["l2"]
    key = "item:{product_id}"
    ttl = "1h"
    deferred = "5m"
    sources = [
        { table = "public.products", columns = ["product_id", "name", "note"], deferred = ["note"] },
        { table = "public.texts", columns = ["text"], deferred = ["text"] },
    ]
"#;

#[test]
fn deferred_columns_wait_where_they_changed_alone() {
    let product =
        |name: &str, note: &str| row(&[("product_id", text("7")), ("name", text(name)), ("note", text(note))]);
    let of = |op, before: Option<Row>, after: Option<Row>| {
        effects_by(DEFERRING, &change(op, "public.products", before, after))
    };
    let none: [&str; 0] = [];
    assert_eq!(of(Op::Update, Some(product("a", "x")), Some(product("a", "y"))), none);
    let refreshed = ["refresh item:7 product_id=7 name=b note=y"];
    assert_eq!(of(Op::Update, Some(product("a", "x")), Some(product("b", "y"))), refreshed);
    assert_eq!(of(Op::Update, None, Some(product("b", "y"))), refreshed, "nobody can tell");
    assert_eq!(of(Op::Delete, Some(product("a", "x")), None), ["invalidate item:7"]);
    let hollow = change(Op::Update, "public.products", Some(product("a", "x")), Some(product("a", "y")));
    assert_eq!(effects_by(DEFERRING, &Change { incomplete: true, ..hollow }), ["invalidate item:7"]);
    // Where every column waits, an old row is not needed.
    let words = |words: &str| row(&[("product_id", text("7")), ("text", text(words))]);
    let of = |op, before, after| effects_by(DEFERRING, &change(op, "public.texts", before, after));
    assert_eq!(of(Op::Update, None, Some(words("new"))), none);
    assert_eq!(of(Op::Insert, None, Some(words("new"))), ["invalidate item:7"]);
}

#[test]
fn a_row_of_many_is_a_field() {
    let line = |id: &str, quantity: Cell| {
        let (user, product, price) = (("user_id", text("1")), ("product_id", text("9")), ("price_pence", text("5")));
        row(&[("line_id", text(id)), user, product, ("quantity", quantity), price])
    };
    let of = |op, before, after| effects(&change(op, "public.cart_lines", before, after));
    let refreshed = r#"refresh cart:1 line:7={"line_id":"7","product_id":"9","quantity":"2","price_pence":"5"}"#;
    assert_eq!(of(Op::Update, None, Some(line("7", text("2")))), [refreshed]);
    assert_eq!(of(Op::Update, Some(line("7", text("1"))), Some(line("7", text("2")))), [refreshed]);
    let gone = ["invalidate cart:1"];
    assert_eq!(of(Op::Insert, None, Some(line("7", text("2")))), gone);
    assert_eq!(of(Op::Delete, Some(line("7", text("2"))), None), gone);
    assert_eq!(of(Op::Update, None, Some(line("7", Cell::Unknown))), gone, "a row is whole or not there");
    assert_eq!(of(Op::Update, Some(line("6", text("2"))), Some(line("7", text("2")))), gone, "another name");
    let none: [&str; 0] = [];
    assert_eq!(of(Op::Update, Some(line("7", text("2"))), Some(line("7", text("2")))), none);
}
