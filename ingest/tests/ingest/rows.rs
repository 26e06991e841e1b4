//! One row's changes.

use lockstep_schemas::change::{Cell, Op, Row};
use lockstep_schemas::partition::partition_of;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use serde_json::{Value as Json, json};

use crate::log::Seen;
use crate::shop::{PARTITIONS, Shop};

/// A row's change: what happened, to which table, under which key, in its entity's partition.
fn check(seen: &Seen, op: Op, table: &str, key: serde_json::Value, entity: &str) {
    let change = seen.change();
    assert_eq!((change.op, &*change.table), (op, table));
    assert_eq!(seen.key, Some(key));
    assert_eq!(seen.partition, partition_of(entity, PARTITIONS), "the partition of {entity}");
}

/// A tombstone: the same key, in the same partition, right behind.
fn check_tombstone(seen: &Seen, of: &Seen) {
    assert!(seen.is_tombstone());
    assert_eq!((&seen.key, seen.partition, seen.offset), (&of.key, of.partition, of.offset + 1));
}

/// The columns of a row whose values the log does not have.
fn unknown(row: &Row) -> Vec<&str> {
    row.iter().filter(|(_, cell)| **cell == Cell::Unknown).map(|(name, _)| name).collect()
}

pub async fn a_product_comes_changes_and_goes(shop: &Shop) {
    let key = || json!({"product_id": "R-1"});
    let insert = "INSERT INTO products (product_id, name, category) VALUES ('R-1', 'bowl', NULL)";
    let [inserted] = &shop.commit(insert).await[..] else { panic!("one record") };
    check(inserted, Op::Insert, "public.products", key(), "R-1");
    let change = inserted.change();
    assert!(change.before.is_none());
    let row = change.after.as_ref().expect("a row");
    assert_eq!((row.text("name"), row.text("active")), (Some("bowl"), Some("true")));
    assert_eq!((row.get("description"), row.get("category")), (&Cell::Null, &Cell::Null));
    let updated_at = "SELECT to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
                      FROM products WHERE product_id = 'R-1'";
    assert_eq!(row.text("updated_at"), Some(&*shop.scalar::<String>(updated_at).await));

    let update = "UPDATE products SET name = 'cup', active = false WHERE product_id = 'R-1'";
    let [updated] = &shop.commit(update).await[..] else { panic!("one record") };
    check(updated, Op::Update, "public.products", key(), "R-1");
    let row = updated.change().after.as_ref().expect("a row");
    assert_eq!((row.text("name"), row.text("active")), (Some("cup"), Some("false")));
    assert!(updated.change().position > change.position && updated.offset > inserted.offset);

    let delete = "DELETE FROM products WHERE product_id = 'R-1'";
    let [deleted, tombstone] = &shop.commit(delete).await[..] else { panic!("two records") };
    check(deleted, Op::Delete, "public.products", key(), "R-1");
    check_tombstone(tombstone, deleted);
    let (before, after) = (deleted.change().before.as_ref().expect("a row"), &deleted.change().after);
    assert_eq!((before.text("product_id"), before.get("name"), after), (Some("R-1"), &Cell::Unknown, &None));
}

pub async fn a_deleted_price_names_its_product(shop: &Shop) {
    shop.execute("INSERT INTO products (product_id, name) VALUES ('R-2', 'bowl')").await;
    shop.execute("INSERT INTO prices (product_id, price_pence) VALUES ('R-2', 250)").await;
    let delete = "DELETE FROM prices WHERE product_id = 'R-2'";
    let [deleted, tombstone] = &shop.commit(delete).await[..] else { panic!("two records") };
    check(deleted, Op::Delete, "public.prices", json!({"product_id": "R-2"}), "R-2");
    check_tombstone(tombstone, deleted);
    let before = deleted.change().before.as_ref().expect("a row");
    assert_eq!((before.text("product_id"), before.get("price_pence")), (Some("R-2"), &Cell::Unknown));
}

/// Two customers, each in a partition of its own, and a line in the first one's cart.
async fn two_carts(shop: &Shop, from: i64) -> (i64, i64, i64) {
    let of = |user: i64| partition_of(&user.to_string(), PARTITIONS);
    let one = from;
    let other = (from + 1..).find(|user| of(*user) != of(one)).expect("another partition");
    for user in [one, other] {
        let insert = format!(
            "INSERT INTO users (user_id, email, name) VALUES ({user}, 'u{user}@example.org', 'u'); \
             INSERT INTO carts (user_id) VALUES ({user})"
        );
        shop.execute(&insert).await;
    }
    shop.execute("INSERT INTO products (product_id, name) VALUES ('R-3', 'bowl') ON CONFLICT DO NOTHING").await;
    let line = format!(
        "INSERT INTO cart_lines (user_id, product_id, quantity, price_pence) VALUES ({one}, 'R-3', 1, 99) RETURNING line_id"
    );
    (one, other, shop.scalar(&line).await)
}

/// The primary key does not name the cart; the replica identity does.
pub async fn a_deleted_cart_line_names_its_customer(shop: &Shop) {
    let (user, _, line) = two_carts(shop, 1_000).await;
    let delete = format!("DELETE FROM cart_lines WHERE line_id = {line}");
    let [deleted, tombstone] = &shop.commit(&delete).await[..] else { panic!("two records") };
    check(deleted, Op::Delete, "public.cart_lines", json!({"user_id": user, "line_id": line}), &user.to_string());
    check_tombstone(tombstone, deleted);
    let before = deleted.change().before.as_ref().expect("a row");
    assert_eq!((before.text("user_id"), before.text("line_id")), (Some(&*user.to_string()), Some(&*line.to_string())));
    assert_eq!(before.get("product_id"), &Cell::Unknown);
}

