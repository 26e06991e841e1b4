//! The arrows between the workspace's crates are those of the table in ARCHITECTURE.md, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

const DOCUMENT: &str = "ARCHITECTURE.md";
const LINES_MAX: usize = 200;
const PREFIX: &str = "lockstep-";
/// Tests may start servers, whatever the crate.
const STACK: &str = "stack";
/// They meet in Kafka and in the tiers, so no table may join them.
const STRANGERS: [&str; 4] = ["ingest", "coherence", "gateway", "warmer"];

/// What each crate may use.
type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn every_arrow_is_in_the_table() {
    let (packages, allowed) = (packages(), arrows(&document()));
    let crates: BTreeSet<&str> = packages.iter().map(|package| short(package.name.as_str())).collect();
    let rows: BTreeSet<&str> = allowed.keys().map(String::as_str).collect();
    assert_eq!(crates, rows, "the workspace's crates, and the rows of the table in {DOCUMENT}");

    let mut unknown = Vec::new();
    for package in &packages {
        let from = short(package.name.as_str());
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let to = short(&dependency.name);
            let is_test = dependency.kind == DependencyKind::Development;
            if !(allows(&allowed, from, to) || is_test && to == STACK) {
                unknown.push(format!("{from} -> {to}"));
            }
        }
    }
    assert!(unknown.is_empty(), "not in the table of arrows in {DOCUMENT}: {}", unknown.join(", "));
}

#[test]
fn the_table_keeps_strangers_apart() {
    let allowed = arrows(&document());
    for from in STRANGERS {
        for to in STRANGERS {
            assert!(!allows(&allowed, from, to), "{DOCUMENT} lets {from} use {to}");
        }
    }
}

#[test]
fn every_folder_that_is_named_exists() {
    let text = document();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let there: BTreeSet<String> = packages().iter().map(|package| short(&package.name).to_owned()).collect();
    for named in arrows(&text).into_keys() {
        assert!(there.contains(&named), "{DOCUMENT} names a crate that is not there: {named}");
    }
    for folder in folders(&text) {
        assert!(root.join(folder).is_dir(), "{DOCUMENT} names a folder that is not there: {folder}");
    }
}

#[test]
fn the_document_stays_short() {
    let lines = document().lines().count();
    assert!(lines < LINES_MAX, "{DOCUMENT} has {lines} lines; it is read whole, so keep it below {LINES_MAX}");
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let text = "\
# A\n\n| crate | may use |\n|---|---|\n| other | table |\n\n## Arrows\nWords.\n\n| crate | may use |\n| --- | :-- |\n\
| `schemas` | process |\n| tiers | `process`, schemas |\n| stack | - |\n| lockstep | all |\n\n## Next\n| a | b |\n";
    let allowed = arrows(text);
    let expected = ["lockstep", "schemas", "stack", "tiers"];
    assert_eq!(allowed.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    for (from, to, is_allowed) in [
        ("schemas", "process", true),
        ("tiers", "schemas", true),
        ("tiers", "stack", false),
        ("stack", "process", false),
        ("lockstep", "stack", true),
        ("nobody", "process", false),
    ] {
        assert_eq!(allows(&allowed, from, to), is_allowed, "{from} -> {to}");
    }
    let text = "`tests/`, not tests/ or `x.rs` or `/v1/`\n```\nstack/src/  servers\n```\n";
    assert_eq!(folders(text), ["tests/", "stack/src/"]);
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn packages() -> Vec<Package> {
    let mut command = MetadataCommand::new();
    command.manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let metadata = command.no_deps().exec().expect("what cargo knows of the workspace");
    metadata.workspace_packages().into_iter().cloned().collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn allows(arrows: &Arrows, from: &str, to: &str) -> bool {
    arrows.get(from).is_some_and(|may_use| may_use.contains(to) || may_use.contains("all"))
}

/// The table under `## Arrows`: `| crate | may use |`, names apart by commas, `-` for none.
fn arrows(text: &str) -> Arrows {
    let lines = text.lines().skip_while(|line| line.trim_end() != "## Arrows").skip(1);
    let section = lines.take_while(|line| !line.starts_with("## "));
    let rows: Vec<Vec<String>> = section.filter_map(cells).collect();
    let header = rows.first().unwrap_or_else(|| panic!("{DOCUMENT} has no table under `## Arrows`"));
    assert_eq!(header[..], ["crate", "may use"], "the columns of the table of arrows");
    let is_rule = |row: &[String]| row.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':') && cell.len() > 1);
    let mut arrows = Arrows::new();
    for row in rows[1..].iter().filter(|row| !is_rule(row)) {
        let [name, may_use] = &row[..] else { panic!("a row of {} cells: {row:?}", row.len()) };
        let may_use = may_use.split(',').map(str::trim).filter(|used| *used != "-").map(str::to_owned);
        assert!(arrows.insert(name.clone(), may_use.collect()).is_none(), "{name} has two rows");
    }
    arrows
}

/// The cells of a table's row, without backticks.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().replace('`', "")).collect())
}

/// Folders as they are named between backticks, in running text or in a block.
fn folders(text: &str) -> Vec<&str> {
    let is_path = |name: &&str| {
        let path = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
        name.len() > 1 && name.ends_with('/') && !name.starts_with('/') && name.chars().all(path)
    };
    text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).filter(is_path).collect()
}
