//! What else happens in a shop: texts, names, carts, products that come and go, and work that is thrown away.

use crate::demo::shop::customers::USERS;
use crate::demo::shop::load::{EXTRAS, extra_id};
use crate::demo::trace::Trace;
use sqlx::{PgConnection, PgPool};

/// About how many rows one of these changes, for the pace.
pub const ESTIMATE: i64 = 3;
/// Products inserted while the demo runs; then their ids come again.
const INSERTED_MAX: u64 = 1_000;

/// What happens in turn. Descriptions are the prober's: nothing here writes one.
#[derive(Debug, Clone, Copy)]
enum Sundry {
    TextUpdate,
    UserRename,
    ProductInsert,
    Deactivation,
    DeleteAndInsert,
    RolledBack,
    CartChange,
    ProductDelete,
    PreferenceChange,
}

const TURNS: [Sundry; 9] = [
    Sundry::TextUpdate,
    Sundry::UserRename,
    Sundry::ProductInsert,
    Sundry::Deactivation,
    Sundry::DeleteAndInsert,
    Sundry::RolledBack,
    Sundry::CartChange,
    Sundry::ProductDelete,
    Sundry::PreferenceChange,
];

/// Commits the `turn`th sundry transaction; returns the number of rows changed.
pub async fn commit(pool: &PgPool, trace: &Trace, turn: u64) -> sqlx::Result<u64> {
    let mut transaction = pool.begin().await?;
    let connection = &mut *transaction;
    let product_id = &trace.products[fastrand::usize(..trace.products.len())].product_id;
    let sundry = TURNS[(turn % TURNS.len() as u64) as usize];
    let changes = match sundry {
        Sundry::TextUpdate => update_text(connection, product_id, turn).await?,
        Sundry::UserRename => rename_user(connection, turn).await?,
        Sundry::ProductInsert => insert_product(connection, &format!("X-N{:04}", turn % INSERTED_MAX)).await?,
        Sundry::Deactivation => toggle_active(connection, product_id).await?,
        Sundry::DeleteAndInsert => {
            let extra = extra_id(fastrand::usize(..EXTRAS));
            delete_product(connection, &extra).await? + insert_product(connection, &extra).await?
        }
        Sundry::RolledBack => raise_price(connection, product_id).await?,
        Sundry::CartChange => change_cart(connection, product_id).await?,
        Sundry::ProductDelete => delete_product(connection, &extra_id(fastrand::usize(..EXTRAS))).await?,
        Sundry::PreferenceChange => change_preference(connection, turn).await?,
    };
    if matches!(sundry, Sundry::RolledBack) {
        transaction.rollback().await?;
        return Ok(0);
    }
    transaction.commit().await?;
    Ok(changes)
}

async fn update_text(connection: &mut PgConnection, product_id: &str, turn: u64) -> sqlx::Result<u64> {
    let updated = sqlx::query(
        "UPDATE products SET name = split_part(name, ' (', 1) || $2, category = nullif(category, 'BOX'), updated_at = now() WHERE product_id = $1",
    )
    .bind(product_id)
    .bind(format!(" (EDITION {turn})"))
    .execute(connection)
    .await?;
    Ok(updated.rows_affected())
}

async fn rename_user(connection: &mut PgConnection, turn: u64) -> sqlx::Result<u64> {
    let updated = sqlx::query("UPDATE users SET name = split_part(name, ', ', 1) || $2 WHERE user_id = $1")
        // In turn, so that each comes into the log.
        .bind((turn / TURNS.len() as u64) as i64 % USERS + 1)
        .bind(format!(", {turn}"))
        .execute(connection)
        .await?;
    Ok(updated.rows_affected())
}

/// Nothing, where the product is there already.
async fn insert_product(connection: &mut PgConnection, product_id: &str) -> sqlx::Result<u64> {
    let inserted =
        sqlx::query("INSERT INTO products (product_id, name) VALUES ($1, 'SURPRISE PARCEL') ON CONFLICT DO NOTHING")
            .bind(product_id)
            .execute(&mut *connection)
            .await?;
    if inserted.rows_affected() == 0 {
        return Ok(0);
    }
    sqlx::query("INSERT INTO prices (product_id, price_pence) VALUES ($1, $2)")
        .bind(product_id)
        .bind(fastrand::i32(100..1_000))
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO inventory (product_id, stock) VALUES ($1, 10)")
        .bind(product_id)
        .execute(connection)
        .await?;
    Ok(3)
}

async fn toggle_active(connection: &mut PgConnection, product_id: &str) -> sqlx::Result<u64> {
    let updated = sqlx::query("UPDATE products SET active = NOT active, updated_at = now() WHERE product_id = $1")
        .bind(product_id)
        .execute(connection)
        .await?;
    Ok(updated.rows_affected())
}

/// Row by row, not by the cascade, so that every row is counted.
async fn delete_product(connection: &mut PgConnection, product_id: &str) -> sqlx::Result<u64> {
    let mut deleted = 0;
    for statement in [
        "DELETE FROM prices WHERE product_id = $1",
        "DELETE FROM inventory WHERE product_id = $1",
        "DELETE FROM products WHERE product_id = $1",
    ] {
        deleted += sqlx::query(statement).bind(product_id).execute(&mut *connection).await?.rows_affected();
    }
    Ok(deleted)
}

async fn raise_price(connection: &mut PgConnection, product_id: &str) -> sqlx::Result<u64> {
    let updated = sqlx::query("UPDATE prices SET price_pence = price_pence + 1000 WHERE product_id = $1")
        .bind(product_id)
        .execute(connection)
        .await?;
    Ok(updated.rows_affected())
}

/// A customer puts a product into the cart, or one more of it.
async fn change_cart(connection: &mut PgConnection, product_id: &str) -> sqlx::Result<u64> {
    let changed = sqlx::query(
        "WITH cart AS (INSERT INTO carts (user_id) VALUES ($1) ON CONFLICT (user_id) DO UPDATE SET updated_at = now() RETURNING user_id)
         INSERT INTO cart_lines (user_id, product_id, quantity, price_pence)
         SELECT cart.user_id, prices.product_id, 1, prices.price_pence FROM cart, prices WHERE prices.product_id = $2
         ON CONFLICT (user_id, product_id) DO UPDATE SET quantity = cart_lines.quantity % 9 + 1",
    )
    .bind(fastrand::i64(1..=USERS))
    .bind(product_id)
    .execute(connection)
    .await?;
    // The count is that of the lines; the cart's own row is one more.
    Ok(1 + changed.rows_affected())
}

async fn change_preference(connection: &mut PgConnection, turn: u64) -> sqlx::Result<u64> {
    let changed = sqlx::query(
        "INSERT INTO preferences (user_id, name, value) VALUES ($1, 'newsletter', $2)
         ON CONFLICT (user_id, name) DO UPDATE SET value = EXCLUDED.value",
    )
    .bind(fastrand::i64(1..=USERS))
    .bind(if turn.is_multiple_of(2) { "daily" } else { "never" })
    .execute(connection)
    .await?;
    Ok(changed.rows_affected())
}
