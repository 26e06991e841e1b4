//! Every entry and every page against its row: plain SCAN, HGETALL, GET and SQL.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use reqwest::StatusCode;
use serde_json::Value as Json;
use sqlx::PgPool;

use crate::chain::{Chain, PRODUCTS, product};
use crate::l2;

/// Columns as texts; a null is not there.
pub type Fields = BTreeMap<String, String>;
/// Hashes by the name of their key, without a tag around it.
pub type Entries = BTreeMap<String, Fields>;

const ROWS: &str = "\
    SELECT 'product:' || view || ':' || p.product_id, json_build_object('product_id', p.product_id, 'name', p.name, \
        'description', p.description, 'category', p.category, 'active', p.active, 'price_pence', r.price_pence, \
        'currency', r.currency, 'stock', i.stock)::text \
    FROM products p LEFT JOIN prices r USING (product_id) LEFT JOIN inventory i USING (product_id), \
        unnest(ARRAY['all', 'hot']) AS view \
    UNION ALL SELECT 'user:' || user_id, (jsonb_build_object('user_id', user_id, 'name', name, 'created_at', \
        to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) || \
        coalesce((SELECT jsonb_object_agg('preference:' || p.name, '{\"value\":' || to_json(p.value)::text || '}') \
            FROM preferences p WHERE p.user_id = u.user_id), '{}'))::text FROM users u \
    UNION ALL SELECT 'cart:' || user_id, (jsonb_build_object('user_id', user_id, 'updated_at', \
        to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) || \
        coalesce((SELECT jsonb_object_agg('line:' || line_id, format('{\"line_id\":\"%s\",\"product_id\":%s,\"quantity\":\"%s\",\"price_pence\":\"%s\"}', \
            line_id, to_json(product_id), quantity, price_pence)) FROM cart_lines l WHERE l.user_id = c.user_id), '{}'))::text FROM carts c";

/// What lies in both tiers and lives.
pub struct Found {
    pub l2: Entries,
    pub l1: Entries,
}

/// A JSON object's members as texts.
pub fn fields_of(object: &Json) -> Fields {
    let text = |value: &Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let members = object.as_object().expect("an object").iter();
    members.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// The columns of an entry, without what is Lockstep's own.
pub fn columns_of(entry: &Fields) -> Fields {
    entry.iter().filter(|(name, _)| !name.starts_with('_')).map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// Compares everything; the database must be quiet, and the tiers settled.
pub async fn all(chain: &Chain) {
    let rows = rows(&chain.pool).await;
    let found = entries(chain).await;
    let mut wrong = Vec::new();
    for (tier, entries) in [("l2", &found.l2), ("l1", &found.l1)] {
        for (key, entry) in entries {
            let expected = rows.get(key);
            let is_right = match entry.contains_key("_neg") {
                true => expected.is_none(),
                false => expected == Some(&columns_of(entry)),
            };
            if !is_right {
                wrong.push(format!("{tier} {key}: {entry:?}, the database has {expected:?}"));
            }
        }
    }
    for n in 0..PRODUCTS {
        let (status, fields, cached) = chain.page(&product(n)).await;
        let expected = rows.get(&format!("product:all:{}", product(n)));
        let is_right = match expected {
            Some(row) => (status, &fields) == (StatusCode::OK, row),
            None => status == StatusCode::NOT_FOUND,
        };
        if !is_right {
            wrong.push(format!("edge {n} (cached: {cached}): {status} {fields:?}, the database has {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn rows(pool: &PgPool) -> Entries {
    let rows: Vec<(String, String)> = sqlx::query_as(ROWS).fetch_all(pool).await.expect("rows");
    let parsed = |row: String| fields_of(&serde_json::from_str(&row).expect("json"));
    rows.into_iter().map(|(key, row)| (key, parsed(row))).collect()
}

/// Everything in L2 and L1 that a reader would be given: no watermarks, no leases, nothing below its floor.
pub async fn entries(chain: &Chain) -> Found {
    let endpoints = chain.stack.endpoints();
    Found { l2: all_living(&l2::nodes(endpoints)).await, l1: all_living(&endpoints.l1[..3]).await }
}

async fn all_living(urls: &[String]) -> Entries {
    let mut entries = Entries::new();
    for url in urls {
        entries.extend(living(hashes(url).await));
    }
    entries
}

fn living(hashes: Entries) -> Entries {
    let floor = |tag: &str| hashes.get(&format!("{tag}:_w")).and_then(|mark| mark.get("floor"));
    let mut living = Entries::new();
    for (name, hash) in &hashes {
        if name.ends_with(":_w") {
            continue;
        }
        // On one node names are plain, and only the catalogue is there.
        let (tag, key) = name
            .split_once("}:")
            .map_or(("{catalogue.00}".to_owned(), name.as_str()), |(tag, key)| (format!("{tag}}}"), key));
        let low = hash.get("_low").unwrap_or_else(|| panic!("{name} has no low: {hash:?}"));
        if floor(&tag).is_none_or(|floor| low >= floor) {
            living.insert(key.to_owned(), hash.clone());
        }
    }
    living
}

/// Every hash of one node, by its whole name. Markers are texts.
async fn hashes(url: &str) -> Entries {
    let mut node = connect(url).await;
    let mut hashes = Entries::new();
    for name in names(&mut node).await.into_iter().filter(|name| !name.ends_with(":_lease")) {
        let hash: Fields = redis::cmd("HGETALL").arg(&name).query_async(&mut node).await.expect("a hash");
        if !hash.is_empty() {
            hashes.insert(name, hash);
        }
    }
    hashes
}

/// Every key of one node.
pub async fn names(node: &mut MultiplexedConnection) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), 0);
    loop {
        let scan: (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(1_000).query_async(node).await.expect("names");
        names.extend(scan.1);
        cursor = scan.0;
        if cursor == 0 {
            return names;
        }
    }
}

pub async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("a connection")
}
