//! What the shop sells before its first customer comes: products, prices and stock.

use crate::demo::output::Output;
use crate::demo::shop::customers;
use crate::demo::trace::{Product, Trace};
use anyhow::Result;
use indicatif::ProgressBar;
use sqlx::PgPool;
use std::collections::HashMap;

/// Products that appear in no basket, so that they can be deleted and come back.
pub const EXTRAS: usize = 20;

const PRODUCTS_PER_TRANSACTION: usize = 500;
/// A last word of this many names is a category.
const CATEGORY_PRODUCTS_MIN: usize = 20;
/// A product begins with this many units, and up to twice as many.
const STOCK_MIN: i32 = 500;

/// The id of the `index`th extra product.
pub fn extra_id(index: usize) -> String {
    format!("X-{index:04}")
}

/// Fills the empty tables.
pub async fn catalogue(pool: &PgPool, trace: &Trace, output: &Output) -> Result<()> {
    let bar = output.bar("loading the catalogue", trace.products.len() + EXTRAS);
    products(pool, &trace.products, &bar).await?;
    let extras: Vec<Product> = (0..EXTRAS).map(extra).collect();
    products(pool, &extras, &bar).await?;
    customers::users(pool).await?;
    customers::carts(pool, trace).await?;
    bar.finish_and_clear();
    Ok(())
}

fn extra(index: usize) -> Product {
    Product { product_id: extra_id(index), name: format!("SURPRISE PARCEL {index}"), price_pence: 999 }
}

async fn products(pool: &PgPool, products: &[Product], bar: &ProgressBar) -> Result<()> {
    let categories = categories(products);
    for chunk in products.chunks(PRODUCTS_PER_TRANSACTION) {
        let ids: Vec<&str> = chunk.iter().map(|product| product.product_id.as_str()).collect();
        let names: Vec<&str> = chunk.iter().map(|product| product.name.as_str()).collect();
        let chunk_categories: Vec<Option<&str>> =
            chunk.iter().map(|product| categories.get(product.name.as_str()).copied()).collect();
        let prices: Vec<i32> = chunk.iter().map(|product| product.price_pence).collect();
        let stocks: Vec<i32> = chunk.iter().map(|_| fastrand::i32(STOCK_MIN..STOCK_MIN * 2)).collect();
        let mut transaction = pool.begin().await?;
        sqlx::query("INSERT INTO products (product_id, name, category) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])")
            .bind(&ids)
            .bind(names)
            .bind(chunk_categories)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO prices (product_id, price_pence) SELECT * FROM unnest($1::text[], $2::int4[])")
            .bind(&ids)
            .bind(prices)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO inventory (product_id, stock) SELECT * FROM unnest($1::text[], $2::int4[])")
            .bind(&ids)
            .bind(stocks)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        bar.inc(chunk.len() as u64);
    }
    Ok(())
}

/// The category of each name that has one: its last word, where enough names end with it.
fn categories(products: &[Product]) -> HashMap<&str, &str> {
    let last = |product: &Product| -> Option<usize> { product.name.rfind(' ').map(|space| space + 1) };
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for product in products {
        if let Some(at) = last(product) {
            *counts.entry(&product.name[at..]).or_default() += 1;
        }
    }
    let category =
        |product| last(product).map(|at| &product.name[at..]).filter(|word| counts[word] >= CATEGORY_PRODUCTS_MIN);
    products.iter().filter_map(|product| Some((product.name.as_str(), category(product)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_a_last_word_that_many_names_share() {
        let named = |name: String| Product { product_id: "1".to_owned(), name, price_pence: 1 };
        let mut products: Vec<Product> =
            (0..CATEGORY_PRODUCTS_MIN).map(|index| named(format!("NUMBER {index} MUG"))).collect();
        products.push(named("LONELY LAMP".to_owned()));
        products.push(named("BAG".to_owned()));
        let categories = categories(&products);
        assert_eq!(categories.get("NUMBER 3 MUG"), Some(&"MUG"));
        assert_eq!(categories.len(), CATEGORY_PRODUCTS_MIN);
    }
}
