//! Scores of anybody's model: good ones become the hot set, bad ones are parked with the reason and change nothing.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockstep_schemas::scores::{SCHEMA, SUBJECT, Score};
use lockstep_schemas::topics;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, TopicPartitionList};
use serde_json::{Value, json};

use crate::harness::{Program, until};
use crate::shop::{Shop, WAIT_MAX};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/feed_scores.py");
pub const SECOND: i64 = 1_000_000;
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Five seconds each are more than [`WAIT_MAX`].
const UNKNOWN_SCHEMAS: u32 = 40;

#[test]
fn bad_scores_are_parked_and_the_last_good_set_stays() {
    let shop = Shop::with_tiers();
    let warmer = shop.role("warmer");
    let feed = Feed::of(&shop);
    let now = now();
    feed.scores(&[("P1", 3.0), ("P2", 2.0), ("P3", 1.0)], now);
    assert_eq!(hot(&shop, 1), ["P1", "P2", "P3"]);
    // None of these gets in, whatever its score says; of those that may, P4 is new.
    feed.scores(&[("P5", f64::NAN), ("P6", -1.0), ("", 9.0)], now);
    feed.scores(&[("P7", 9.0)], now - 60 * SECOND);
    feed.scores(&[("P8", 9.0)], now + 3_600 * SECOND);
    feed.raw(
        "P9",
        &Score { product: "P9".into(), hour: 0, score: 9.0, model: "m".into(), made_at: now }.encode(feed.other),
    );
    feed.raw("P9", b"{\"product\":\"P9\",\"score\":9}");
    feed.scores(&[("gone", 9.0), ("P4", 0.5)], now);
    assert_eq!(hot(&shop, 2), ["P1", "P2", "P3", "P4"]);
    let all = ["form", "future", "old", "product", "schema", "score", "unknown_product"];
    let parked: BTreeSet<String> = until("a word of each", WAIT_MAX, || {
        let words = shop.values(topics::PARKED);
        let reasons: BTreeSet<String> =
            words.iter().filter_map(|word| word["reason"].as_str().map(str::to_owned)).collect();
        (reasons.len() >= all.len()).then_some(reasons)
    });
    assert_eq!(parked.iter().map(String::as_str).collect::<Vec<_>>(), all);
    // Nothing but bad ones: the set stays.
    let sets = shop.values(topics::HOT).len();
    feed.scores(&[("P1", f64::NAN), ("nobody", f64::INFINITY)], now + SECOND);
    until("two more of a kind", WAIT_MAX, || {
        let words = shop.values(topics::PARKED);
        (words.iter().filter(|word| word["reason"] == "score").count() >= 2).then_some(())
    });
    assert_eq!(shop.values(topics::HOT).len(), sets, "the last good set stays");
    let refused = schemas_that_are_not_there_hold_nothing_up(&shop, &feed);
    what_was_parked_is_not_parked_again(&shop, &feed, warmer, refused);
}

/// Each waited for by itself, they would take longer than anything may. Returns the offset behind the last of them.
fn schemas_that_are_not_there_hold_nothing_up(shop: &Shop, feed: &Feed) -> Option<i64> {
    let score = Score { product: "P1".into(), hour: 0, score: 9.0, model: "m".into(), made_at: now() };
    (0..UNKNOWN_SCHEMAS).for_each(|number| feed.raw("P1", &score.encode(900_000 + number)));
    let end = end_of_scores(shop);
    feed.scores(&[("P5", 5.0)], now() + 9 * SECOND);
    until_hot(shop, "P5");
    end
}

fn until_hot(shop: &Shop, product: &str) {
    until("a set with it", WAIT_MAX, || {
        let newest = shop.values(topics::HOT).pop()?;
        newest.as_array().is_some_and(|set| set.contains(&json!(product))).then_some(())
    });
}

/// A warmer that begins anew reads all scores again, and says of none of them what has been said.
fn what_was_parked_is_not_parked_again(shop: &Shop, feed: &Feed, mut warmer: Program, refused: Option<i64>) {
    until("Kafka to know what was parked", WAIT_MAX, || (told(shop) >= refused).then_some(()));
    warmer.terminate();
    assert_eq!(warmer.exit_code(WAIT_MAX), Some(0));
    let before = parked(shop);
    let _warmer = shop.role("warmer");
    feed.scores(&[("P6", 6.0)], now() + 9 * SECOND);
    until_hot(shop, "P6");
    feed.scores(&[("P7", f64::NAN)], now());
    let after =
        until("a word of what is new", WAIT_MAX, || Some(parked(shop)).filter(|after| after.len() > before.len()));
    assert_eq!(after[before.len()..], ["score"], "nothing else was parked again");
}

