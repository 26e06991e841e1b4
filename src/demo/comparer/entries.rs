//! Every entry of a Redis tier against its row.

use crate::demo::caches::{Caches, RedisTier, scan};
use crate::demo::comparer::entry::{Entry, Secrecy, Verdict, judge, subject, watermark};
use crate::demo::comparer::findings::{Findings, Stale, TierFindings};
use crate::demo::comparer::truth::{Fields, Subject, Truth, row_now};
use crate::demo::output::Output;
use anyhow::Result;
use lockstep_schemas::policy::Policy;
use redis::aio::MultiplexedConnection;
use sqlx::PgPool;
use std::collections::{BTreeSet, HashMap};

const ENTRIES_PER_CALL: usize = 200;

/// The floor of each watermark hash that has one.
type Floors = HashMap<String, String>;

/// A key and the row that it is a copy of.
type Cached = (String, Subject);

/// Compares all entries of `tier`, node by node.
pub async fn compare(
    caches: &Caches,
    tier: RedisTier,
    pool: &PgPool,
    truth: &Truth,
    policy: &Policy,
    output: &Output,
    findings: &mut Findings,
) -> Result<()> {
    for mut node in caches.primaries(tier).await? {
        let mut keys = BTreeSet::new();
        scan(&mut node, "*", &mut keys).await?;
        let floors = read_floors(&mut node, &keys).await?;
        let copies: Vec<Cached> =
            keys.into_iter().filter_map(|key| subject(&key).map(|subject| (key, subject))).collect();
        let bar = output.bar(&format!("comparing {}", tier.name()), copies.len());
        for chunk in copies.chunks(ENTRIES_PER_CALL) {
            let mut look = Comparison { tier, node: &mut node, pool, policy, floors: &floors, findings };
            look.compare(chunk, truth).await?;
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
    }
    Ok(())
}

struct Comparison<'a> {
    tier: RedisTier,
    node: &'a mut MultiplexedConnection,
    pool: &'a PgPool,
    policy: &'a Policy,
    floors: &'a Floors,
    findings: &'a mut Findings,
}

impl Comparison<'_> {
    async fn compare(&mut self, copies: &[Cached], truth: &Truth) -> Result<()> {
        let keys: Vec<&str> = copies.iter().map(|(key, _)| key.as_str()).collect();
        let entries = read_entries(self.node, &keys).await?;
        for ((key, subject), entry) in copies.iter().zip(entries) {
            let mut verdict = self.judge(key, subject, &entry, truth.row(subject));
            let mut low = entry.low().map(str::to_owned);
            if matches!(verdict, Verdict::Stale(_)) {
                (verdict, low) = self.look_again(key, subject).await?;
            }
            self.count(key, verdict, low);
        }
        Ok(())
    }

    /// A difference counts only if it stays: the row is read anew, then the entry.
    async fn look_again(&mut self, key: &str, subject: &Subject) -> Result<(Verdict, Option<String>)> {
        let row = row_now(self.pool, subject).await?;
        let entry = read_entries(self.node, &[key]).await?.pop().unwrap_or_default();
        Ok((self.judge(key, subject, &entry, row.as_ref()), entry.low().map(str::to_owned)))
    }

    fn judge(&self, key: &str, subject: &Subject, entry: &Entry, row: Option<&Fields>) -> Verdict {
        let floor = watermark(key).and_then(|watermark| self.floors.get(&watermark));
        judge(entry, floor.map(String::as_str), row, Secrecy::of(self.policy, subject))
    }

    fn count(&mut self, key: &str, verdict: Verdict, low: Option<String>) {
        let counts: &mut TierFindings = match self.tier {
            RedisTier::L2 => &mut self.findings.l2,
            RedisTier::L1 => &mut self.findings.l1,
        };
        counts.dead += u64::from(verdict == Verdict::Dead);
        counts.compared += u64::from(!matches!(verdict, Verdict::Dead | Verdict::Gone));
        if let Verdict::Stale(what) = verdict {
            self.findings.add_stale(Stale { tier: self.tier.name(), key: key.to_owned(), what, low });
        }
    }
}

async fn read_floors(node: &mut MultiplexedConnection, keys: &BTreeSet<String>) -> Result<Floors> {
    let watermarks: Vec<&String> = keys.iter().filter(|key| key.ends_with(":_w")).collect();
    if watermarks.is_empty() {
        return Ok(Floors::new());
    }
    let mut pipe = redis::pipe();
    for key in &watermarks {
        pipe.cmd("HGET").arg(key).arg("floor");
    }
    let floors: Vec<Option<String>> = pipe.query_async(node).await?;
    Ok(watermarks.into_iter().cloned().zip(floors).filter_map(|(key, floor)| Some((key, floor?))).collect())
}

/// In the order of `keys`.
async fn read_entries(node: &mut MultiplexedConnection, keys: &[&str]) -> Result<Vec<Entry>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipe = redis::pipe();
    for key in keys {
        pipe.cmd("HGETALL").arg(key).cmd("PTTL").arg(key);
    }
    let mut answers: Vec<redis::Value> = pipe.query_async(node).await?;
    let mut entries = Vec::with_capacity(keys.len());
    for answer in answers.chunks_exact_mut(2) {
        let [fields, pttl_ms] = answer else { continue };
        let fields = redis::from_redis_value(std::mem::replace(fields, redis::Value::Nil))?;
        let pttl_ms = redis::from_redis_value(std::mem::replace(pttl_ms, redis::Value::Nil))?;
        entries.push(Entry { fields, pttl_ms });
    }
    Ok(entries)
}
