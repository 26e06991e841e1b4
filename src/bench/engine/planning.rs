//! What a record costs before it reaches a tier: decoded, planned and folded, by one thread.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt as _;
use lockstep_coherence::Planner;
use lockstep_coherence::folded::folded;
use lockstep_process::Shutdown;
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

const RECORDS_MAX: usize = 100_000;

/// Reads one partition's records into memory, and works on them again and again.
pub(super) async fn run(chain: &Chain, rounds: u32, output: &Output) -> Result<Value> {
    let records = records(chain).await.context("read the log")?;
    let following = Shutdown::new();
    let _ends_with_this = following.clone().drop_guard();
    let mut reader = RecordReader::new(LiveRegistry::follow(&Follower::start(&chain.kafka, following)));
    let planner = Arc::new(Planner::new(&chain.policy));
    reader.read(records.last().context("no record")?).await.map_err(anyhow::Error::msg)?;
    let (mut decode, mut both) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mut count, began) = (0.0, usage::thread_cpu_seconds()?);
        for record in &records {
            count += f64::from(u8::from(change(&mut reader, record)?.is_some()));
        }
        let decoded = usage::thread_cpu_seconds()?;
        // As a lane does it: each is planned when it has been read, and then it is gone.
        let mut failed = None;
        let changes = records.iter().map_while(|record| match change(&mut reader, record) {
            Ok(change) => Some(change),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let calls = folded(planner.clone(), TierName::L2, changes.flatten()).count();
        failed.map_or(Ok(()), Err)?;
        ensure!(calls > 0, "nothing was planned");
        decode.push((decoded - began) * 1e6 / count);
        both.push((usage::thread_cpu_seconds()? - decoded) * 1e6 / count);
    }
    let plan = spread(both.iter().zip(&decode).map(|(both, decode)| both - decode));
    let (decode, both) = (spread(decode.into_iter()), spread(both.into_iter()));
    let shown = |[median, least, greatest]: [f64; 3]| format!("{median:.2} ({least:.2}-{greatest:.2})");
    output.line("");
    output.line(format!("CPU us a record, of {}; median (least to greatest)", thousands(records.len() as u64)));
    output.line(format!("decoded             {}", shown(decode)));
    output.line(format!("planned and folded  {}, for two tiers", shown(plan)));
    output.line(format!("both                {}", shown(both)));
    Ok(json!({"records": records.len(), "decode_us": decode, "plan_us": plan, "decode_and_plan_us": both}))
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
