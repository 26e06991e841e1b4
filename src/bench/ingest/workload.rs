//! The log that the readers drain: a table of ten columns, and what is done to it.

use std::fmt;

use anyhow::{Context as _, Result};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::database;
use crate::demo::output::thousands;

/// The table, in a group of its own.
pub(super) const POLICY: &str = r#"
[groups.catalogue]
entity_key = "product_id"
tables = ["public.bench_products"]

[views.bench]
group = "catalogue"
tiers = ["l2"]
key = "bench:{product_id}"
ttl = "1h"
[[views.bench.sources]]
table = "public.bench_products"
columns = ["product_id", "name", "price_pence", "stock"]
"#;
pub(super) const PUBLICATION: &str = "bench";

const TABLE: &str = "CREATE TABLE bench_products (product_id integer PRIMARY KEY, name text NOT NULL, brand text NOT NULL, \
    category text NOT NULL, colour text NOT NULL, price_pence integer NOT NULL, stock integer NOT NULL, \
    weight_grams integer NOT NULL, active boolean NOT NULL, updated_at timestamptz NOT NULL) WITH (fillfactor = 70)";

/// Transactions of so many rows each.
pub(super) struct Workload {
    pub name: &'static str,
    pub transactions: u32,
    pub rows: u32,
}

impl Workload {
    pub fn changes(&self) -> u64 {
        u64::from(self.transactions) * u64::from(self.rows)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transactions, rows) = (thousands(self.transactions.into()), thousands(self.rows.into()));
        match self.transactions {
            1 => write!(f, "one transaction of {rows} rows"),
            _ => write!(f, "{transactions} transactions of one row each"),
        }
    }
}

/// Nothing but the log may cost time while it is drained.
pub(super) fn settings() -> Vec<(String, String)> {
    let settings =
        [("autovacuum", "off"), ("max_wal_size", "8GB"), ("shared_buffers", "1GB"), ("checkpoint_timeout", "1h")];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The database with the table.
pub(super) struct Database {
    pool: PgPool,
}

impl Database {
    pub async fn prepare(url: &str, workloads: &[Workload]) -> Result<Self> {
        database::migrate(url).await?;
        let pool = PgPool::connect(url).await?;
        let count = workloads.iter().map(|workload| workload.rows.max(100_000)).max().unwrap_or(0);
        pool.execute(TABLE).await?;
        pool.execute(AssertSqlSafe(format!(
            "INSERT INTO bench_products SELECT n, 'Product number ' || n, 'Brand ' || n % 300, 'Category ' || n % 40, \
             'blue', n % 5000, n % 90, n % 2000, true, now() FROM generate_series(1, {count}) n"
        )))
        .await?;
        pool.execute("VACUUM ANALYZE bench_products").await?;
        pool.execute("CREATE PUBLICATION bench FOR TABLE bench_products").await?;
        Ok(Database { pool })
    }

    /// Makes the workload's slot, writes its log, and says where it ends.
    pub async fn write(&self, workload: &Workload) -> Result<String> {
        let slot = origin(workload);
        sqlx::query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')")
            .bind(&slot)
            .execute(&self.pool)
            .await?;
        let mut connection = self.pool.acquire().await?;
        let sql = match workload.transactions {
            1 => {
                format!("UPDATE bench_products SET price_pence = price_pence + 1 WHERE product_id <= {}", workload.rows)
            }
            count => format!(
                "DO $$ BEGIN FOR i IN 1..{count} LOOP \
                 UPDATE bench_products SET price_pence = price_pence + 1 WHERE product_id = 1 + i % 100000; \
                 COMMIT; END LOOP; END $$"
            ),
        };
        connection.execute("SET synchronous_commit = off").await?;
        connection.execute(AssertSqlSafe(sql)).await?;
        connection.execute("SET synchronous_commit = on").await?;
        // The end is a transaction of its own, so that every reader sees something that lies beyond it.
        let (end,): (String,) = sqlx::query_as("SELECT pg_logical_emit_message(true, 'bench', 'end')::text")
            .fetch_one(&mut *connection)
            .await?;
        Ok(end)
    }

    /// A copy of the workload's slot, which stands where that stood.
    pub async fn copy_slot(&self, workload: &Workload, name: &str) -> Result<String> {
        let slot = format!("bench_{}_{name}", workload.name);
        let copy = sqlx::query("SELECT pg_copy_logical_replication_slot($1, $2)").bind(origin(workload)).bind(&slot);
        copy.execute(&self.pool).await.context("copy the slot")?;
        Ok(slot)
    }

    pub async fn drop_slot(&self, slot: &str) -> Result<()> {
        sqlx::query("SELECT pg_drop_replication_slot($1)").bind(slot).execute(&self.pool).await?;
        Ok(())
    }
}

fn origin(workload: &Workload) -> String {
    format!("bench_{}", workload.name)
}
