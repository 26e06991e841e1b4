//! One basket is one transaction: an order and its lines, less stock, and prices that moved since the last sale.

use crate::demo::shop::customers::USERS;
use crate::demo::shop::history::insert_lines;
use crate::demo::trace::{Basket, Kind, Trace};
use sqlx::{PgConnection, PgPool};
use std::collections::BTreeMap;

/// Stock that would go below zero is topped up by this, in the same statement.
const RESTOCK: i32 = 1_000;

/// A price that moved, per product.
type Prices<'a> = BTreeMap<&'a str, i32>;

/// Commits the basket; returns the number of rows changed.
pub async fn sell(pool: &PgPool, trace: &Trace, basket: &Basket) -> sqlx::Result<u64> {
    let mut transaction = pool.begin().await?;
    let mut changes = 0;
    if basket.kind == Kind::Purchase {
        changes += order(&mut transaction, trace, basket).await?;
    }
    changes += move_stock(&mut transaction, &stock_moves(trace, basket)).await?;
    if basket.kind == Kind::Purchase {
        changes += move_prices(&mut transaction, &prices(trace, basket)).await?;
    }
    transaction.commit().await?;
    Ok(changes)
}

/// About how many rows the basket changes, for the pace: an order, its lines, their stock, few prices.
pub fn estimate(basket: &Basket) -> i64 {
    let lines = i64::try_from(basket.lines.len()).unwrap_or(i64::MAX / 4);
    match basket.kind {
        Kind::Purchase => 1 + 2 * lines + lines / 5,
        Kind::Cancel => lines,
    }
}

async fn order(connection: &mut PgConnection, trace: &Trace, basket: &Basket) -> sqlx::Result<u64> {
    let order_id: i64 = sqlx::query_scalar(
        "INSERT INTO orders (user_id, placed_at) VALUES ($1, to_timestamp($2::int8)) RETURNING order_id",
    )
    .bind(fastrand::i64(1..=USERS))
    .bind(basket.placed_at_s)
    .fetch_one(&mut *connection)
    .await?;
    Ok(1 + insert_lines(connection, trace, &[order_id], &[basket]).await?)
}

/// Units to take from the stock of each product; a credit note brings some back.
fn stock_moves<'a>(trace: &'a Trace, basket: &Basket) -> BTreeMap<&'a str, i32> {
    let sign = if basket.kind == Kind::Purchase { 1 } else { -1 };
    let mut moves = BTreeMap::new();
    for line in &basket.lines {
        let units: &mut i32 = moves.entry(trace.product_id(line)).or_default();
        *units = units.saturating_add(sign * line.quantity);
    }
    moves
}

/// The last price of each product in the basket.
fn prices<'a>(trace: &'a Trace, basket: &Basket) -> Prices<'a> {
    basket.lines.iter().map(|line| (trace.product_id(line), line.price_pence)).collect()
}

/// Rows are locked in the order of their ids, so that two baskets never wait for each other.
async fn move_stock(connection: &mut PgConnection, moves: &BTreeMap<&str, i32>) -> sqlx::Result<u64> {
    let (ids, units): (Vec<&str>, Vec<i32>) = moves.iter().map(|(id, units)| (*id, *units)).unzip();
    let updated = sqlx::query(
        "WITH sold AS (
             SELECT product_id, units FROM inventory JOIN unnest($1::text[], $2::int4[]) AS s (product_id, units) USING (product_id)
             ORDER BY product_id FOR NO KEY UPDATE OF inventory)
         UPDATE inventory SET stock = CASE WHEN stock < units THEN stock % 100 + $3 ELSE stock - units END
         FROM sold WHERE inventory.product_id = sold.product_id",
    )
    .bind(ids)
    .bind(units)
    .bind(RESTOCK)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected())
}

/// Only prices that differ are written, in the order of their ids.
async fn move_prices(connection: &mut PgConnection, prices: &Prices<'_>) -> sqlx::Result<u64> {
    let (ids, pence): (Vec<&str>, Vec<i32>) = prices.iter().map(|(id, pence)| (*id, *pence)).unzip();
    let updated = sqlx::query(
        "WITH moved AS (
             SELECT product_id, pence FROM prices JOIN unnest($1::text[], $2::int4[]) AS m (product_id, pence) USING (product_id)
             WHERE price_pence <> pence ORDER BY product_id FOR NO KEY UPDATE OF prices)
         UPDATE prices SET price_pence = pence FROM moved WHERE prices.product_id = moved.product_id",
    )
    .bind(ids)
    .bind(pence)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected())
}
