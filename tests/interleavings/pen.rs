//! The statements of a transaction. Each takes its rows' locks first and draws the version under them, so that versions
//! of a row grow in the order of its commits.

use std::sync::Arc;

use fastrand::Rng;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::chain::{PRODUCTS, USERS};
use crate::compare;
use crate::contents;
use crate::history::Draft;
use crate::rows::{Row, Seen, Table};
use crate::witness::Witness;

/// A writer's hand: its connection, and what the open transaction has written.
pub struct Pen {
    pub rng: Rng,
    pub drafts: Vec<Draft>,
    connection: PgConnection,
    witness: Arc<Witness>,
}

pub type Written = Result<(), sqlx::Error>;

impl Pen {
    pub async fn open(url: &str, rng: Rng, witness: Arc<Witness>) -> Self {
        let connection = PgConnection::connect(url).await.expect("a connection");
        let mut pen = Pen { rng, drafts: Vec::new(), connection, witness };
        pen.run("SET deadlock_timeout = '100ms'").await.expect("a setting");
        pen
    }

    pub async fn run(&mut self, sql: &str) -> Written {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await.map(drop)
    }

    pub async fn scalar(&mut self, sql: &str) -> Result<String, sqlx::Error> {
        let row = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.connection).await?;
        row.try_get(0)
    }

    /// Changes rows that exist.
    pub async fn update(&mut self, table: Table, ids: &[usize]) -> Written {
        let (name, rows) = (table.name(), rows_of(table, ids));
        let lock = format!("SELECT {}::text FROM {name} WHERE {rows} FOR UPDATE", table.key());
        let locked = sqlx::raw_sql(AssertSqlSafe(lock)).fetch_all(&mut self.connection).await?;
        // Only these: a row that is inserted from now on has its version from somebody else, later than ours.
        let mut ids = Vec::with_capacity(locked.len());
        for row in locked {
            ids.push(number_in(&row.try_get::<String, _>(0)?));
        }
        let rows = rows_of(table, &ids);
        let version = self.witness.history.draw();
        let set = contents::assignments(&mut self.rng, table, version);
        self.draft(table, version, &format!("UPDATE {name} SET {set} WHERE {rows}")).await
    }

    /// Creates a row where there is none.
    pub async fn insert(&mut self, table: Table, n: usize) -> Written {
        if !self.is_free(table, n).await? {
            return Ok(());
        }
        let (version, id) = (self.witness.history.draw(), table.literal(n));
        let insert = match table {
            Table::Products => {
                let description = contents::description(&mut self.rng);
                format!("products (product_id, name, description) SELECT {id}, 'v{version}', {description}")
            }
            Table::Prices => format!(
                "prices (product_id, price_pence) SELECT product_id, {version} FROM products WHERE product_id = {id}"
            ),
            Table::Inventory => format!(
                "inventory (product_id, stock) SELECT product_id, {version} FROM products WHERE product_id = {id}"
            ),
            Table::Users => format!(
                "users (user_id, email, name, created_at) VALUES ({n}, '{n}@example.org', 'v{version}', '2026-02-01 12:00:00.123456Z')"
            ),
        };
        self.draft(table, version, &format!("INSERT INTO {insert}")).await
    }

    /// Creates several rows by COPY, of those that are not there.
    pub async fn copy(&mut self, table: Table, ids: &[usize]) -> Written {
        let mut free = Vec::new();
        for n in ids {
            if self.is_free(table, *n).await? && !free.contains(n) {
                free.push(*n);
            }
        }
        let (version, columns) = (
            self.witness.history.draw(),
            match table {
                Table::Products => "product_id, name",
                Table::Prices => "product_id, price_pence",
                Table::Inventory | Table::Users => "product_id, stock",
            },
        );
        let prefix = if table == Table::Products { "v" } else { "" };
        let lines: String = free.iter().map(|n| format!("P-{n}\t{prefix}{version}\n")).collect();
        let mut copy = self.connection.copy_in_raw(&format!("COPY {} ({columns}) FROM STDIN", table.name())).await?;
        copy.send(lines.into_bytes()).await?;
        copy.finish().await?;
        let find = format!(
            "SELECT {}::text, {}::text FROM {} WHERE {}",
            table.key(),
            table.json(),
            table.name(),
            rows_of(table, &free)
        );
        self.take(table, version, &find).await
    }

    /// Deletes a row, and what hangs on it.
    pub async fn delete(&mut self, table: Table, n: usize) -> Written {
        let all: &[Table] = if table == Table::Products { &Table::CATALOGUE } else { &[table] };
        for one in all {
            self.is_free(*one, n).await?;
        }
        if table == Table::Products {
            self.run(&format!("DELETE FROM cart_lines WHERE product_id = 'P-{n}'")).await?;
        }
        self.run(&format!("DELETE FROM {} WHERE {}", table.name(), rows_of(table, &[n]))).await?;
        let version = self.witness.history.draw();
        self.drafts.extend(all.iter().map(|one| (Row(*one, n), version, None)));
        Ok(())
    }

    /// A product gets the key of another that is not there, without its price and stock.
    pub async fn rename(&mut self, from: usize, to: usize) -> Written {
        self.is_free(Table::Products, from).await?;
        if !self.is_free(Table::Products, to).await? || from == to {
            return Ok(());
        }
        self.delete(Table::Prices, from).await?;
        self.delete(Table::Inventory, from).await?;
        self.run(&format!("DELETE FROM cart_lines WHERE product_id = 'P-{from}'")).await?;
        let version = self.witness.history.draw();
        let change =
            format!("UPDATE products SET product_id = 'P-{to}', name = 'v{version}' WHERE product_id = 'P-{from}'");
        self.drafts.push((Row(Table::Products, from), version, None));
        self.draft(Table::Products, version, &change).await
    }

    /// Empties whole tables.
    pub async fn truncate(&mut self, tables: &[Table], more: &str) -> Written {
        let names: Vec<&str> = tables.iter().map(|table| table.name()).collect();
        self.run(&format!("TRUNCATE {}{more}", names.join(", "))).await?;
        let version = self.witness.history.draw();
        for table in tables {
            let count = if *table == Table::Users { USERS + 1 } else { PRODUCTS };
            self.drafts.extend((0..count).map(|n| (Row(*table, n), version, None)));
        }
        Ok(())
    }

    /// Locks a row, there or not: whether it is not there.
    async fn is_free(&mut self, table: Table, n: usize) -> Result<bool, sqlx::Error> {
        self.run(&format!("SELECT pg_advisory_xact_lock({}, {n})", table as usize)).await?;
        let (name, row) = (table.name(), rows_of(table, &[n]));
        let there = format!("SELECT count(*)::text FROM (SELECT 1 FROM {name} WHERE {row} FOR UPDATE) AS found");
        Ok(self.scalar(&there).await? == "0")
    }

    async fn draft(&mut self, table: Table, version: u64, change: &str) -> Written {
        self.take(table, version, &format!("{change} RETURNING {}::text, {}::text", table.key(), table.json())).await
    }

    /// Notes the rows as the server shows them.
    async fn take(&mut self, table: Table, version: u64, sql: &str) -> Written {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.connection).await?;
        for row in rows {
            let (key, json): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let n = number_in(&key);
            let seen = table.seen_in(&compare::fields_of(&serde_json::from_str(&json).expect("JSON")));
            let Seen::State { version: bears, digest } = seen else { panic!("{table:?} {key} bears no version") };
            assert_eq!(bears, version, "{sql}");
            self.drafts.push((Row(table, n), version, Some(digest)));
        }
        Ok(())
    }
}

fn number_in(key: &str) -> usize {
    key.trim_start_matches("P-").parse().expect("a number")
}

fn rows_of(table: Table, ids: &[usize]) -> String {
    let literals: Vec<String> = ids.iter().map(|n| table.literal(*n)).collect();
    let none = if literals.is_empty() { "NULL" } else { "" };
    format!("{} IN ({}{none})", table.key(), literals.join(", "))
}
