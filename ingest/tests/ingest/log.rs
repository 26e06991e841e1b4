//! The log, read as a consumer would: our own plans, with apache-avro as the reference beside them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::avro::unframe;
use lockstep_schemas::change::{Cell, Change, Row};
use lockstep_schemas::column::UNAVAILABLE;
use lockstep_schemas::control::Control;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::invalidation::Invalidation;
use lockstep_schemas::position::Position;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::{LiveRegistry, Registry};
use lockstep_schemas::table_name::full_name;
use lockstep_schemas::{registry, topics};
use rdkafka::Message;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value as Json;

const RECORD_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a record says.
#[derive(Clone, Debug)]
pub enum Said {
    /// A row's change, and the whole envelope as the reference reads it.
    Change(Box<Change>, Json),
    Control(Control),
    Invalidation(Box<Invalidation>),
    Tombstone,
}

/// A record of a group's topic.
#[derive(Clone, Debug)]
pub struct Seen {
    pub group: String,
    pub partition: u32,
    pub offset: i64,
    /// As the reference reads it.
    pub key: Option<Json>,
    /// Id of the value's schema.
    pub schema: Option<u32>,
    /// Of the value.
    pub bytes: usize,
    /// Debezium's headers of a key change, with the other key in them.
    pub headers: BTreeMap<String, Json>,
    pub said: Said,
    /// Of a tombstone: that of the record before it.
    pub xid: u32,
}

impl Seen {
    pub fn change(&self) -> &Change {
        match &self.said {
            Said::Change(change, _) => change,
            other => panic!("not a change: {other:?}"),
        }
    }

    /// The envelope, as the reference reads it.
    pub fn envelope(&self) -> &Json {
        match &self.said {
            Said::Change(_, envelope) => envelope,
            other => panic!("not a change: {other:?}"),
        }
    }

    /// A value of the new row, under the name that Avro allows.
    pub fn after_in_avro(&self, field: &str) -> &Json {
        let Said::Change(_, envelope) = &self.said else { panic!("not a change: {:?}", self.said) };
        &envelope["after"][field]
    }

    pub fn control(&self) -> Option<&Control> {
        if let Said::Control(control) = &self.said { Some(control) } else { None }
    }

    pub fn is_tombstone(&self) -> bool {
        matches!(self.said, Said::Tombstone)
    }

    pub fn position(&self) -> Option<Position> {
        match &self.said {
            Said::Change(change, _) => Some(change.position),
            Said::Control(control) => Some(control.position),
            Said::Invalidation(asked) => Some(asked.position),
            Said::Tombstone => None,
        }
    }
}

/// All records of all groups, each partition in order.
pub struct Log(pub Vec<Seen>);

impl Log {
    /// Reads every group's partitions from their beginning up to these offsets.
    pub async fn read(kafka: &KafkaConfig, next: &BTreeMap<String, Vec<i64>>) -> Log {
        Log::read_between(kafka, &BTreeMap::new(), next).await
    }

    /// Reads every group's partitions from these offsets, or from their beginning, up to those.
    pub async fn read_between(
        kafka: &KafkaConfig,
        from: &BTreeMap<String, Vec<i64>>,
        next: &BTreeMap<String, Vec<i64>>,
    ) -> Log {
        let mut list = TopicPartitionList::new();
        let mut left: HashMap<(String, i32), i64> = HashMap::new();
        for (group, next) in next {
            let from = |partition: usize| from.get(group).map_or(0, |from| from[partition]);
            for (partition, next) in next.iter().enumerate().filter(|(partition, next)| **next > from(*partition)) {
                let (topic, from, partition) = (topics::of_group(kafka, group), from(partition), partition as i32);
                list.add_partition_offset(&topic, partition, Offset::Offset(from)).expect("a partition");
                left.insert((topic, partition), *next);
            }
        }
        let consumer: StreamConsumer = topics::reader(kafka, "test-log").create().expect("a consumer");
        consumer.assign(&list).expect("an assignment");
        let following = Shutdown::new();
        let _ends_with_this = following.clone().drop_guard();
        let mut reader = Reading {
            reader: RecordReader::new(LiveRegistry::follow(&Follower::start(kafka, following))),
            registry: registry::read(kafka).await.expect("the schemas"),
            schemas: HashMap::new(),
            columns: HashMap::new(),
            newest: HashMap::new(),
        };
        let mut seen = Vec::new();
        while !left.is_empty() {
            let message = tokio::time::timeout(RECORD_WAIT_MAX, consumer.recv()).await;
            let message = message.expect("a record in time").expect("a record");
            let place = (message.topic().to_owned(), message.partition());
            let Some(next) = left.get(&place) else { continue };
            if message.offset() + 1 >= *next {
                left.remove(&place);
            }
            seen.push(reader.take_in(&message).await);
        }
        seen.sort_by_key(|seen| (seen.group.clone(), seen.partition, seen.offset));
        Log(seen)
    }

