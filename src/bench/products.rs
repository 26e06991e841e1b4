//! A table of ten columns, and a server that does nothing but what is measured.

use anyhow::Result;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor as _};

const TABLE: &str = "CREATE TABLE bench_products (product_id integer PRIMARY KEY, name text NOT NULL, brand text NOT NULL, \
    category text NOT NULL, colour text NOT NULL, price_pence integer NOT NULL, stock integer NOT NULL, \
    weight_grams integer NOT NULL, active boolean NOT NULL, updated_at timestamptz NOT NULL) WITH (fillfactor = 70)";

/// Nothing but the log may cost time while it is drained.
pub(super) fn settings() -> Vec<(String, String)> {
    let settings =
        [("autovacuum", "off"), ("max_wal_size", "8GB"), ("shared_buffers", "1GB"), ("checkpoint_timeout", "1h")];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Creates the table with so many products.
pub(super) async fn create(pool: &PgPool, count: u32) -> Result<()> {
    pool.execute(TABLE).await?;
    pool.execute(AssertSqlSafe(format!(
        "INSERT INTO bench_products SELECT n, 'Product number ' || n, 'Brand ' || n % 300, 'Category ' || n % 40, \
         'blue', n % 5000, n % 90, n % 2000, true, now() FROM generate_series(1, {count}) n"
    )))
    .await?;
    pool.execute("VACUUM ANALYZE bench_products").await?;
    Ok(())
}

/// Updates products one after the other, in so many transactions of one row; says where that ends in the log.
pub(super) async fn update(pool: &PgPool, transactions: u32, products: u32) -> Result<String> {
    write(
        pool,
        &format!(
            "DO $$ BEGIN FOR i IN 1..{transactions} LOOP \
         UPDATE bench_products SET price_pence = price_pence + 1 WHERE product_id = 1 + i % {products}; \
         COMMIT; END LOOP; END $$"
        ),
    )
    .await
}

/// Runs a statement without waiting for the disk; says where what it wrote ends in the log.
pub(super) async fn write(pool: &PgPool, sql: &str) -> Result<String> {
    let mut connection = pool.acquire().await?;
    connection.execute("SET synchronous_commit = off").await?;
    connection.execute(AssertSqlSafe(sql.to_owned())).await?;
    connection.execute("SET synchronous_commit = on").await?;
    // The end is a transaction of its own, so that every reader sees something that lies beyond it.
    let end = sqlx::query_scalar("SELECT pg_logical_emit_message(true, 'bench', 'end')::text");
    Ok(end.fetch_one(&mut *connection).await?)
}