/// Reasons of the words that do not come again by themselves: an unknown product is looked for each minute.
fn parked(shop: &Shop) -> Vec<String> {
    let reasons = shop.values(topics::PARKED).into_iter().filter_map(|word| word["reason"].as_str().map(str::to_owned));
    reasons.filter(|reason| reason != "unknown_product").collect()
}

/// The offset that the warmer has committed.
fn told(shop: &Shop) -> Option<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topics::SCORES.base_name(), 0);
    let told = consumer(shop, "lockstep-warmer-refused").committed_offsets(list, ANSWER_MAX).expect("an answer");
    told.elements().first().and_then(|element| element.offset().to_raw())
}

fn end_of_scores(shop: &Shop) -> Option<i64> {
    let ends = consumer(shop, "test-ends").fetch_watermarks(topics::SCORES.base_name(), 0, ANSWER_MAX);
    ends.ok().map(|(_, end)| end)
}

fn consumer(shop: &Shop, group: &str) -> BaseConsumer {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", shop.kafka()).set("group.id", group).set("enable.auto.commit", "false");
    settings.create().expect("a consumer")
}

#[test]
#[ignore = "it installs Python packages"]
fn the_example_feeds_scores() {
    let python = private_python();
    let shop = Shop::with_tiers();
    let _warmer = shop.role("warmer");
    Feed::of(&shop);
    let feed = |text: &str| {
        let mut script = Command::new(&python);
        script.args([EXAMPLE, "--brokers", shop.kafka(), "--model", "mine"]);
        let mut script = script.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python runs");
        script.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
        let ended = script.wait_with_output().expect("an end");
        (ended.status.success(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    assert_eq!(feed("P4,7\nP5,9.5\n"), (true, String::new()));
    assert_eq!(hot(&shop, 1), ["P5", "P4"]);
    let (good, said) = feed("P4,7\nP5,nan\n");
    assert!(!good && said.contains("line 2"), "{said}");
}

/// The set as it was announced the `nth` time.
pub fn hot(shop: &Shop, nth: usize) -> Vec<String> {
    let set = until("the hot set", WAIT_MAX, || shop.values(topics::HOT).into_iter().nth(nth - 1));
    serde_json::from_value(set).expect("products")
}

/// A model that writes what it is told to.
pub struct Feed {
    producer: BaseProducer,
    schema: u32,
    /// A schema that is not that of scores.
    other: u32,
}

impl Feed {
    pub fn of(shop: &Shop) -> Self {
        let schemas = until("the schemas", WAIT_MAX, || {
            let schemas = shop.values(topics::SCHEMAS);
            (schemas.iter().any(|schema| schema["subject"] == SUBJECT) && schemas.len() > 1).then_some(schemas)
        });
        let id = |schema: &Value| u32::try_from(schema["id"].as_u64().expect("an id")).expect("a small one");
        let of =
            |wanted: bool| schemas.iter().find(|schema| (schema["subject"] == SUBJECT) == wanted).map(id).expect("one");
        assert!(schemas.iter().any(|schema| schema["schema"] == SCHEMA));
        let producer = ClientConfig::new().set("bootstrap.servers", shop.kafka()).create().expect("a producer");
        Feed { producer, schema: of(true), other: of(false) }
    }

    pub fn scores(&self, scores: &[(&str, f64)], made_at: i64) {
        for (product, score) in scores {
            let score =
                Score { product: (*product).to_owned(), hour: 0, score: *score, model: "test".to_owned(), made_at };
            self.raw(product, &score.encode(self.schema));
        }
    }

    fn raw(&self, key: &str, value: &[u8]) {
        let record = BaseRecord::to(topics::SCORES.base_name()).partition(0).key(key).payload(value);
        self.producer.send(record).map_err(|(error, _)| error).expect("queued");
        self.producer.flush(Duration::from_secs(20)).expect("written");
    }
}

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("before 292,000")
}

/// A Python with what the example needs, kept between runs.
fn private_python() -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = folder.join("bin/python3");
    let run = |program: &Path, arguments: &[&str]| {
        let ended = Command::new(program).args(arguments).output().expect("it runs");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    };
    if !python.exists() {
        run(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()]);
    }
    run(&python, &["-m", "pip", "install", "--quiet", "confluent-kafka==2.16.1", "fastavro==1.13.1"]);
    python
}
