//! What a record costs before it reaches a tier: decoded, planned and folded, by one thread.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use futures_util::FutureExt as _;
use lockstep_coherence::Planner;
use lockstep_coherence::folded::folded;
use lockstep_process::Shutdown;
use lockstep_schemas::avro::unframe;
use lockstep_schemas::change::Change;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::topics;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::catalogue::GROUP;
use super::chain::{Chain, WAIT_MAX};
use crate::bench::table::spread;
use crate::bench::usage;
use crate::demo::output::{Output, thousands};

/// So many are worked on in a round, all of them several times where there are fewer: the kernel's account of a thread that
/// runs is a coarse one.
const RECORDS_MAX: usize = 100_000;
/// The reference takes so much longer.
const REFERENCE_SHARE: usize = 8;

/// Reads one partition's records into memory, and works on them again and again.
pub(super) async fn run(chain: &Chain, rounds: u32, output: &Output) -> Result<Value> {
    let records = records(chain).await.context("read the log")?;
    let following = Shutdown::new();
    let _ends_with_this = following.clone().drop_guard();
    let mut registry = LiveRegistry::follow(&Follower::start(&chain.kafka, following));
    let mut reader = RecordReader::new(registry.clone());
    let planner = Arc::new(Planner::new(&chain.policy));
    reader.read(records.last().context("no record")?).await.map_err(anyhow::Error::msg)?;
    let reference = Reference::of(&mut registry, &records).await?;
    let passes = (RECORDS_MAX / records.len()).max(1);
    let (mut decode, mut both, mut avro) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        decode.push(cost(passes, || decode_all(&mut reader, &records))?);
        both.push(cost(passes, || plan_all(&mut reader, &planner, &records))?);
        avro.push(cost((passes / REFERENCE_SHARE).max(1), || reference.decode_all(&records))?);
    }
    let plan = spread(both.iter().zip(&decode).map(|(both, decode)| both - decode));
    let share = spread(both.iter().zip(&avro).map(|(both, avro)| both / avro));
    let [decode, both, avro] = [decode, both, avro].map(|figures| spread(figures.into_iter()));
    let shown = |[median, least, greatest]: [f64; 3]| format!("{median:.2} ({least:.2}-{greatest:.2})");
    output.line("");
    output.line(format!("CPU us a record, of {}; median (least to greatest)", thousands(records.len() as u64)));
    output.line(format!("decoded             {}", shown(decode)));
    output.line(format!("planned and folded  {}, for two tiers", shown(plan)));
    output.line(format!("both                {}", shown(both)));
    output.line(format!("apache-avro alone   {}, both are {} of it", shown(avro), shown(share)));
    Ok(json!({"records": records.len(), "decode_us": decode, "plan_us": plan, "decode_and_plan_us": both,
              "apache_avro_us": avro, "of_apache_avro": share}))
}

/// CPU microseconds a record, of some passes over records; each says how many changes there were.
fn cost(passes: usize, mut pass: impl FnMut() -> Result<usize>) -> Result<f64> {
    let (mut count, began) = (0, usage::thread_cpu_seconds()?);
    for _ in 0..passes {
        count += pass()?;
    }
    ensure!(count > 0, "no change");
    Ok((usage::thread_cpu_seconds()? - began) * 1e6 / count as f64)
}

fn decode_all(reader: &mut RecordReader, records: &[RawRecord]) -> Result<usize> {
    let mut count = 0;
    for record in records {
        count += usize::from(change(reader, record)?.is_some());
    }
    Ok(count)
}

/// As a lane does it: each is planned when it has been read, and then it is gone.
fn plan_all(reader: &mut RecordReader, planner: &Arc<Planner>, records: &[RawRecord]) -> Result<usize> {
    let (mut failed, mut count) = (None, 0);
    let changes = records.iter().map_while(|record| match change(reader, record) {
        Ok(change) => Some(change),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let calls = folded(planner.clone(), TierName::L2, changes.flatten().inspect(|_| count += 1)).count();
    failed.map_or(Ok(()), Err)?;
    ensure!(calls > 0, "nothing was planned");
    Ok(count)
}

/// The records of the newest schema as values of the reference implementation.
struct Reference {
    schema: Schema,
    /// The schema's id.
    id: u32,
}

impl Reference {
    async fn of(registry: &mut LiveRegistry, records: &[RawRecord]) -> Result<Self> {
        let (id, _) = records.last().and_then(body).context("a record with a schema")?;
        let text = registry.schema(id, WAIT_MAX).await.context("the schema")?;
        Ok(Reference { schema: Schema::parse_str(&text)?, id })
    }

    fn decode_all(&self, records: &[RawRecord]) -> Result<usize> {
        let (reader, mut count) = (GenericDatumReader::builder(&self.schema).build()?, 0);
        for (_, mut body) in records.iter().filter_map(body).filter(|(id, _)| *id == self.id) {
            reader.read_value(&mut body)?;
            count += 1;
        }
        Ok(count)
    }
}

fn body(record: &RawRecord) -> Option<(u32, &[u8])> {
    unframe(record.value()?).ok()
}

/// Decodes a record. Its schema is known by now: nothing waits here.
fn change(reader: &mut RecordReader, record: &RawRecord) -> Result<Option<Change>> {
    let read = reader.read(record).now_or_never().context("a schema that is not there")?;
    Ok(match read.map_err(anyhow::Error::msg)? {
        Event::Change(change) => Some(*change),
        _ => None,
    })
}

async fn records(chain: &Chain) -> Result<Vec<RawRecord>> {
    let end = chain.ends().await?[0];
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topics::of_group(&chain.kafka, GROUP), 0, Offset::Beginning)?;
    let consumer: StreamConsumer = topics::reader(&chain.kafka, "bench-log").create()?;
    consumer.assign(&list)?;
    let mut records = Vec::new();
    while records.len() < RECORDS_MAX {
        let record = RawRecord::of(&tokio::time::timeout(WAIT_MAX, consumer.recv()).await??);
        let is_last = record.offset + 1 >= end;
        records.push(record);
        if is_last {
            break;
        }
    }
    Ok(records)
}