    /// The records of one transaction: rows in the order of their ordinals, each with its tombstone behind it.
    pub fn of(&self, xid: u32) -> Vec<Seen> {
        let mut newest = 0;
        let mut found: Vec<(u32, Seen)> = Vec::new();
        for seen in &self.0 {
            newest = seen.position().map_or(newest, |position| position.ordinal);
            if seen.xid == xid {
                found.push((newest, seen.clone()));
            }
        }
        found.sort_by_key(|(ordinal, seen)| (*ordinal, seen.partition, seen.offset));
        found.into_iter().map(|(_, seen)| seen).collect()
    }

    pub fn changes(&self) -> impl Iterator<Item = &Seen> {
        self.0.iter().filter(|seen| matches!(seen.said, Said::Change(..)))
    }
}

struct Reading {
    reader: RecordReader,
    registry: Registry,
    schemas: HashMap<u32, Arc<Schema>>,
    /// Of the schema of each envelope.
    columns: HashMap<u32, BTreeMap<String, Field>>,
    /// The newest transaction of each partition.
    newest: HashMap<(String, i32), u32>,
}

impl Reading {
    async fn take_in(&mut self, message: &BorrowedMessage<'_>) -> Seen {
        let value = message.payload();
        let raw = RawRecord::of(message);
        let said = match self.reader.read(&raw).await.expect("a record that can be read") {
            Event::Change(change) => {
                let value = value.expect("a value");
                let envelope = self.reference(value);
                check(&change, &envelope, self.columns(unframe(value).expect("a frame").0));
                Said::Change(change, envelope)
            }
            Event::Control(control) => Said::Control(control),
            Event::Invalidation(asked) => Said::Invalidation(asked),
            Event::Nothing => Said::Tombstone,
        };
        let place = (message.topic().to_owned(), message.partition());
        let newest = self.newest.entry(place).or_default();
        *newest = match &said {
            Said::Change(change, _) => change.xid,
            Said::Control(control) => control.xid,
            Said::Invalidation(asked) => asked.xid,
            Said::Tombstone => *newest,
        };
        let xid = *newest;
        let mut headers = BTreeMap::new();
        for header in message.headers().iter().flat_map(|headers| headers.iter()) {
            if let Some(other_key) = header.value.filter(|_| header.key.starts_with("__debezium")) {
                headers.insert(header.key.to_owned(), self.reference(other_key));
            }
        }
        let framed = value.filter(|_| matches!(said, Said::Change(..)));
        Seen {
            group: message.topic().trim_start_matches("lockstep.").to_owned(),
            partition: message.partition() as u32,
            offset: message.offset(),
            key: message.key().map(|key| self.reference(key)),
            schema: framed.map(|value| unframe(value).expect("a frame").0),
            bytes: value.map_or(0, <[u8]>::len),
            headers,
            said,
            xid,
        }
    }

    /// The columns of a row, by the database's names, as a schema has them.
    fn columns(&mut self, id: u32) -> &BTreeMap<String, Field> {
        self.columns.entry(id).or_insert_with(|| {
            let schema = self.registry.schema(id).expect("a registered schema");
            let schema: Json = serde_json::from_str(&schema).expect("json");
            let fields = schema["fields"][0]["type"][1]["fields"].as_array().expect("the columns").clone();
            fields.iter().map(Field::of).collect()
        })
    }

