//! What is refused before anything runs, or because a server is not as it must be.

use lockstep_stack::{Services, StackOptions};

use crate::case::{CALLED_WRONGLY, CONFIGURED_WRONGLY, Case, NOT_YET, PASSWORD, SECRET, SERVICE_AWAY, check};
use crate::harness::Lockstep;
use crate::shop::Shop;

/// Nobody listens there.
const AWAY: &str = "127.0.0.1:1";
const DATABASE_AWAY: &str = "postgres://postgres:tr0ub4dor@127.0.0.1:1/shop";
const EDGE_AWAY: &str = "http://purger:tr0ub4dor@127.0.0.1:1";
const REDIS_AWAY: &str = "redis://:tr0ub4dor@127.0.0.1:1/";
const CLUSTER_AWAY: &str = "redis://:tr0ub4dor@127.0.0.1:2/";

/// A configuration that is complete, and leads nowhere.
fn nowhere() -> (tempfile::TempDir, Lockstep) {
    let folder = tempfile::tempdir().expect("a folder");
    let lockstep = Lockstep::new(folder.path())
        .set("LOCKSTEP_DATABASE_URL", DATABASE_AWAY)
        .set("LOCKSTEP_KAFKA_BROKERS", AWAY)
        .set("LOCKSTEP_L2_URL", REDIS_AWAY)
        .set("LOCKSTEP_L1_URLS", CLUSTER_AWAY)
        .set("LOCKSTEP_EDGE_URL", EDGE_AWAY);
    (folder, lockstep)
}

#[test]
fn what_can_be_told_without_a_server() {
    let (_folder, lockstep) = nowhere();
    check(
        &lockstep,
        &[
            // Called wrongly.
            Case::new("an unknown flag", "status --outptu json")
                .fails(CALLED_WRONGLY, &["unexpected argument '--outptu'", "'--output'", "--help"]),
            Case::new("an unknown command", "statsu")
                .fails(CALLED_WRONGLY, &["unrecognized subcommand 'statsu'", "'status'"]),
            Case::new("no LSN", "wait --for nonsense --tier l2")
                .fails(CALLED_WRONGLY, &["--for: `nonsense`", "it looks like 16/B374D848"]),
            Case::new("no such tier", "wait --for 0/0 --tier l4")
                .fails(CALLED_WRONGLY, &["invalid value 'l4'", "l1, l2, l3"]),
            // The policy.
            Case::new("a policy that is not there", "policy check --policy missing.toml")
                .fails(CONFIGURED_WRONGLY, &["missing.toml", "No such file", "--policy or LOCKSTEP_POLICY"]),
            Case::new("a policy that is a folder", "policy check --policy .")
                .fails(CONFIGURED_WRONGLY, &["Is a directory", "--policy or LOCKSTEP_POLICY"]),
            Case::new("a policy with a typo", "run")
                .file(
                    "policy.toml",
                    "[groups.catalogue]\nentity_kee = \"product_id\"\ntables = [\"public.products\"]\n",
                )
                .fails(CONFIGURED_WRONGLY, &["policy.toml: line 2", "`entity_kee`", "did you mean `entity_key`?"]),
            Case::new("a view that is not in the policy", "warm produkt_all")
                .fails(CALLED_WRONGLY, &["`produkt_all`", "did you mean `product_all`?"]),
            // The configuration.
            Case::new("a key with a typo", "status")
                .file("lockstep.toml", "[kafka]\nbrokres = \"127.0.0.1:9092\"\n")
                .fails(CONFIGURED_WRONGLY, &["lockstep.toml: line 2", "`brokres`", "did you mean `brokers`?"]),
            Case::new("a URL without quotes", "status")
                .file("lockstep.toml", "[database]\nurl = postgres://postgres:tr0ub4dor@127.0.0.1/shop\n")
                .fails(CONFIGURED_WRONGLY, &["lockstep.toml: line 2"]),
            Case::new("a password without a user", "status")
                .file("lockstep.toml", "[kafka]\ntls = true\nsasl = \"plain\"\n")
                .set("LOCKSTEP_KAFKA_PASSWORD", PASSWORD)
                .fails(CONFIGURED_WRONGLY, &["[kafka] sasl needs a user", "set [kafka] user"]),
            Case::new("a password in the clear", "status")
                .file("lockstep.toml", "[kafka]\nuser = \"lockstep\"\nsasl = \"plain\"\n")
                .set("LOCKSTEP_KAFKA_PASSWORD", PASSWORD)
                .fails(CONFIGURED_WRONGLY, &["without tls", "set [kafka] tls = true"]),
            Case::new("a file that is not there", "status --config other.toml")
                .fails(CONFIGURED_WRONGLY, &["other.toml", "No such file", "--config"]),
            Case::new("no slot's name", "check")
                .file("lockstep.toml", "[database]\nslot = \"Bad Slot!\"\n")
                .fails(CONFIGURED_WRONGLY, &["[database] slot = \"Bad Slot!\"", "up to 63 of a-z, 0-9 and _"]),
            Case::new("no partitions", "status --partitions 0")
                .fails(CONFIGURED_WRONGLY, &["partitions = 0", "from 1 to 1024"]),
            Case::new("no URL", "run")
                .set("LOCKSTEP_DATABASE_URL", "postgres:tr0ub4dor@127.0.0.1:1/shop")
                .fails(CONFIGURED_WRONGLY, &["the database URL", "postgres://host:port"]),
            Case::new("no database", "migrate")
                .unset("LOCKSTEP_DATABASE_URL")
                .fails(CONFIGURED_WRONGLY, &["LOCKSTEP_DATABASE_URL", "[database] url in lockstep.toml"]),
            Case::new("no Kafka", "run --role ingest")
                .unset("LOCKSTEP_KAFKA_BROKERS")
                .fails(CONFIGURED_WRONGLY, &["LOCKSTEP_KAFKA_BROKERS", "[kafka] brokers in lockstep.toml"]),
            Case::new("no L1", "status")
                .unset("LOCKSTEP_L1_URLS")
                .fails(CONFIGURED_WRONGLY, &["LOCKSTEP_L1_URLS", "[tiers] l1 in lockstep.toml"]),
            Case::new("no edge", "run --role engine")
                .unset("LOCKSTEP_EDGE_URL")
                .fails(CONFIGURED_WRONGLY, &["LOCKSTEP_EDGE_URL", "[edge] url in lockstep.toml"]),
            // What is away.
            Case::new("the database is away, to a command", "migrate")
                .fails(SERVICE_AWAY, &["the database at postgres://127.0.0.1:1/shop", "LOCKSTEP_DATABASE_URL"]),
            Case::new("the database is away, to all roles", "run").fails(
                SERVICE_AWAY,
                &["the database at postgres://127.0.0.1:1/shop", "check that PostgreSQL runs there"],
            ),
            Case::new("L1 is away", "status").fails(SERVICE_AWAY, &["l1 at redis://127.0.0.1:2/", "LOCKSTEP_L1_URLS"]),
        ],
    );
}

