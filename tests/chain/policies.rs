//! Policies other than the default one: bounds of staleness, tests on columns, keys of more than the entity.

use std::net::TcpListener;
use std::sync::Arc;

use lockstep_schemas::policy::{DEFAULT, Policy, TierName};
use lockstep_schemas::position::Position;
use lockstep_source::Database;
use lockstep_source::loader::Loader;
use lockstep_tiers::{Layout, Read, Tier};

use crate::chain::{Chain, place, until};
use crate::compare::entries;

fn parse(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|why| panic!("{why}"))
}

/// A product as a gateway answers it: its price, and what it says of its tier.
async fn answer(chain: &Chain, gateway: &str) -> Option<(String, Option<String>)> {
    let answer = chain.http.get(format!("http://{gateway}/v1/product/P-5")).send().await.ok()?;
    let behind = answer.headers().get("lockstep-behind").map(|text| text.to_str().expect("a text").to_owned());
    let kept = answer.headers().get("cache-control").is_some_and(|text| text != "no-store");
    assert!(behind.is_none() || !kept, "what a tier says that is behind, is not for the CDN to repeat");
    let body: serde_json::Value = answer.json().await.ok()?;
    Some((body["price_pence"].to_string(), behind))
}

pub async fn a_tier_behind_its_bound_is_passed_by_or_said_to_be_stale(chain: &mut Chain) {
    let free =
        || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let text = |on_behind| {
        let bound = format!("ttl = \"2h\"\nbound = \"3s\"\non_behind = \"{on_behind}\"");
        let text = DEFAULT.replacen("ttl = \"2h\"", &bound, 1);
        text.replacen("ttl = \"15m\"", &bound.replace("2h", "15m"), 1)
    };
    let (passing, saying) = (free(), free());
    let gateways = [
        chain.setting.gateway_at(&passing, parse(&text("bypass"))),
        chain.setting.gateway_at(&saying, parse(&text("stale"))),
    ];
    until("answers of tiers in step", async || {
        let fresh = |answer: Option<(String, Option<String>)>| (answer? == ("105".to_owned(), None)).then_some(());
        fresh(answer(chain, &passing).await).and(fresh(answer(chain, &saying).await))
    })
    .await;
    chain.engine.take().expect("an engine").stop().await;
    chain.execute("UPDATE prices SET price_pence = 555 WHERE product_id = 'P-5'").await;
    let expect = |price: &str, behind: &str| Some((price.to_owned(), Some(behind.to_owned())));
    until("a tier passed by", async || (answer(chain, &passing).await == expect("555", "bypass")).then_some(())).await;
    until("a stale answer", async || (answer(chain, &saying).await == expect("105", "stale")).then_some(())).await;
    chain.engine = Some(chain.setting.engine());
    chain.applied().await;
    until("a fresh answer", async || (answer(chain, &passing).await? == ("555".to_owned(), None)).then_some(())).await;
    for gateway in gateways {
        gateway.stop().await;
    }
}

/// The engine with another policy, until it is told the default one again.
pub async fn follow(chain: &mut Chain, policy: &str) {
    chain.engine.take().expect("an engine").stop().await;
    chain.setting.policy = Arc::new(parse(policy));
    chain.engine = Some(chain.setting.engine());
}

pub async fn a_page_is_purged_where_its_test_holds(chain: &mut Chain) {
    let at = DEFAULT.rfind("columns = [\"stock\"]").expect("the page's source");
    let policy = format!("{}when = \"stock crosses 0\"\n{}", &DEFAULT[..at], &DEFAULT[at..]);
    chain.execute("ALTER TABLE inventory REPLICA IDENTITY FULL").await;
    follow(chain, &policy).await;
    let held = until("the edge to have the page", async || {
        let (_, page, cached) = chain.page("P-6").await;
        cached.then(|| page["stock"].clone())
    })
    .await;
    chain.execute("UPDATE inventory SET stock = 39 WHERE product_id = 'P-6'").await;
    chain.settled().await;
    let (_, page, cached) = chain.page("P-6").await;
    assert_eq!((&page["stock"], cached), (&held, true), "a count that nobody needs to see purges nothing");
    let entry = entries(chain).await.l2["product:all:P-6"].clone();
    assert_eq!(entry["stock"], "39", "the entry beneath follows each");
    chain.execute("UPDATE inventory SET stock = 0 WHERE product_id = 'P-6'").await;
    chain.settled().await;
    until("the edge to know that it is sold out", async || (chain.page("P-6").await.1["stock"] == "0").then_some(()))
        .await;
    follow(chain, DEFAULT).await;
    chain
        .execute(
            "ALTER TABLE inventory REPLICA IDENTITY DEFAULT; UPDATE inventory SET stock = 1 WHERE product_id = 'P-6'",
        )
        .await;
}

