//! Transactions at random: what they change, how they end, and how their commits wait.

use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::position::Lsn;

use crate::chain::{PRODUCTS, USERS};
use crate::pen::{Pen, Written};
use crate::rows::Table;
use crate::witness::Witness;

const PAUSE_MS_MAX: u64 = 25;

/// What the server says to a transaction that met another one: it deadlocked, or came too late.
const MET: [&str; 4] = ["40P01", "40001", "23503", "23505"];

/// Writes until it is told to stop.
pub async fn write(mut pen: Pen, witness: &Witness, stop: Shutdown) {
    while !stop.is_cancelled() {
        pen.drafts.clear();
        let ended = transaction(&mut pen, witness).await;
        match ended {
            Ok(how) => witness.count(how),
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| MET.contains(&&*code)) => {
                pen.run("ROLLBACK").await.expect("a rollback");
                witness.count("met another");
            }
            Err(error) => panic!("a writer: {error}"),
        }
        let pause = pen.rng.u64(..PAUSE_MS_MAX);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

async fn transaction(pen: &mut Pen, witness: &Witness) -> Result<&'static str, sqlx::Error> {
    let wait = ["on", "on", "local", "local", "off"][pen.rng.usize(..5)];
    pen.run("BEGIN").await?;
    pen.run(&format!("SET LOCAL synchronous_commit = {wait}")).await?;
    for _ in 0..pen.rng.usize(1..=4) {
        statement(pen, witness).await?;
        if pen.rng.u8(..8) == 0 {
            savepoint(pen, witness).await?;
        }
    }
    if pen.rng.u8(..10) == 0 {
        pen.run("ROLLBACK").await?;
        return Ok("rolled back");
    }
    witness.history.record(&pen.drafts);
    pen.run("COMMIT").await?;
    let end: Lsn = pen.scalar("SELECT pg_current_wal_insert_lsn()::text").await?.parse().expect("an LSN");
    witness.history.committed(end.0, &pen.drafts);
    Ok("committed")
}

/// Part of a transaction that may be taken back alone.
async fn savepoint(pen: &mut Pen, witness: &Witness) -> Written {
    let drafts = pen.drafts.len();
    pen.run("SAVEPOINT part").await?;
    for _ in 0..pen.rng.usize(1..=2) {
        statement(pen, witness).await?;
    }
    if pen.rng.bool() {
        pen.run("ROLLBACK TO SAVEPOINT part").await?;
        pen.drafts.truncate(drafts);
        witness.count("rolled back in part");
    }
    pen.run("RELEASE SAVEPOINT part").await
}

async fn statement(pen: &mut Pen, witness: &Witness) -> Written {
    let (n, table) = (pen.rng.usize(..PRODUCTS), Table::CATALOGUE[pen.rng.usize(..3)]);
    let others: Vec<usize> = (0..pen.rng.usize(1..=3)).map(|_| pen.rng.usize(..PRODUCTS)).collect();
    match pen.rng.u16(..1_000) {
        0 => truncate(pen, witness).await,
        1..40 => pen.delete(table, n).await,
        40..60 => pen.copy(table, &others).await,
        60..80 => {
            pen.rename(n, others[0]).await?;
            if pen.rng.bool() { pen.rename(others[0], n).await } else { Ok(()) }
        }
        80..300 => pen.insert(table, n).await,
        300..800 => pen.update(table, &others).await,
        _ => customer(pen).await,
    }
}

async fn customer(pen: &mut Pen) -> Written {
    let (n, product) = (pen.rng.usize(1..=USERS), pen.rng.usize(..PRODUCTS));
    let user = format!("FROM users WHERE user_id = {n}");
    match pen.rng.u8(..20) {
        0 => pen.delete(Table::Users, n).await,
        1..8 => pen.insert(Table::Users, n).await,
        8..14 => pen.update(Table::Users, &[n]).await,
        14 | 15 => {
            pen.run(&format!(
                "INSERT INTO preferences SELECT user_id, 'size', 'p{product}' {user} \
                 ON CONFLICT (user_id, name) DO UPDATE SET value = excluded.value"
            ))
            .await
        }
        16 => pen.run(&format!("DELETE FROM carts WHERE user_id = {n}")).await,
        _ => {
            pen.run(&format!("INSERT INTO carts SELECT user_id {user} ON CONFLICT DO NOTHING")).await?;
            pen.run(&format!(
                "INSERT INTO cart_lines (user_id, product_id, quantity, price_pence) \
                 SELECT c.user_id, p.product_id, 1, 5 FROM carts c, products p \
                 WHERE c.user_id = {n} AND p.product_id = 'P-{product}' \
                 ON CONFLICT (user_id, product_id) DO UPDATE SET quantity = cart_lines.quantity + 1"
            ))
            .await
        }
    }
}

async fn truncate(pen: &mut Pen, witness: &Witness) -> Written {
    witness.count("truncated");
    match pen.rng.u8(..6) {
        0 | 1 => pen.truncate(&[Table::Prices], "").await,
        2 | 3 => pen.truncate(&[Table::Inventory], "").await,
        4 => pen.truncate(&Table::CATALOGUE, ", cart_lines, order_lines").await,
        _ => pen.truncate(&[Table::Users], ", preferences, carts, cart_lines, orders, order_lines").await,
    }
}
