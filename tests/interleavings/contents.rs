//! What is written into rows.

use fastrand::Rng;

use crate::rows::Table;

/// The columns that an update sets: the one that bears the version, and some of the others.
pub fn assignments(rng: &mut Rng, table: Table, version: u64) -> String {
    let mut set = match table {
        Table::Products | Table::Users => format!("name = 'v{version}'"),
        Table::Prices => format!("price_pence = {version}"),
        Table::Inventory => format!("stock = {version}"),
    };
    if table == Table::Prices && rng.u8(..4) == 0 {
        set.push_str([", currency = 'EUR'", ", currency = 'GBP'"][rng.usize(..2)]);
    }
    if table == Table::Products {
        if rng.u8(..4) == 0 {
            set.push_str(&format!(", description = {}", description(rng)));
        }
        if rng.u8(..6) == 0 {
            set.push_str(&format!(", category = nullif('c{0}', 'c0')", rng.u8(..4)));
        }
        if rng.u8(..6) == 0 {
            set.push_str(", active = NOT active");
        }
    }
    set
}

/// Nothing, a few words, or text that is long and can't be compressed, and so lies outside of its row.
pub fn description(rng: &mut Rng) -> String {
    let digests = match rng.u8(..10) {
        0..3 => return "NULL".to_owned(),
        3..6 => return format!("'d{}'", rng.u32(..)),
        6..9 => rng.usize(125..600),
        _ => rng.usize(600..3_125),
    };
    format!("(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, {digests}))")
}
