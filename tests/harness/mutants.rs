//! The library of functions with a mistake planted in it, by the name that the mistake has in the table.

use serde::Deserialize;

/// As it is.
pub const LIBRARY: &str = include_str!("../../tiers/src/lockstep.lua");
/// Those that readers of a whole system meet. Of the others some need a node that fails over, or two engines; some cost misses
/// only, and some are healed by the engine's own fill before anybody looks.
pub const MET_BY_READERS: [&str; 9] = [
    "absent is created",
    "nulls stay",
    "in between is refreshed",
    "a drop leaves the entry",
    "a drop leaves the marker",
    "a fill takes anybody's lease",
    "a fill leaves its marker",
    "the floor kills nothing",
    "a call without a floor lowers it",
];
const TABLE: &str = include_str!("../../tiers/mutants/lockstep.toml");

#[derive(Deserialize)]
struct Table {
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
struct Mutant {
    name: String,
    replace: String,
    by: String,
}

/// The library with this mistake.
pub fn with_mistake(name: &str) -> String {
    let table: Table = toml::from_str(TABLE).expect("the table");
    let mutant = table.mutant.iter().find(|mutant| mutant.name == name).expect("a mutant of this name");
    assert_eq!(LIBRARY.matches(&mutant.replace).count(), 1, "`{}` stands once in the library", mutant.replace);
    LIBRARY.replace(&mutant.replace, &mutant.by)
}
