//! What a record costs before it reaches a tier: decoded, planned and folded, by one thread.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use lockstep_coherence::Planner;
use lockstep_coherence::folded::folded;
use lockstep_process::Shutdown;
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
    let mut reader = RecordReader::new(LiveRegistry::follow(chain.kafka.clone(), following));
    let planner = Arc::new(Planner::new(&chain.policy));
    reader.read(records.last().context("no record")?).await.map_err(anyhow::Error::msg)?;
    let (mut decode, mut plan) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mut changes, began) = (Vec::with_capacity(records.len()), usage::thread_cpu_seconds()?);
        for record in &records {
            // Its schema is known by now: nothing waits here, and so the thread stays the same.
            if let Event::Change(change) = reader.read(record).await.map_err(anyhow::Error::msg)? {
                changes.push(*change);
            }
        }
        let (count, decoded) = (changes.len() as f64, usage::thread_cpu_seconds()?);
        let calls = folded(planner.clone(), TierName::L2, changes).count();
        ensure!(calls > 0, "nothing was planned");
        decode.push((decoded - began) * 1e6 / count);
        plan.push((usage::thread_cpu_seconds()? - decoded) * 1e6 / count);
    }
    let both = spread(decode.iter().zip(&plan).map(|(decode, plan)| decode + plan));
    let (decode, plan) = (spread(decode.into_iter()), spread(plan.into_iter()));
    let shown = |[median, least, greatest]: [f64; 3]| format!("{median:.2} ({least:.2}-{greatest:.2})");
    output.line("");
    output.line(format!("CPU us a record, of {}; median (least to greatest)", thousands(records.len() as u64)));
    output.line(format!("decoded             {}", shown(decode)));
    output.line(format!("planned and folded  {}, for two tiers", shown(plan)));
    output.line(format!("both                {}", shown(both)));
    Ok(json!({"records": records.len(), "decode_us": decode, "plan_us": plan, "decode_and_plan_us": both}))
}

async fn records(chain: &Chain) -> Result<Vec<RawRecord>> {
    let end = chain.ends().await?[0];
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topics::of_group(GROUP), 0, Offset::Beginning)?;
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
