//! The log that the readers drain: a table of ten columns, and what is done to it.

use std::fmt;

use anyhow::{Context as _, Result};
use sqlx::Executor as _;
use sqlx::postgres::PgPool;

use crate::bench::products;
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
const PRODUCTS_MIN: u32 = 100_000;

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

/// The database with the table.
pub(super) struct Database {
    pool: PgPool,
}

impl Database {
    pub async fn prepare(url: &str, workloads: &[Workload]) -> Result<Self> {
        database::migrate(url).await?;
        let pool = PgPool::connect(url).await?;
        let count = workloads.iter().map(|workload| workload.rows.max(PRODUCTS_MIN)).max().unwrap_or(0);
        products::create(&pool, count).await?;
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
        match workload.transactions {
            1 => {
                let update = "UPDATE bench_products SET price_pence = price_pence + 1 WHERE product_id <=";
                products::write(&self.pool, &format!("{update} {}", workload.rows)).await
            }
            count => products::update(&self.pool, count, PRODUCTS_MIN).await,
        }
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
