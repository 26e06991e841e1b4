//! Who buys: users with invented names, some of them with a cart.

use crate::demo::trace::Trace;
use anyhow::Result;
use sqlx::PgPool;

/// Customers of the shop; their ids are 1 to this.
pub const USERS: i64 = 400;
/// The first customer's e-mail address, who wrote it where a name belongs. It must not come into any output.
pub const ADDRESS: &str = "planted.address@shop.example";
const CARTS: i64 = 120;
const CART_LINES: usize = 3;

const FIRST_NAMES: [&str; 20] = [
    "Ada", "Bram", "Cleo", "Dorus", "Edda", "Finn", "Greta", "Hugo", "Ilse", "Joris", "Kaya", "Levi", "Mira", "Noor",
    "Otto", "Pia", "Quirin", "Rosa", "Sven", "Tilde",
];
const LAST_NAMES: [&str; 20] = [
    "Amberly",
    "Brookfen",
    "Copperwell",
    "Dunmoor",
    "Elmsgate",
    "Fairlock",
    "Greyhollow",
    "Harrowby",
    "Ivesham",
    "Juniper",
    "Kestrel",
    "Larkspur",
    "Mossbank",
    "Netherby",
    "Oakhurst",
    "Pennywise",
    "Quillfeather",
    "Ravensworth",
    "Silverton",
    "Thistledown",
];

/// Inserts all users, and what some of them prefer.
pub async fn users(pool: &PgPool) -> Result<()> {
    let (names, emails): (Vec<String>, Vec<String>) = (0..USERS as usize)
        .map(|index| {
            let (first, last) =
                (FIRST_NAMES[index % FIRST_NAMES.len()], LAST_NAMES[index / FIRST_NAMES.len() % LAST_NAMES.len()]);
            if index == 0 {
                return (ADDRESS.to_owned(), ADDRESS.to_owned());
            }
            (
                format!("{first} {last}"),
                format!("{}.{}.{index}@shop.example", first.to_lowercase(), last.to_lowercase()),
            )
        })
        .unzip();
    sqlx::query("INSERT INTO users (name, email) SELECT * FROM unnest($1::text[], $2::text[])")
        .bind(names)
        .bind(emails)
        .execute(pool)
        .await?;
    sqlx::query("INSERT INTO preferences (user_id, name, value) SELECT user_id, 'newsletter', 'weekly' FROM users WHERE user_id % 3 = 0")
        .execute(pool)
        .await?;
    Ok(())
}

/// Fills a few carts with the products of the first baskets.
pub async fn carts(pool: &PgPool, trace: &Trace) -> Result<()> {
    let owners: Vec<i64> = (1..=CARTS).collect();
    sqlx::query("INSERT INTO carts (user_id) SELECT * FROM unnest($1::int8[])").bind(&owners).execute(pool).await?;
    for (turn, owner) in owners.into_iter().enumerate() {
        let ids: Vec<&str> =
            trace.basket(turn).lines.iter().take(CART_LINES).map(|line| trace.product_id(line)).collect();
        sqlx::query(
            "INSERT INTO cart_lines (user_id, product_id, quantity, price_pence)
             SELECT $1, product_id, 1, price_pence FROM prices WHERE product_id = ANY($2)",
        )
        .bind(owner)
        .bind(ids)
        .execute(pool)
        .await?;
    }
    Ok(())
}
