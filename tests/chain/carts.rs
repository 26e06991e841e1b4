//! Entries with a field a row: a cart and its lines, a profile and its preferences.

use reqwest::header::CACHE_CONTROL;
use serde_json::{Value as Json, json};

use crate::chain::Chain;
use crate::compare::{Fields, entries};

/// Two carts with a line each, both cached.
async fn two_carts(chain: &Chain) {
    chain
        .execute(
            "DELETE FROM carts; INSERT INTO carts (user_id) VALUES (1), (2); \
             INSERT INTO cart_lines (line_id, user_id, product_id, quantity, price_pence) \
             VALUES (71, 1, 'P-1', 1, 101), (72, 2, 'P-2', 2, 102)",
        )
        .await;
    chain.applied().await;
    chain.fill("cart", "1").await;
    chain.fill("cart", "2").await;
}

/// An entry of L1, where there is one.
async fn on_l1(chain: &Chain, key: &str) -> Option<Fields> {
    entries(chain).await.l1.get(key).cloned()
}

async fn answer(chain: &Chain, path: &str) -> Json {
    let answer = chain.http.get(format!("{}{path}", chain.stack.endpoints().gateway)).send().await.expect("an answer");
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store", "a customer's own is for nobody's cache");
    answer.json().await.expect("a JSON body")
}

pub async fn a_cart_follows_its_lines(chain: &mut Chain) {
    two_carts(chain).await;
    let before = on_l1(chain, "cart:1").await.expect("a cart");
    let line =
        |quantity: u32| format!(r#"{{"line_id":"71","product_id":"P-1","quantity":"{quantity}","price_pence":"101"}}"#);
    assert_eq!(before["line:71"], line(1), "as the database has it");

    chain.execute("UPDATE cart_lines SET quantity = 3 WHERE line_id = 71").await;
    chain.applied().await;
    let after = on_l1(chain, "cart:1").await.expect("a cart");
    assert_eq!(
        (&after["line:71"], &after["_born"]),
        (&line(3), &before["_born"]),
        "changed in place, as the log has it"
    );

    for (change, lines) in [
        (
            "INSERT INTO cart_lines (line_id, user_id, product_id, quantity, price_pence) VALUES (73, 1, 'P-3', 1, 103)",
            2,
        ),
        ("DELETE FROM cart_lines WHERE line_id = 71", 1),
    ] {
        let before = on_l1(chain, "cart:1").await.expect("a cart");
        chain.execute(change).await;
        chain.applied().await;
        chain.fill("cart", "1").await;
        let after = on_l1(chain, "cart:1").await.expect("a cart");
        assert_ne!(after["_born"], before["_born"], "only a fill makes an entry: {change}");
        assert_eq!(after.keys().filter(|field| field.starts_with("line:")).count(), lines, "{change}");
    }
    let cart = answer(chain, "/v1/cart/1").await;
    let line = json!({"line_id": 73, "product_id": "P-3", "quantity": 1, "price_pence": 103});
    assert_eq!((&cart["user_id"], &cart["line"]), (&json!(1), &json!({"73": line})));

    chain.execute("DELETE FROM carts WHERE user_id = 1").await;
    chain.applied().await;
    assert_eq!(answer(chain, "/v1/cart/1").await, json!({"error": "there is no such cart"}));
    assert!(on_l1(chain, "cart:1").await.expect("a cached absence").contains_key("_neg"));
    chain.execute("DELETE FROM carts").await;
}

pub async fn a_line_that_moves_changes_both_carts(chain: &mut Chain) {
    two_carts(chain).await;
    chain.execute("UPDATE cart_lines SET user_id = 2 WHERE line_id = 71").await;
    chain.applied().await;
    chain.fill("cart", "1").await;
    chain.fill("cart", "2").await;
    let lines = async |key: &str| {
        let cart = on_l1(chain, key).await.expect("a cart");
        cart.into_keys().filter(|field| field.starts_with("line:")).collect::<Vec<_>>()
    };
    assert_eq!(lines("cart:1").await, [""; 0]);
    assert_eq!(lines("cart:2").await, ["line:71", "line:72"]);
    chain.execute("DELETE FROM carts").await;
}

pub async fn preferences_are_fields_of_the_profile(chain: &mut Chain) {
    // What JSON must escape, and what it need not.
    chain.execute("INSERT INTO preferences VALUES (3, 'greeting', E'a \"b\" \\\\ \\n\\x01 \u{e9}/')").await;
    chain.applied().await;
    chain.fill("profile", "3").await;
    let before = on_l1(chain, "user:3").await.expect("a profile");
    chain.execute("UPDATE preferences SET value = value || '!' WHERE user_id = 3").await;
    chain.applied().await;
    let after = on_l1(chain, "user:3").await.expect("a profile");
    assert_eq!(before["_born"], after["_born"]);
    let field = |entry: &Fields| entry["preference:greeting"].clone();
    assert_eq!(
        field(&after),
        field(&before).replace("/\"}", "/!\"}"),
        "the same text from the log and from the database"
    );
    let profile = answer(chain, "/v1/profile/3").await;
    assert_eq!(profile["preference"]["greeting"]["value"], "a \"b\" \\ \n\u{1} \u{e9}/!");
}
