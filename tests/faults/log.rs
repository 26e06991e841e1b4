//! The log as a consumer reads it: every record of every group, and every progress record.

use std::collections::HashMap;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::change::{Change, Op};
use lockstep_schemas::control::ControlKind;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::position::Position;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::shop::{PARTITIONS, Shop};
use crate::tables::{GROUPS, RowChange, RowKey, Table};

const RECORD_WAIT_MAX: Duration = Duration::from_secs(30);

/// A partition of a group, by the group's index.
pub type Place = (usize, u32);

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Change(Position, u32, RowChange),
    Epoch(Position),
    /// A tombstone, or a control that no test here brings about.
    Other,
}

/// A record, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub place: Place,
    pub offset: i64,
    pub said: Said,
}

/// All that lies in Kafka.
pub struct Log {
    /// Each partition in its order.
    pub records: Vec<Record>,
    pub progress: Vec<Progress>,
}

impl Log {
    /// Everything up to the ends of this moment.
    pub fn read(shop: &Shop) -> Log {
        let mut left: HashMap<(String, i32), i64> = HashMap::new();
        for group in GROUPS {
            let topic = topics::of_group(shop.reader(), group);
            for (partition, end) in (0..).zip(shop.ends(&topic, PARTITIONS)).filter(|(_, end)| *end > 0) {
                left.insert((topic.clone(), partition), end);
            }
        }
        shop.runtime.block_on(async { Log { records: records(shop, left).await, progress: all_progress(shop).await } })
    }
}

async fn records(shop: &Shop, mut left: HashMap<(String, i32), i64>) -> Vec<Record> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in left.keys() {
        list.add_partition_offset(topic, *partition, Offset::Beginning).expect("a partition");
    }
    let consumer: StreamConsumer = topics::reader(shop.reader(), "test-log").create().expect("a consumer");
    consumer.assign(&list).expect("an assignment");
    let following = Shutdown::new();
    let _ends_with_this = following.clone().drop_guard();
    let mut reader = RecordReader::new(LiveRegistry::follow(&Follower::start(shop.reader(), following)));
    let mut records = Vec::new();
    while !left.is_empty() {
        let message = tokio::time::timeout(RECORD_WAIT_MAX, consumer.recv()).await;
        let message = message.expect("a record in time").expect("a record");
        let place = (message.topic().to_owned(), message.partition());
        let Some(end) = left.get(&place) else { continue };
        if message.offset() + 1 >= *end {
            left.remove(&place);
        }
        let is_of = |group: &&str| topics::of_group(shop.reader(), group) == place.0;
        let group = GROUPS.iter().position(is_of).expect("a group of ours");
        let event = reader.read(&RawRecord::of(&message)).await.expect("a record that can be read");
        let place = (group, u32::try_from(message.partition()).expect("a partition"));
        records.push(Record { place, offset: message.offset(), said: said(event) });
    }
    records.sort_by_key(|record| (record.place, record.offset));
    records
}

fn said(event: Event) -> Said {
    match event {
        Event::Change(change) => Said::Change(change.position, change.xid, row_change(&change)),
        Event::Control(control) if control.kind == ControlKind::Epoch => Said::Epoch(control.position),
        Event::Control(_) | Event::Invalidation(_) | Event::Nothing => Said::Other,
    }
}

fn row_change(change: &Change) -> RowChange {
    let table = Table::named(&change.table).expect("a table of ours");
    let row = change.row().expect("a row");
    let number = |column: &str| row.text(column).and_then(|text| text.parse().ok()).expect("a number");
    let key = RowKey(table, number(table.1), number("part"));
    match change.op {
        Op::Insert => RowChange::Insert(key, number("n")),
        Op::Update => RowChange::Update(key, number("n")),
        Op::Delete => RowChange::Delete(key),
        other => panic!("nobody has done that: {other:?}"),
    }
}

async fn all_progress(shop: &Shop) -> Vec<Progress> {
    let tail = Tail::open(shop.reader(), "test-progress", topics::PROGRESS, Begin::Oldest).await;
    let (mut tail, mut all) = (tail.expect("the progress topic"), Vec::new());
    while let Some(message) = tail.next_before_end().await.expect("the progress topic") {
        all.push(Progress::from_json(message.payload().expect("a value")).expect("progress"));
    }
    all
}
