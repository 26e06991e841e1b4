//! What a publication may lack or have too much of, each told by `check` in a line of its own, with what mends it.

use std::fs;

use crate::case::{CONFIGURED_WRONGLY, Case, check};
use crate::elsewhere::{CONFIGURATION, refused_by_check};
use crate::harness::kafka::holding;
use crate::shop::Shop;

/// In columns that are called like secrets, and in one that is not.
pub const SECRET: &str = "s3cr3t-planted";
pub const TITLE: &str = "lantern-planted";

/// Before there is a publication, ingest would make one of all that is needed.
pub fn ingest_publishes_no_secret(shop: &Shop, policy: &str) {
    let refused: &[&str] = &["column api_token of Goods.items", "`lockstep setup --print-sql`", "allow_secret = "];
    let needs_it = policy.replace("\"title\"]", "\"title\", \"api_token\"]");
    assert_ne!(needs_it, policy);
    let run = Case::new("a secret", "run --role ingest").file("policy.toml", &needs_it);
    check(&shop.lockstep, &[run.fails(CONFIGURED_WRONGLY, refused)]);
    assert_eq!(shop.sql("SELECT count(*) FROM pg_publication"), "0", "nothing was published first");
}

/// What is broken, the line that tells it, what that line says, and what mends it.
type Fault = (&'static str, &'static str, &'static str, &'static str);

const AS_IT_WAS: &str = "ALTER PUBLICATION \"Goods to go\" SET TABLE items (item, title), shelves, boxes (item)";

const FAULTS: [Fault; 5] = [
    // As little as is needed, also when it is mended by hand.
    (
        "ALTER PUBLICATION \"Goods to go\" SET TABLE shelves, boxes (item)",
        "publication Goods to go: publication Goods to go does not carry table Goods.items",
        "ADD TABLE \"Goods\".\"items\" (\"item\", \"title\")",
        AS_IT_WAS,
    ),
    (
        "ALTER PUBLICATION \"Goods to go\" SET (publish = 'insert, update')",
        "kinds of changes in publication Goods to go: publication Goods to go does not carry every delete, truncate",
        "ALTER PUBLICATION \"Goods to go\" SET (publish = 'insert, update, delete, truncate')",
        "ALTER PUBLICATION \"Goods to go\" SET (publish = 'insert, update, delete, truncate')",
    ),
    (
        "ALTER PUBLICATION \"Goods to go\" SET TABLE items (item, title) WHERE (item <> 'b'), shelves, boxes (item)",
        "row filters of publication Goods to go: publication Goods to go carries only some rows of Goods.items",
        "without WHERE",
        AS_IT_WAS,
    ),
    (
        "CREATE TABLE rare_boxes () INHERITS (boxes)",
        "tables that inherit from the policy's tables: table Goods.rare_boxes inherits from Goods.boxes",
        "ALTER TABLE \"Goods\".\"rare_boxes\" NO INHERIT \"Goods\".\"boxes\"",
        "ALTER TABLE rare_boxes NO INHERIT boxes",
    ),
    (
        "ALTER PUBLICATION \"Goods to go\" SET TABLE items, shelves, boxes (item)",
        "columns of publication Goods to go that are called like secrets: column api_token of Goods.items",
        "[tables.\"Goods.items\"] allow_secret = [\"api_token\"]",
        AS_IT_WAS,
    ),
];

pub fn faults_are_told(shop: &Shop, policy: &str) {
    for (fault, line, remedy, mend) in FAULTS {
        shop.sql(fault);
        refused_by_check(&shop.lockstep, &format!("FAIL  {line}"), remedy);
        shop.sql(mend);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let lockstep = shop.lockstep.clone().within(folder.path());
    fs::write(folder.path().join("lockstep.toml"), CONFIGURATION).expect("a written configuration");
    let with = |rules: &str| {
        let text = format!("{policy}\n[tables.\"Goods.items\"]\n{rules}\n");
        fs::write(folder.path().join("policy.toml"), text).expect("a written policy");
    };
    with("private = [\"titel\"]");
    let misspelt = "FAIL  columns that the policy has rules for: table Goods.items has no column titel";
    refused_by_check(&lockstep, misspelt, "did you mean `title`?");
    shop.sql("ALTER PUBLICATION \"Goods to go\" SET TABLE items, shelves, boxes (item)");
    with("allow_secret = [\"api_token\"]");
    let checked = lockstep.ask(&["check"]);
    assert!(checked.contains("no view needs note of Goods.items"), "{checked}");
    assert!(checked.contains("called like secrets: 1, allowed by the policy"), "{checked}");
    shop.sql(AS_IT_WAS);
}

/// Everything that was written is in the topic, but for the secrets.
pub fn no_secret_is_in_the_topic(shop: &Shop) {
    let kafka = &shop.endpoints().kafka;
    let (titles, all) = holding(kafka, "lockstep.items", TITLE);
    assert!(titles > 0 && all > titles, "{titles} of {all}");
    assert_eq!(holding(kafka, "lockstep.items", SECRET).0, 0);
}
