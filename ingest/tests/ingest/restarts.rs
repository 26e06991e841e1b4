//! Ingest stops and starts again while the shop goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lockstep_schemas::control::ControlKind;
use lockstep_schemas::position::{Lsn, Position};
use sqlx::PgPool;

use crate::log::Seen;
use crate::progress::check_all_progress;
use crate::shop::{PARTITIONS, Shop};

/// Rows that are inserted, four in each transaction, beside one that is counted up.
const INSERTS: usize = 4_000;
const TRANSACTIONS: usize = INSERTS / 4;
/// Ingest is stopped when so many transactions have been committed.
const STOPS: [usize; 3] = [150, 400, 700];

pub async fn restarts_lose_nothing(shop: &Shop) {
    let mut ingest = shop.start().await;
    shop.execute(
        "INSERT INTO users (user_id, email, name) SELECT n, n || '@example.org', 'u' FROM generate_series(1, 50) AS n; \
         INSERT INTO products (product_id, name) VALUES ('C-1', 'bowl'); INSERT INTO inventory VALUES ('C-1', 0)",
    )
    .await;
    let committed = Arc::new(AtomicUsize::new(0));
    let writer = tokio::spawn(write(shop.pool.clone(), committed.clone()));
    let mut stops = Vec::new();
    for stop in STOPS {
        shop.until("the shop to go on", async || (committed.load(Ordering::SeqCst) >= stop).then_some(())).await;
        ingest.stop().await;
        stops.push(Stop::of(shop).await);
        ingest = shop.start().await;
    }
    writer.await.expect("no panic");
    let log = shop.log_now().await;
    ingest.stop().await;
    what_was_out_meanwhile_is_dropped(shop).await;

    // Every row once, under one position; every count once, in order.
    let mut positions: BTreeMap<String, BTreeSet<Position>> = BTreeMap::new();
    let mut counts: BTreeMap<Position, String> = BTreeMap::new();
    for seen in log.changes() {
        let (change, row) = (seen.change(), seen.change().after.as_ref().expect("a row"));
        match &*change.table {
            "public.preferences" => {
                let key = format!("{}:{}", row.text("user_id").expect("a user"), row.text("name").expect("a name"));
                positions.entry(key).or_default().insert(change.position);
            }
            "public.inventory" => drop(counts.insert(change.position, row.text("stock").expect("a stock").to_owned())),
            _ => {}
        }
    }
    let rows = sqlx::query_scalar::<_, String>("SELECT user_id || ':' || name FROM preferences");
    let rows: BTreeSet<String> = rows.fetch_all(&shop.pool).await.expect("rows").into_iter().collect();
    assert_eq!(rows.len(), INSERTS);
    assert!(positions.keys().eq(&rows), "the log has {} of {INSERTS} rows", positions.len());
    assert!(positions.values().all(|positions| positions.len() == 1), "a row under two positions");
    assert!(counts.into_values().eq((0..=TRANSACTIONS).map(|n| n.to_string())), "a count is missing, or out of order");

    for stop in &stops {
        stop.check(&log.0);
    }
    check_all_progress(shop, &log).await;
}

/// A table is out of the publication while nobody looks: what changed then is in no log.
async fn what_was_out_meanwhile_is_dropped(shop: &Shop) {
    let list = "SELECT string_agg(quote_ident(name), ', ') FROM pg_publication_tables, unnest(attnames) AS name \
                WHERE pubname = 'lockstep' AND tablename = 'preferences'";
    let columns: String = shop.scalar(list).await;
    shop.execute(&format!(
        "ALTER PUBLICATION lockstep DROP TABLE preferences; UPDATE preferences SET value = 'y' WHERE user_id = 1; \
         ALTER PUBLICATION lockstep ADD TABLE preferences ({columns})"
    ))
    .await;
    let ingest = shop.start().await;
    shop.until("its group's entries to be dropped", async || {
        let log = shop.log_now().await;
        let lost = log.0.iter().filter_map(Seen::control).filter(|control| control.kind == ControlKind::Lost);
        let tables: Vec<_> = lost.map(|control| control.table.clone()).collect();
        assert!(tables.iter().all(|table| table.as_deref() == Some("public.preferences")), "{tables:?}");
        (tables.len() == PARTITIONS as usize).then_some(())
    })
    .await;
    ingest.stop().await;
}

async fn write(pool: PgPool, committed: Arc<AtomicUsize>) {
    for n in 0..TRANSACTIONS {
        let mut transaction = pool.begin().await.expect("a transaction");
        let insert =
            "INSERT INTO preferences SELECT 1 + (n * 7) % 50, 'p' || n, 'x' FROM generate_series($1, $1 + 3) AS n";
        let first = i32::try_from(n * 4).expect("a number");
        sqlx::query(insert).bind(first).execute(&mut *transaction).await.expect("an insert");
        let update = sqlx::query("UPDATE inventory SET stock = stock + 1 WHERE product_id = 'C-1'");
        update.execute(&mut *transaction).await.expect("an update");
        transaction.commit().await.expect("a commit");
        committed.fetch_add(1, Ordering::SeqCst);
    }
}

/// What was safe when ingest had stopped.
struct Stop {
    acknowledged: Lsn,
    ends: BTreeMap<String, Vec<i64>>,
}

impl Stop {
    async fn of(shop: &Shop) -> Self {
        let ends = shop.groups().map(|group| (group.to_owned(), shop.ends(group))).collect();
        Stop { acknowledged: shop.acknowledged().await, ends }
    }

    /// Nothing is published again that had been acknowledged, and nothing had been that was not there.
    fn check(&self, records: &[Seen]) {
        for seen in records {
            let Some(position) = seen.position() else { continue };
            let is_later = seen.offset >= self.ends[&seen.group][seen.partition as usize];
            let is_acknowledged = position.lsn < self.acknowledged;
            assert!(!(is_later && is_acknowledged), "{position} came after {} was acknowledged", self.acknowledged);
        }
    }
}
