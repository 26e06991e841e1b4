//! What the database says: the rows that entries and pages are made of, column by column, as text.

use anyhow::{Context, Result};
use sqlx::postgres::PgRow;
use sqlx::{Column, PgPool, Row};
use std::collections::{BTreeMap, HashMap};

/// Columns and their values as text. A null column is absent.
pub type Fields = BTreeMap<String, String>;

const PRODUCTS: &str = "
    SELECT p.product_id, p.name, p.description, p.category, p.active::text AS active,
           r.price_pence::text AS price_pence, r.currency::text AS currency, i.stock::text AS stock
    FROM products p LEFT JOIN prices r USING (product_id) LEFT JOIN inventory i USING (product_id)
    WHERE $1::text IS NULL OR p.product_id = $1";
const USERS: &str = r#"
    SELECT user_id::text AS user_id, name, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at
    FROM users WHERE $1::text IS NULL OR user_id::text = $1"#;
const PREFERENCES: &str = r#"
    SELECT user_id::text, 'preference:' || name, '{"value":' || to_json(value)::text || '}'
    FROM preferences WHERE $1::text IS NULL OR user_id::text = $1"#;
const CARTS: &str = r#"
    SELECT user_id::text AS user_id, to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at
    FROM carts WHERE $1::text IS NULL OR user_id::text = $1"#;
const LINES: &str = r#"
    SELECT user_id::text, 'line:' || line_id, format('{"line_id":"%s","product_id":%s,"quantity":"%s","price_pence":"%s"}',
           line_id, to_json(product_id), quantity, price_pence)
    FROM cart_lines WHERE $1::text IS NULL OR user_id::text = $1"#;

/// The row that an entry or a page is a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// By product_id.
    Product(String),
    /// By user_id.
    User(String),
    /// By user_id.
    Cart(String),
}

/// All rows at one moment.
pub struct Truth {
    products: HashMap<String, Fields>,
    users: HashMap<String, Fields>,
    carts: HashMap<String, Fields>,
}

impl Truth {
    /// Reads all products, users and carts.
    pub async fn read(pool: &PgPool) -> Result<Self> {
        Ok(Self {
            products: select(pool, PRODUCTS, None).await?,
            users: with_rows(pool, USERS, PREFERENCES, None).await?,
            carts: with_rows(pool, CARTS, LINES, None).await?,
        })
    }

    /// The row, where it exists.
    pub fn row(&self, subject: &Subject) -> Option<&Fields> {
        match subject {
            Subject::Product(id) => self.products.get(id),
            Subject::User(id) => self.users.get(id),
            Subject::Cart(id) => self.carts.get(id),
        }
    }

    /// Every product's id.
    pub fn product_ids(&self) -> impl Iterator<Item = &str> {
        self.products.keys().map(String::as_str)
    }
}

/// Reads one row as it is now.
pub async fn row_now(pool: &PgPool, subject: &Subject) -> Result<Option<Fields>> {
    let (mut rows, id) = match subject {
        Subject::Product(id) => (select(pool, PRODUCTS, Some(id)).await?, id),
        Subject::User(id) => (with_rows(pool, USERS, PREFERENCES, Some(id)).await?, id),
        Subject::Cart(id) => (with_rows(pool, CARTS, LINES, Some(id)).await?, id),
    };
    Ok(rows.remove(id))
}

/// Rows, each with a field for every row of another table: its key, the field's name, its text.
async fn with_rows(
    pool: &PgPool,
    sql: &'static str,
    rows: &'static str,
    id: Option<&str>,
) -> Result<HashMap<String, Fields>> {
    let mut all = select(pool, sql, id).await?;
    for row in sqlx::query(rows).bind(id).fetch_all(pool).await.context("read the database to compare with")? {
        if let Some(fields) = all.get_mut(row.try_get::<&str, _>(0)?) {
            fields.insert(row.try_get(1)?, row.try_get(2)?);
        }
    }
    Ok(all)
}

/// The first column is the key.
async fn select(pool: &PgPool, sql: &'static str, id: Option<&str>) -> Result<HashMap<String, Fields>> {
    let rows = sqlx::query(sql).bind(id).fetch_all(pool).await.context("read the database to compare with")?;
    let mut all = HashMap::with_capacity(rows.len());
    for row in &rows {
        all.insert(row.try_get(0)?, fields(row)?);
    }
    Ok(all)
}

fn fields(row: &PgRow) -> Result<Fields> {
    let mut fields = Fields::new();
    for (index, column) in row.columns().iter().enumerate() {
        if let Some(value) = row.try_get::<Option<String>, _>(index)? {
            fields.insert(column.name().to_owned(), value);
        }
    }
    Ok(fields)
}