#[test]
fn no_help_shows_a_password() {
    let (_folder, lockstep) = nowhere();
    for arguments in [&["--help"][..], &["run", "--help"], &["help", "wait"]] {
        let help = lockstep.ask(arguments);
        assert!(help.contains("LOCKSTEP_DATABASE_URL") && !help.contains(SECRET), "{help}");
    }
}

#[test]
fn a_database_that_is_not_as_it_must_be() {
    let services = Services { postgres: true, ..Services::NONE };
    let postgres_settings = vec![("wal_level".to_owned(), "replica".to_owned())];
    let postgres_password = Some(PASSWORD.to_owned());
    let shop = Shop::start(StackOptions { services, postgres_settings, postgres_password, ..StackOptions::default() });
    let known = &shop.endpoints().database_url;
    let wrong = known.replace("%263@", "%264@");
    let other = known.replace("/shop", "/shpo");
    assert!(wrong != *known && other != *known, "the passwords' form has changed");

    let refused: &[&str] = &["refuses our user or password", "check user and password in LOCKSTEP_DATABASE_URL"];
    let lockstep = shop.lockstep.clone().set("LOCKSTEP_KAFKA_BROKERS", AWAY).set("LOCKSTEP_EDGE_URL", "http://h:1");
    check(
        &lockstep,
        &[
            Case::new("a wrong password, to ingest", "run --role ingest")
                .set("LOCKSTEP_DATABASE_URL", &wrong)
                .fails(CONFIGURED_WRONGLY, refused),
            Case::new("a wrong password, to the engine", "run --role engine")
                .set("LOCKSTEP_DATABASE_URL", &wrong)
                .fails(CONFIGURED_WRONGLY, refused),
            Case::new("a wrong password, to a command", "wait --for 0/0 --tier l2")
                .set("LOCKSTEP_DATABASE_URL", &wrong)
                .fails(CONFIGURED_WRONGLY, refused),
            Case::new("no such database", "run --role ingest")
                .set("LOCKSTEP_DATABASE_URL", &other)
                .fails(CONFIGURED_WRONGLY, &["there is no such database", "LOCKSTEP_DATABASE_URL"]),
            Case::new("a log that can't be read", "run --role ingest").fails(
                CONFIGURED_WRONGLY,
                &["wal_level is replica", "ALTER SYSTEM SET wal_level = 'logical'", "restart"],
            ),
        ],
    );
    assert_eq!(lockstep.ask(&["migrate"]), "the database is up to date\n", "with the right password");
    check(
        &lockstep,
        &[Case::new("no ingest yet", "wait --for 0/0 --tier l2")
            .fails(NOT_YET, &["no epoch has begun", "lockstep run --role ingest"])],
    );
}