    /// A framed record as the reference reads it, to its end, by the schema that its frame names.
    fn reference(&mut self, record: &[u8]) -> Json {
        let (id, mut body) = unframe(record).expect("a frame");
        let schema = self.schemas.entry(id).or_insert_with(|| {
            let text = self.registry.schema(id).expect("a registered schema");
            Arc::new(Schema::parse_str(&text).expect("a schema"))
        });
        let reader = GenericDatumReader::builder(schema).build().expect("a reader");
        let value = reader.read_value(&mut body).expect("a value");
        assert!(body.is_empty(), "bytes behind the value");
        printable(value).try_into().expect("json")
    }
}

/// JSON has no NaN and no infinity.
fn printable(value: Value) -> Value {
    match value {
        Value::Record(fields) => {
            Value::Record(fields.into_iter().map(|(name, value)| (name, printable(value))).collect())
        }
        Value::Union(branch, value) => Value::Union(branch, Box::new(printable(*value))),
        Value::Float(float) if !float.is_finite() => Value::String(float.to_string()),
        Value::Double(double) if !double.is_finite() => Value::String(double.to_string()),
        value => value,
    }
}

/// A column, as the reference finds it.
struct Field {
    name: String,
    /// Whether the reference's value, printed, is the canonical text too; else the tests of types compare them.
    is_plain: bool,
}

impl Field {
    fn of(field: &Json) -> (String, Field) {
        let name = field["name"].as_str().expect("a name").to_owned();
        let column = field.get("lockstep.column").and_then(Json::as_str).unwrap_or(&name).to_owned();
        let kind = field["type"].as_array().map_or(&field["type"], |branches| &branches[1]);
        let kind = if kind.get("connect.type").is_some() { &kind["type"] } else { kind };
        (column, Field { name, is_plain: ["string", "int", "long", "boolean"].iter().any(|plain| kind == plain) })
    }
}

/// Our plans and the reference read the same change.
fn check(change: &Change, envelope: &Json, columns: &BTreeMap<String, Field>) {
    let source = &envelope["source"];
    assert_eq!(envelope["op"], change.op.letter());
    let named = |field: &str| source[field].as_str().unwrap_or_default().to_owned();
    assert_eq!(*change.table, *full_name(&named("schema"), &named("table")));
    assert_eq!(source["commit_lsn"], change.position.lsn.0);
    assert_eq!(source["epoch"], change.position.epoch);
    assert_eq!(source["txId"], change.xid);
    assert_eq!(envelope["transaction"]["total_order"], change.position.ordinal);
    for (name, row) in [("before", &change.before), ("after", &change.after)] {
        let unknown = &source[format!("unknown_{name}")];
        check_row(row.as_ref(), &envelope[name], unknown.as_array().map_or(&[], Vec::as_slice), columns);
    }
}

fn check_row(row: Option<&Row>, reference: &Json, unknown: &[Json], fields: &BTreeMap<String, Field>) {
    let Some(row) = row else {
        assert_eq!(*reference, Json::Null);
        return;
    };
    let columns = reference.as_object().expect("a row");
    assert_eq!(columns.len(), row.iter().count());
    for (name, cell) in row.iter() {
        let value = &columns[&fields[name].name];
        let is_unknown = unknown.iter().any(|column| column == name);
        let expected = match value {
            _ if is_unknown => Cell::Unknown,
            // JSON has no NaN.
            _ if !fields[name].is_plain && *cell != Cell::Unknown => cell.clone(),
            Json::Null => Cell::Null,
            Json::String(text) => Cell::Value(text.into()),
            other => Cell::Value(other.to_string().into()),
        };
        assert_eq!(*cell, expected, "column {name}");
        assert!(is_unknown || *value != UNAVAILABLE, "column {name}: a placeholder that is not said to be one");
    }
}
