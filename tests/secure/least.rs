//! Every role with a user of its own in the database and in Kafka, and with the rights that `lockstep setup` prints: they
//! are enough for what it does, and nobody writes what is another's.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use lockstep_schemas::topics::{self, Topic};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::case::PASSWORD;
use crate::harness::program::Program;
use crate::harness::{Lockstep, kafka, kafka_tool, until};
use crate::pages::Page;
use crate::shop::{By, READER, Shop, USER};

const LIMIT: Duration = Duration::from_secs(90);
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// The tool of the printed `kafka-acls`.
const ACL_TOOL: &str = "AclCommand";
/// Tools that run side by side: each takes a core for a second.
const TOOLS: usize = 2;

/// Each role's users: of Kafka, and of the database.
const ROLES: [(&str, &str, &str); 6] = [
    ("ingest", "lockstep-ingest", USER),
    ("engine", "lockstep-engine", READER),
    ("gateway", "lockstep-gateway", READER),
    ("forecast", "lockstep-warmer", READER),
    ("warmer", "lockstep-warmer", READER),
    ("audit", "lockstep-audit", READER),
];

/// What each role writes, beside the log and its state: once there is something in it, its user may.
const WRITTEN: [Topic; 6] =
    [topics::VIEWS, topics::PARKED, topics::FORECAST, topics::SCORES, topics::HOT, topics::AUDIT];

/// How a server says that somebody may not do something.
const REFUSALS: [&str; 3] = ["authoriz", "permission denied", "must be owner"];

pub fn users() -> Vec<String> {
    let mut users: Vec<String> = ROLES.iter().map(|(_, user, _)| (*user).to_owned()).collect();
    users.dedup();
    users
}

pub fn every_role_has_what_it_needs(shop: &Shop) {
    grant_as_printed(shop);
    let folder = tempfile::tempdir().expect("a folder");
    let tiers = shop.lockstep().exports(&shop.endpoints().exports());
    let tiers = tiers.unset("LOCKSTEP_DATABASE_URL").unset("LOCKSTEP_KAFKA_BROKERS");
    let tiers = tiers.set("LOCKSTEP_DATABASE_PASSWORD", PASSWORD).set("LOCKSTEP_KAFKA_PASSWORD", PASSWORD);
    let running = ROLES.map(|(role, user, database_user)| {
        let path: PathBuf = folder.path().join(role);
        fs::create_dir(&path).expect("a folder");
        let file =
            shop.file_as(user, database_user, "scram-sha-512", shop.authority(), By::Environment, By::Environment);
        fs::write(path.join("lockstep.toml"), format!("{file}\n[gateway]\nviews = 1.0\n")).expect("a written file");
        let lockstep = tiers.clone().within(&path);
        let program = lockstep.start(&["run", "--role", role]);
        if role == "ingest" {
            program.line("streaming", LIMIT, |line| line.contains(" streaming").then_some(()));
        }
        (role, lockstep, program)
    });
    all_do_their_work(shop, &running);
    for (role, _, program) in running {
        program.terminate();
        let ended = program.wait(DRAIN_LIMIT);
        let refused = ended.stderr.lines().find(|line| REFUSALS.iter().any(|word| line.to_lowercase().contains(word)));
        assert_eq!((ended.code, refused), (Some(0), None), "{role}");
    }
    nobody_else_writes_the_log(shop);
}

/// The lines are commands, as they would be typed, but for the server's address.
fn grant_as_printed(shop: &Shop) {
    let printed = shop.lockstep().ask(&["setup", "--print-kafka"]);
    let lines: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("kafka-acls ")).collect();
    assert!(lines.len() > users().len(), "{printed}");
    let brokers = &shop.endpoints().kafka;
    let lockstep = shop.lockstep();
    thread::scope(|scope| {
        for part in 0..TOOLS {
            let mine: Vec<&str> = lines.iter().skip(part).step_by(TOOLS).copied().collect();
            let lockstep = &lockstep;
            scope.spawn(move || {
                for line in mine {
                    let server = ["--bootstrap-server", brokers.as_str()];
                    kafka_tool::run(lockstep, ACL_TOOL, server.into_iter().chain(line.split_whitespace()));
                }
            });
        }
    });
}

fn all_do_their_work(shop: &Shop, running: &[(&str, Lockstep, Program)]) {
    let (gateway, kafka) = (&shop.endpoints().gateway, &shop.endpoints().kafka);
    until("the gateway to be ready", LIMIT, || Page::get(gateway, "/readyz").filter(Page::is_ok));
    shop.sql(
        "INSERT INTO products (product_id, name) VALUES ('P1', 'a lantern'); \
         INSERT INTO prices (product_id, price_pence) VALUES ('P1', 100); \
         INSERT INTO inventory (product_id, stock) VALUES ('P1', 5); \
         INSERT INTO orders (order_id) VALUES (1); \
         INSERT INTO order_lines SELECT 1, n, 'P1', 1, 100, now() - interval '2 hours' FROM generate_series(1, 30) AS n",
    );
    let price = |expected: i64| {
        let page = || Page::get(gateway, "/v1/product/P1").filter(|page| page.number("price_pence") == Some(expected));
        until("the price to be told", LIMIT, page)
    };
    price(100);
    shop.sql("UPDATE prices SET price_pence = 120 WHERE product_id = 'P1'");
    price(120);
    // Nobody can read it: the engine says so in a topic of its own.
    kafka::produce(kafka, "lockstep.catalogue", "P1", &[b"not ours".to_vec()]);
    let config = kafka::config(kafka);
    let written = WRITTEN.iter().map(|topic| topic.name(&config));
    for topic in written.chain([topics::of_group(&config, "sales")]) {
        until(&format!("a record in {topic}"), LIMIT, || (!kafka::values(kafka, &topic).is_empty()).then_some(()));
    }
    let (_, ingest, _) = &running[0];
    let checked = ingest.run(&["check"]);
    assert!(checked.stdout.contains("checks, 0 failed"), "{checked}");
}

fn nobody_else_writes_the_log(shop: &Shop) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for user in users().iter().filter(|user| *user != "lockstep-ingest") {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &shop.endpoints().kafka_secured).set("security.protocol", "SASL_SSL");
        settings.set("ssl.ca.location", shop.authority().display().to_string());
        settings.set("sasl.mechanism", "PLAIN").set("sasl.username", user).set("sasl.password", PASSWORD);
        let producer: FutureProducer = settings.create().expect("a producer");
        let record = FutureRecord::<str, str>::to("lockstep.catalogue").payload("a word").partition(0);
        let sent = runtime.block_on(producer.send(record, LIMIT));
        let refused =
            matches!(sent, Err((KafkaError::MessageProduction(RDKafkaErrorCode::TopicAuthorizationFailed), _)));
        assert!(refused, "{user} may write the log");
    }
}
