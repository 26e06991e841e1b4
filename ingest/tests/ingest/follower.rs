//! Topics of one partition, followed through one client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::tail::Begin;
use lockstep_schemas::topics::{self, Topic};
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::shop::{Shop, WAIT_MAX};

const FIRST: Topic = Topic::ours("followed-first");
const LATE: Topic = Topic::ours("followed-late");
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What one who follows has heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn of(follower: &Follower, topic: Topic, begin: Begin) -> Self {
        let heard = Heard::default();
        let ear = heard.clone();
        follower.follow(topic, begin, move |record| {
            let value = String::from_utf8_lossy(record.payload().expect("a value")).into_owned();
            ear.0.lock().expect("a lock").push(value);
        });
        heard
    }

    fn so_far(&self) -> Vec<String> {
        self.0.lock().expect("a lock").clone()
    }

    /// Waits until that has been heard, and nothing else.
    async fn is(&self, expected: &[&str]) {
        let all = async {
            while self.so_far().len() < expected.len() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let _ = tokio::time::timeout(WAIT_MAX, all).await;
        assert_eq!(self.so_far(), expected);
    }
}

pub async fn topics_are_followed_from_where_each_begins(shop: &Shop) {
    let admin: AdminClient<DefaultClientContext> = topics::client(&shop.kafka, "test").create().expect("a client");
    let is_made = async |topic: Topic| {
        let name = topic.name(&shop.kafka);
        let made =
            admin.create_topics(&[NewTopic::new(&name, 1, TopicReplication::Fixed(1))], &AdminOptions::new()).await;
        made.expect("an answer").into_iter().all(|made| made.is_ok())
    };
    let publisher = StatePublisher::open(&shop.kafka, "test").expect("a publisher");
    let publish = async |topic, value: &str| publisher.publish(topic, b"k", value.as_bytes()).await.expect("a record");
    assert!(is_made(FIRST).await);
    publish(FIRST, "1").await;
    publish(FIRST, "2").await;

    let stop = Shutdown::new();
    let _ends_with_this = stop.clone().drop_guard();
    let follower = Follower::start(&shop.kafka, stop);
    let missing = Heard::of(&follower, LATE, Begin::Oldest);
    let oldest = Heard::of(&follower, FIRST, Begin::Oldest);
    oldest.is(&["1", "2"]).await;
    publish(FIRST, "3").await;
    oldest.is(&["1", "2", "3"]).await;

    // Whoever comes later begins where he wants to; the others hear nothing twice.
    let newest = Heard::of(&follower, FIRST, Begin::Newest);
    let again = Heard::of(&follower, FIRST, Begin::Oldest);
    again.is(&["1", "2", "3"]).await;
    newest.is(&["3"]).await;
    publish(FIRST, "4").await;
    again.is(&["1", "2", "3", "4"]).await;
    newest.is(&["3", "4"]).await;
    oldest.is(&["1", "2", "3", "4"]).await;

    assert!(is_made(LATE).await);
    publish(LATE, "a").await;
    missing.is(&["a"]).await;

    // Of a topic that is made anew all is heard, by whoever wants all of it.
    let name = FIRST.name(&shop.kafka);
    admin.delete_topics(&[&name], &AdminOptions::new()).await.expect("an answer");
    let made_anew = async {
        while !is_made(FIRST).await {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, made_anew).await.expect("the topic, made anew");
    publish(FIRST, "5").await;
    oldest.is(&["1", "2", "3", "4", "5"]).await;
    assert_eq!(missing.so_far().first().map(String::as_str), Some("a"));
    assert!(missing.so_far().iter().all(|heard| heard == "a"), "another client may have read it again");
}