pub async fn a_moved_cart_line_leaves_one_cart_and_enters_another(shop: &Shop) {
    let (from, to, line) = two_carts(shop, 2_000).await;
    let moved = format!(
        "UPDATE cart_lines SET user_id = {to} WHERE line_id = {line}; UPDATE carts SET updated_at = now() WHERE user_id = {to}"
    );
    let [deleted, tombstone, inserted, later] = &shop.commit(&moved).await[..] else { panic!("four records") };
    let key = |user: i64| json!({"user_id": user, "line_id": line});
    check(deleted, Op::Delete, "public.cart_lines", key(from), &from.to_string());
    check_tombstone(tombstone, deleted);
    check(inserted, Op::Insert, "public.cart_lines", key(to), &to.to_string());
    assert_ne!(deleted.partition, inserted.partition);
    for old in [deleted, tombstone] {
        assert_eq!(old.headers, [("__debezium.newkey".to_owned(), key(to))].into());
    }
    assert_eq!(inserted.headers, [("__debezium.oldkey".to_owned(), key(from))].into());
    let row = inserted.change().after.as_ref().expect("a row");
    assert_eq!((row.text("user_id"), row.text("price_pence")), (Some(&*to.to_string()), Some("99")));
    let ordinals = [deleted, inserted, later].map(|seen| seen.change().position.ordinal);
    assert_eq!(ordinals, [1, 2, 3], "a move is two rows of its transaction");
}

pub async fn an_unchanged_long_text_is_unknown(shop: &Shop) {
    shop.execute("ALTER TABLE products ALTER description SET STORAGE EXTERNAL").await;
    let text = "0123456789".repeat(1_000);
    let insert = format!("INSERT INTO products (product_id, name, description) VALUES ('R-4', 'bowl', '{text}')");
    let [inserted] = &shop.commit(&insert).await[..] else { panic!("one record") };
    assert_eq!(inserted.change().after.as_ref().expect("a row").text("description"), Some(&*text));
    let [updated] = &shop.commit("UPDATE products SET name = 'cup' WHERE product_id = 'R-4'").await[..] else {
        panic!("one record")
    };
    let row = updated.change().after.as_ref().expect("a row");
    assert_eq!((row.text("name"), row.get("description")), (Some("cup"), &Cell::Unknown));
    assert_eq!(updated.envelope()["after"]["description"], "__debezium_unavailable_value");
    assert_eq!(unknown(row), ["description"], "all else is known");
}

/// What Kafka would refuse must not stop the log.
pub async fn a_row_too_large_is_published_hollow(shop: &Shop) {
    for (product, bytes, whole) in [("R-5", 890_000, true), ("R-6", 910_000, false)] {
        // Text that does not compress, so that the broker would see its size too.
        let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(bytes).collect();
        let insert =
            format!("INSERT INTO products (product_id, name, description) VALUES ('{product}', 'bowl', '{text}')");
        let [inserted] = &shop.commit(&insert).await[..] else { panic!("one record") };
        check(inserted, Op::Insert, "public.products", json!({"product_id": product}), product);
        let row = inserted.change().after.as_ref().expect("a row");
        let all = ["name", "description", "category", "active", "updated_at"];
        assert_eq!(unknown(row), if whole { &[][..] } else { &all });
        assert_eq!((row.text("product_id"), row.text("description")), (Some(product), whole.then_some(&*text)));
        assert!(inserted.bytes <= 900_000, "{} bytes", inserted.bytes);
        if !whole {
            let position = inserted.change().position.to_string();
            let parked = shop.until("a word of it", async || parked(shop, &position).await).await;
            assert_eq!((&parked["reason"], &parked["table"]), (&json!("row-too-large"), &json!("public.products")));
        }
    }
}

/// The key goes with the record, and is part of the row as well.
pub async fn a_long_key_counts_too(shop: &Shop) {
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(690_000).collect();
    let insert = format!("INSERT INTO packed_key VALUES (repeat('a', 200000), 1, '{text}')");
    let [inserted] = &shop.commit(&insert).await[..] else { panic!("one record") };
    let row = inserted.change().after.as_ref().expect("a row");
    assert_eq!(unknown(row), ["n", "note"]);
    assert_eq!(row.text("id").map(str::len), Some(200_000));
    let position = inserted.change().position.to_string();
    let parked = shop.until("a word of it", async || parked(shop, &position).await).await;
    assert_eq!((&parked["reason"], &parked["entity"]), (&json!("row-too-large"), &Json::Null));
}

/// The parked word of what stands at a position.
async fn parked(shop: &Shop, position: &str) -> Option<Json> {
    let tail = Tail::open(&shop.kafka, "test-parked", topics::PARKED, Begin::Oldest).await;
    let mut tail = tail.expect("the topic of what is parked");
    while let Some(message) = tail.next_before_end().await.expect("the topic of what is parked") {
        let word: Json = serde_json::from_slice(message.payload().expect("a value")).expect("JSON");
        if word["position"] == position {
            return Some(word);
        }
    }
    None
}
