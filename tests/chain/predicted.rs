//! What the plan says of a change that is tried and rolled back, beside what the engine does when it is made.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use lockstep_coherence::{Effect, Planner};
use lockstep_schemas::policy::TierName;
use lockstep_source::{Database, trial};

use crate::chain::{Chain, PRODUCTS, USERS, product};
use crate::compare::{Entries, entries};

const ROUNDS: usize = 25;
const CHANGES_PER_ROUND: usize = 40;
/// The edge is waited for in every so many rounds: it takes two rounds of purges.
const EDGE_EVERY: usize = 10;

/// What was touched, or would be: keys of L2 and L1, tags of the edge.
#[derive(Debug, Default, PartialEq, Eq)]
struct Touched {
    l2: BTreeSet<String>,
    l1: BTreeSet<String>,
    edge: BTreeSet<String>,
}

pub async fn what_is_predicted_is_what_is_applied(chain: &mut Chain) {
    let seed = 7;
    let mut random = Rng::with_seed(seed);
    let database = Database::connect(chain.setting.config.database().expect("a database"), "test-predicted").await;
    let database = database.expect("a database");
    let planner = Planner::new(&chain.setting.policy);
    let mut touched = 0;
    for round in 0..ROUNDS {
        with_carts(chain).await;
        let sees_edge = round % EDGE_EVERY == 0;
        if sees_edge {
            chain.settled().await;
        }
        let pages_before = if sees_edge { kept_pages(chain).await } else { BTreeMap::new() };
        let before = entries(chain).await;
        let mut predicted = Touched::default();
        // Few entities a round, so that most entries must stay as they are.
        let few: Vec<usize> = (0..4).map(|_| random.usize(0..PRODUCTS)).collect();
        for _ in 0..CHANGES_PER_ROUND {
            let sql = change(&mut random, &few);
            predict(chain, &database, &planner, &sql, &mut predicted).await;
            chain.execute(&sql).await;
        }
        chain.applied().await;
        let after = entries(chain).await;
        let mut applied = Touched {
            l2: differing(&before.l2, &after.l2),
            l1: differing(&before.l1, &after.l1),
            edge: BTreeSet::new(),
        };
        predicted.l2.retain(|key| before.l2.contains_key(key));
        predicted.l1.retain(|key| before.l1.contains_key(key));
        if sees_edge {
            chain.settled().await;
            // The engine may have looked at one that it had purged, to prove it: the edge then has another page.
            let pages = kept_pages(chain).await;
            let gone = pages_before.iter().filter(|(tag, position)| pages.get(*tag) != Some(*position));
            applied.edge = gone.map(|(tag, _)| tag.clone()).collect();
            predicted.edge.retain(|tag| pages_before.contains_key(tag));
        } else {
            predicted.edge.clear();
        }
        assert_eq!(applied, predicted, "round {round}, seed {seed}");
        touched += applied.l2.len() + applied.l1.len() + applied.edge.len();
        chain.restock().await;
    }
    eprintln!("{} changes predicted, {touched} entries and pages touched", ROUNDS * CHANGES_PER_ROUND);
    assert!(touched > ROUNDS, "the changes touched next to nothing");
    chain.execute("DELETE FROM carts; DELETE FROM preferences").await;
    chain.applied().await;
    database.close().await;
}

/// Every customer has a cart with a line, and it is cached.
async fn with_carts(chain: &Chain) {
    chain
        .execute(&format!(
            "INSERT INTO carts (user_id) SELECT generate_series(1, {USERS}) ON CONFLICT DO NOTHING; \
             INSERT INTO cart_lines (user_id, product_id, quantity, price_pence) \
             SELECT n, 'P-0', 1, 100 FROM generate_series(1, {USERS}) AS n ON CONFLICT DO NOTHING"
        ))
        .await;
    chain.applied().await;
    for user in 1..=USERS {
        chain.fill("cart", &user.to_string()).await;
    }
}

/// A change of some kind. It may also change nothing, or write a row as it is.
fn change(random: &mut Rng, few: &[usize]) -> String {
    let p = format!("'{}'", product(few[random.usize(0..few.len())]));
    let (user, other, n) = (random.usize(1..=2), random.usize(1..=2), random.u32(1..100));
    match random.u32(0..14) {
        0 | 1 => format!("UPDATE prices SET price_pence = {n} WHERE product_id = {p}"),
        2 | 3 => format!("UPDATE inventory SET stock = {n} WHERE product_id = {p}"),
        4 => format!("UPDATE products SET name = 'bowl {n}', updated_at = now() WHERE product_id = {p}"),
        5 => format!("UPDATE products SET category = NULL WHERE product_id = {p}"),
        6 => format!("UPDATE prices SET price_pence = price_pence WHERE product_id = {p}"),
        7 => format!(
            "DELETE FROM prices WHERE product_id = {p}; INSERT INTO prices (product_id, price_pence) VALUES ({p}, {n})"
        ),
        8 => format!("UPDATE users SET name = 'user {n}' WHERE user_id = {user}"),
        9 => format!(
            "INSERT INTO preferences VALUES ({user}, 'k{}', '{n}') ON CONFLICT (user_id, name) DO UPDATE SET value = excluded.value",
            n % 3
        ),
        10 => format!("UPDATE cart_lines SET quantity = {n} WHERE user_id = {user}"),
        11 => format!(
            "INSERT INTO cart_lines (user_id, product_id, quantity, price_pence) VALUES ({user}, {p}, 1, {n}) ON CONFLICT DO NOTHING"
        ),
        12 => format!("DELETE FROM cart_lines WHERE user_id = {user} AND product_id = {p}"),
        _ => format!(
            "UPDATE cart_lines SET user_id = {other} WHERE user_id = {user} AND product_id = {p} \
             AND NOT EXISTS (SELECT 1 FROM cart_lines WHERE user_id = {other} AND product_id = {p})"
        ),
    }
}

async fn predict(chain: &Chain, database: &Database, planner: &Planner, sql: &str, into: &mut Touched) {
    let changes = trial::changes(database, &chain.setting.policy, sql).await;
    for change in changes.unwrap_or_else(|why| panic!("{sql}: {why}")) {
        for effect in planner.effects(&change).expect("an entity") {
            match effect {
                Effect::Purge(tag) => drop(into.edge.insert(tag)),
                Effect::Entry(entry) if entry.view.tier == TierName::L2 => {
                    into.l2.insert(entry.key.as_str().to_owned());
                }
                Effect::Entry(entry) => drop(into.l1.insert(entry.key.as_str().to_owned())),
            }
        }
    }
}

/// Entries that were there, and are gone or not as they were.
fn differing(before: &Entries, after: &Entries) -> BTreeSet<String> {
    before.iter().filter(|(key, entry)| after.get(*key) != Some(entry)).map(|(key, _)| key.clone()).collect()
}

/// Tags of the pages that the edge has. (Asking for one that it lacks makes it ask the gateway.)
async fn kept_pages(chain: &Chain) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for n in 0..PRODUCTS {
        if let Some(position) = chain.kept_page(&product(n)).await {
            kept.insert(format!("product:{}", product(n)), position);
        }
    }
    kept
}