const SHELF: &str = r#"
[views.shelf]
group = "catalogue"
tiers = ["l2"]
key = "shelf:{category}:{product_id}"
ttl = "1h"
sources = [{ table = "public.products", columns = ["product_id", "name", "category"] }]
"#;

pub async fn a_key_moves_with_the_columns_it_is_made_of(chain: &mut Chain) {
    chain.execute("ALTER TABLE products REPLICA IDENTITY FULL").await;
    let text = format!("{DEFAULT}{SHELF}");
    follow(chain, &text).await;
    chain.execute("UPDATE products SET category = 'mugs' WHERE product_id = 'P-7'").await;
    chain.applied().await;
    fill(chain, &text, "mugs").await;
    let shelf = async |category: &str| entries(chain).await.l2.get(&format!("shelf:{category}:P-7")).cloned();
    // Of one table a row is the whole entry: it takes the place of what is there, and is as old as its commit.
    let filled = shelf("mugs").await.expect("an entry");
    for (change, expected) in
        [("'a mug'", Some("a mug")), ("repeat('mug', 100)", Some(&*"mug".repeat(100))), ("'7'", Some("7"))]
    {
        chain.execute(&format!("UPDATE products SET name = {change} WHERE product_id = 'P-7'")).await;
        chain.applied().await;
        let entry = shelf("mugs").await.expect("an entry");
        assert_eq!(entry.get("name").map(String::as_str), expected, "refreshed in place");
        assert!(entry["_low"] == entry["_high"] && entry["_born"] > filled["_born"], "{entry:?}");
    }
    // A cached absence under the new key is what it is until the row comes there.
    fill(chain, &text, "cups").await;
    assert!(shelf("cups").await.expect("an absence").contains_key("_neg"));
    chain.execute("UPDATE products SET category = 'cups' WHERE product_id = 'P-7'").await;
    chain.applied().await;
    assert_eq!((shelf("mugs").await, shelf("cups").await), (None, None), "both keys are acted on");
    follow(chain, DEFAULT).await;
    chain.execute("ALTER TABLE products REPLICA IDENTITY DEFAULT; UPDATE products SET category = 'bowls' WHERE product_id = 'P-7'").await;
}

/// Fills an entry of the shelf as any reader may: lease, row, fill. A row of another key is not there.
async fn fill(chain: &Chain, policy: &str, category: &str) {
    let policy = parse(policy);
    let view = &policy.views["shelf"];
    let database = Database::connect(chain.setting.config.database().expect("a database"), "test-shelf")
        .await
        .expect("a database");
    let loader = Loader::prepare(&database, &policy).await.expect("a loader");
    let layout = Arc::new(Layout::new(&policy, "", 1));
    let l2 = Tier::connect(TierName::L2, chain.setting.config.l2().expect("L2"), layout).await.expect("L2");
    let key = view.key.key_of("P-7", |_| Some(category)).expect("a key");
    let lease = until("a lease", async || match l2.read(&place("catalogue"), &key, None).await {
        Ok(Read::Lease(lease)) => Some(lease),
        _ => None,
    })
    .await;
    let loaded = loader.load(view, &["P-7".to_owned()]).await.expect("a row").pop().expect("an answer");
    let fields = loaded.fields.filter(|fields| {
        let text = |column: &str| fields.iter().find(|(name, _)| **name == *column).map(|(_, text)| text.as_str());
        view.key.key_of("P-7", text).as_ref() == Some(&key)
    });
    let fill = lockstep_tiers::Fill {
        nonce: &lease.nonce,
        low: lease.mark.position,
        high: loaded.high,
        source_at: Position::GREATEST,
        timeline: &loaded.timeline,
        ttl: view.ttl,
        fields: fields.as_ref(),
    };
    l2.fill(&place("catalogue"), &key, &fill).await.expect("a fill");
    database.close().await;
}
