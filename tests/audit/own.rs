//! A cache that the shop has filled itself, and Lockstep has nothing to do with.

use redis::Commands as _;
use serde_json::Value;

use crate::shop::Shop;

const FILE: &str = r#"
settle_ms = 500
[[keys]]
pattern = "own:{id}"
type = "hash"
key = "public.products.product_id"
fields = { title = "public.products.name", price = "public.prices.price_pence" }
ttl_s = 3600
changed_at = "public.products.updated_at"
[[keys]]
pattern = "json:{id}:v1"
type = "json"
key = "public.products.product_id"
fields = { price = "public.prices.price_pence" }
"#;

/// Right, and wrong in each way; by a user who may only read some columns.
pub fn a_cache_of_their_own_is_judged(shop: &Shop) {
    let mut redis = shop.l2();
    shop.sql(
        "UPDATE products SET updated_at = now() - interval '10 minutes' WHERE product_id IN ('P101', 'P102', 'P103', 'P104'); \
         UPDATE prices SET price_pence = 500 WHERE product_id IN ('P101', 'P102', 'P103', 'P104'); \
         CREATE ROLE onlooker LOGIN; GRANT USAGE ON SCHEMA public TO onlooker; GRANT SELECT ON products TO onlooker; \
         GRANT SELECT (product_id, price_pence) ON prices TO onlooker",
    );
    let mut set = |id: &str, price: u32, left_s: Option<i64>| {
        let key = format!("own:{id}");
        let title = format!("bowl {}", id.trim_start_matches('P'));
        let () = redis.hset_multiple(&key, &[("title", title), ("price", price.to_string())]).expect("an entry");
        if let Some(left_s) = left_s {
            let () = redis.expire(&key, left_s).expect("an end");
        }
    };
    set("P101", 500, Some(60));
    set("P102", 499, Some(60));
    set("P103", 499, Some(3_590));
    set("P104", 499, None);
    set("GONE", 1, Some(60));
    let () = redis.set("json:P101:v1", r#"{"price": 500.0, "other": 1}"#).expect("an entry");
    let () = redis.set("json:P102:v1", r#"{"price": 7}"#).expect("an entry");
    let () = redis.set("json:P103:v1", r#"{"price": 7"#).expect("half an entry");
    let () = redis.set("own:P105", r#"{"price": 500}"#).expect("an entry of another type");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shadow.toml");
    std::fs::write(&file, format!("redis = \"{}\"\n{FILE}", shop.endpoints().l2)).expect("a file");
    let onlooker = shop.endpoints().database_url.replacen("postgres@", "onlooker@", 1);
    let lockstep = shop.lockstep.clone().set("LOCKSTEP_DATABASE_URL", &onlooker);
    let file = file.display().to_string();
    let ended = lockstep.run(&["audit", "--shadow", &file, "-o", "json"]);
    assert_eq!(ended.code, Some(1), "{ended}");
    let found: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let of = |at: usize| &found["patterns"][at]["results"];
    let expected = serde_json::json!({
        "right": 1, "no_row": 1, "not_invalidated": 1, "filled_stale": 1, "never_ends": 1, "unreadable": 1
    });
    assert_eq!(of(0), &expected, "{ended}");
    assert_eq!(of(1), &serde_json::json!({"right": 1, "never_ends": 1, "unreadable": 1}), "{ended}");
    let text = lockstep.run(&["audit", "--shadow", &file]).stdout;
    assert!(text.contains("own:{id}: 6 entries compared, 5 wrong (83.33 %)"), "{text}");
    assert!(text.contains("own:P102: stale, never invalidated (price); it lives for "), "{text}");
    for pattern in ["own:*", "json:*"] {
        let keys: Vec<String> = redis.keys(pattern).expect("keys");
        let () = redis.del(keys).expect("no entry");
    }
    shop.settle();
}
