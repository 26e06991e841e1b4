//! The week before the demo begins: sales that the forecast learns from, written like any others, through the log.

use crate::demo::output::{Output, thousands};
use crate::demo::shop::customers::USERS;
use crate::demo::trace::{Basket, Kind, Trace};
use anyhow::Result;
use sqlx::PgPool;

const LINES_PER_TRANSACTION: usize = 4_000;

/// Inserts the orders of the history; returns how many lines they have.
pub async fn insert(pool: &PgPool, trace: &Trace, output: &Output) -> Result<u64> {
    let sales: Vec<&Basket> = trace.history().iter().filter(|basket| basket.kind == Kind::Purchase).collect();
    let bar = output.bar("inserting a week of sales", sales.len());
    let mut lines = 0;
    let mut rest = sales.as_slice();
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(chunk_len(rest));
        lines += insert_chunk(pool, trace, chunk).await?;
        bar.inc(chunk.len() as u64);
        rest = later;
    }
    bar.finish_and_clear();
    output.line(format!(
        "a week of sales inserted: {} orders with {} lines",
        thousands(sales.len() as u64),
        thousands(lines)
    ));
    Ok(lines)
}

/// How many baskets make a transaction: at least one.
fn chunk_len(baskets: &[&Basket]) -> usize {
    let mut lines = 0;
    let fits = |basket: &&&Basket| {
        lines += basket.lines.len();
        lines <= LINES_PER_TRANSACTION
    };
    baskets.iter().take_while(fits).count().max(1)
}

async fn insert_chunk(pool: &PgPool, trace: &Trace, chunk: &[&Basket]) -> Result<u64> {
    let mut transaction = pool.begin().await?;
    let order_ids: Vec<i64> =
        sqlx::query_scalar("SELECT nextval(pg_get_serial_sequence('orders', 'order_id')) FROM generate_series(1, $1)")
            .bind(chunk.len() as i64)
            .fetch_all(&mut *transaction)
            .await?;
    let user_ids: Vec<i64> = order_ids.iter().map(|order_id| order_id % USERS + 1).collect();
    let placed_at: Vec<i64> = chunk.iter().map(|basket| basket.placed_at_s).collect();
    sqlx::query(
        "INSERT INTO orders (order_id, user_id, placed_at)
         SELECT order_id, user_id, to_timestamp(placed_at_s)
         FROM unnest($1::int8[], $2::int8[], $3::int8[]) AS o (order_id, user_id, placed_at_s)",
    )
    .bind(&order_ids)
    .bind(user_ids)
    .bind(placed_at)
    .execute(&mut *transaction)
    .await?;
    let lines = insert_lines(&mut transaction, trace, &order_ids, chunk).await?;
    transaction.commit().await?;
    Ok(lines)
}

/// Order lines column by column, as unnest takes them.
#[derive(Default)]
struct LineColumns<'a> {
    order_ids: Vec<i64>,
    line_nos: Vec<i32>,
    product_ids: Vec<&'a str>,
    quantities: Vec<i32>,
    prices_pence: Vec<i32>,
    placed_at_s: Vec<i64>,
}

/// Inserts the lines of `baskets`, whose orders are there already, under the same ids.
pub async fn insert_lines(
    connection: &mut sqlx::PgConnection,
    trace: &Trace,
    order_ids: &[i64],
    baskets: &[&Basket],
) -> sqlx::Result<u64> {
    let mut columns = LineColumns::default();
    for (order_id, basket) in order_ids.iter().zip(baskets) {
        for (line_no, line) in (1..).zip(&basket.lines) {
            columns.order_ids.push(*order_id);
            columns.line_nos.push(line_no);
            columns.product_ids.push(trace.product_id(line));
            columns.quantities.push(line.quantity);
            columns.prices_pence.push(line.price_pence);
            columns.placed_at_s.push(basket.placed_at_s);
        }
    }
    let inserted = sqlx::query(
        "INSERT INTO order_lines (order_id, line_no, product_id, quantity, price_pence, placed_at)
         SELECT order_id, line_no, product_id, quantity, price_pence, to_timestamp(placed_at_s)
         FROM unnest($1::int8[], $2::int4[], $3::text[], $4::int4[], $5::int4[], $6::int8[])
              AS l (order_id, line_no, product_id, quantity, price_pence, placed_at_s)",
    )
    .bind(columns.order_ids)
    .bind(columns.line_nos)
    .bind(columns.product_ids)
    .bind(columns.quantities)
    .bind(columns.prices_pence)
    .bind(columns.placed_at_s)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected())
}
