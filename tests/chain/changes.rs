//! Rows that change, and what their copies do.

use reqwest::StatusCode;

use crate::chain::{Chain, until};
use crate::compare::{Fields, entries};

/// One entry of each tier.
async fn copies(chain: &Chain, product: &str) -> [Option<Fields>; 2] {
    let found = entries(chain).await;
    [found.l2.get(&format!("product:all:{product}")).cloned(), found.l1.get(&format!("product:hot:{product}")).cloned()]
}

pub async fn a_change_reaches_every_tier(chain: &mut Chain) {
    until("the edge to have the page", async || chain.page("P-1").await.2.then_some(())).await;
    let before = copies(chain, "P-1").await;
    for (change, field, expected) in [
        ("UPDATE prices SET price_pence = 777 WHERE product_id = 'P-1'", "price_pence", Some("777")),
        ("UPDATE inventory SET stock = 3 WHERE product_id = 'P-1'", "stock", Some("3")),
        ("UPDATE products SET name = 'a cup' WHERE product_id = 'P-1'", "name", Some("a cup")),
        ("UPDATE products SET description = NULL WHERE product_id = 'P-1'", "description", None),
    ] {
        chain.execute(change).await;
        chain.applied().await;
        for (copy, before) in copies(chain, "P-1").await.into_iter().zip(&before) {
            let (copy, before) = (copy.expect("an entry"), before.as_ref().expect("an entry"));
            assert_eq!(copy.get(field).map(String::as_str), expected, "{change}");
            assert_eq!(copy["_born"], before["_born"], "changed in place, not filled again");
        }
        let seen = async || (chain.page("P-1").await.1.get(field).map(String::as_str) == expected).then_some(());
        until("the edge to show it", seen).await;
    }
}

pub async fn a_deleted_product_is_absent_until_it_returns(chain: &mut Chain) {
    assert_eq!(chain.page("P-2").await.0, StatusCode::OK);
    chain.execute("DELETE FROM products WHERE product_id = 'P-2'").await;
    chain.settled().await;
    assert_eq!(chain.page("P-2").await.0, StatusCode::NOT_FOUND);
    // Perhaps by the engine, which took the lease of whoever wanted the entry.
    until("both tiers to keep the absence", async || {
        let copies = copies(chain, "P-2").await;
        copies.iter().all(|copy| copy.as_ref().is_some_and(|copy| copy.contains_key("_neg"))).then_some(())
    })
    .await;
    until("the edge to keep the absence", async || {
        let (status, _, cached) = chain.page("P-2").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        cached.then_some(())
    })
    .await;
    chain.execute("INSERT INTO products (product_id, name) VALUES ('P-2', 'back again')").await;
    chain.settled().await;
    let (status, fields, _) = chain.page("P-2").await;
    assert_eq!((status, fields["name"].as_str(), fields.get("price_pence")), (StatusCode::OK, "back again", None));
}

pub async fn a_product_that_changes_its_id(chain: &mut Chain) {
    chain.execute("INSERT INTO products (product_id, name) VALUES ('K-1', 'a key')").await;
    chain.settled().await;
    // Both are cached: one as a row, one as an absence.
    assert_eq!(chain.page("K-1").await.0, StatusCode::OK);
    assert_eq!(chain.page("K-2").await.0, StatusCode::NOT_FOUND);
    chain.execute("UPDATE products SET product_id = 'K-2' WHERE product_id = 'K-1'").await;
    chain.settled().await;
    assert_eq!(chain.page("K-1").await.0, StatusCode::NOT_FOUND);
    let (status, fields, _) = chain.page("K-2").await;
    assert_eq!((status, fields["name"].as_str()), (StatusCode::OK, "a key"));
    let l2 = entries(chain).await.l2;
    assert!(l2["product:all:K-1"].contains_key("_neg") && l2["product:all:K-2"]["product_id"] == "K-2");
}

pub async fn two_groups_do_not_disturb_one_another(chain: &mut Chain) {
    let on_l1 = async || {
        let l1 = entries(chain).await.l1;
        (l1["product:hot:P-4"].clone(), l1.get("user:4").cloned())
    };
    let (product, user) = on_l1().await;
    let user = user.expect("a profile");
    chain.execute("UPDATE users SET name = 'another' WHERE user_id = 4").await;
    chain.applied().await;
    let (same_product, other_user) = on_l1().await;
    let other_user = other_user.expect("a profile");
    assert_eq!(same_product, product);
    assert_eq!((other_user["name"].as_str(), &other_user["_born"]), ("another", &user["_born"]));

    chain.execute("UPDATE prices SET price_pence = 444 WHERE product_id = 'P-4'").await;
    chain.applied().await;
    let (other_product, same_user) = on_l1().await;
    assert_eq!((other_product["price_pence"].as_str(), same_user), ("444", Some(other_user)));

    // A floor of one is no floor of the other.
    let [l2, l1, customers] = chain.marks().await.map(|mark| mark.expect("a watermark"));
    chain.execute("TRUNCATE preferences").await;
    chain.applied().await;
    let [l2_after, l1_after, customers_after] = chain.marks().await.map(|mark| mark.expect("a watermark"));
    assert_eq!((l2_after.floor, l1_after.floor), (l2.floor, l1.floor));
    assert!(customers_after.floor > customers.floor);
    assert_eq!(on_l1().await, (other_product, None), "the profile is dead, the product lives");
    assert!(chain.is_hit_on_l1("product_hot", "P-4").await);
    chain.fill("profile", "4").await;
    assert!(chain.is_hit_on_l1("profile", "4").await);
}
