//! The watermark is not where the engine left it: its call landed unheard, the node forgot, or somebody else was there.

use std::process::Command;

use lockstep_schemas::position::{Lsn, Position};
use lockstep_tiers::{Applied, Apply};
use reqwest::StatusCode;

use crate::chain::{Chain, PRODUCTS, place, product, until};
use crate::compare::{Entries, connect, entries, names};
use crate::heard::Since;

const FORGOT: &str = "the tier forgot what it had applied";
const ANOTHER: &str = "another engine moved the watermark";
const RAISED: &str = "floor raised";

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// L2 is there, takes the call in, and answers only when nobody listens any more.
pub async fn a_call_whose_answer_was_lost_had_landed(chain: &mut Chain) {
    let before = entries(chain).await;
    let [stood, ..] = chain.marks().await.map(|mark| mark.expect("a watermark"));
    let since = Since::now();
    let l2 = chain.l2_pid().await;
    signal(l2, "-STOP");
    chain.execute("UPDATE prices SET price_pence = 3 WHERE product_id = 'P-9'").await;
    // L2 goes its own way meanwhile, so that it does not hold L1 up.
    since.hear(&["the tier is detached", "tier=l2", "group=catalogue"]).await;
    let later = chain.now().await;
    until("L1 to go on alone", async || {
        let [l2, l1, _] = chain.marks().await;
        l1.filter(|mark| l2.is_none() && mark.position >= later).map(drop)
    })
    .await;
    signal(l2, "-CONT");
    chain.applied().await;
    let [found, ..] = chain.marks().await.map(|mark| mark.expect("a watermark"));
    assert_eq!(found.refreshed, stood.refreshed + 1, "applied once");
    assert_eq!(found.floor, stood.floor);
    for turn in [FORGOT, ANOTHER, RAISED] {
        assert_eq!(since.heard(&[turn]), None, "the engine goes on");
    }
    let (entry, old) = (&entries(chain).await.l2["product:all:P-9"], &before.l2["product:all:P-9"]);
    assert_eq!((entry["price_pence"].as_str(), &entry["_born"]), ("3", &old["_born"]));
}

/// Everything in L2, as a replica that was promoted too early would still have it.
async fn dump(chain: &Chain) -> redis::Pipeline {
    let mut node = connect(&chain.l2().await.1).await;
    let mut restore = redis::pipe();
    restore.atomic().cmd("FLUSHALL").ignore();
    for name in names(&mut node).await {
        let life: i64 = redis::cmd("PTTL").arg(&name).query_async(&mut node).await.expect("a life");
        let dumped: Option<Vec<u8>> = redis::cmd("DUMP").arg(&name).query_async(&mut node).await.expect("a dump");
        if let Some(dumped) = dumped {
            restore.cmd("RESTORE").arg(&name).arg(life.max(0)).arg(dumped).ignore();
        }
    }
    restore
}

/// A fail-over to what was once replicated: older entries under an older watermark.
pub async fn a_tier_that_forgot_is_brought_back(chain: &mut Chain) {
    let old = dump(chain).await;
    let untouched = entries(chain).await.l2["product:all:P-10"].clone();
    chain.execute("INSERT INTO products (product_id, name) VALUES ('N-1', 'new')").await;
    for n in 0..5 {
        chain.execute(&format!("UPDATE prices SET price_pence = 9 WHERE product_id = '{}'", product(n))).await;
    }
    chain.execute("DELETE FROM products WHERE product_id = 'P-5'").await;
    chain.settled().await;
    assert_eq!(chain.page("N-1").await.0, StatusCode::OK);
    assert_eq!(chain.page("P-5").await.0, StatusCode::NOT_FOUND);
    let [stood, ..] = chain.marks().await.map(|mark| mark.expect("a watermark"));

    let since = Since::now();
    let () = old.query_async(&mut connect(&chain.l2().await.1).await).await.expect("an older state");
    since.hear(&[FORGOT, "tier=l2", "group=catalogue"]).await;
    until("L2 to be brought back", async || {
        chain.marks().await[0].clone().filter(|mark| mark.position >= stood.position)
    })
    .await;
    assert_eq!(since.heard(&[ANOTHER]), None);
    assert_eq!(since.heard(&[RAISED]), None, "the log reaches back: no floor is needed");
    let l2 = entries(chain).await.l2;
    assert_eq!(l2["product:all:P-10"], untouched, "what did not change is still there");
    for n in 0..5 {
        let entry = l2.get(&format!("product:all:{}", product(n)));
        assert!(entry.is_none_or(|entry| entry["price_pence"] == "9"), "{entry:?}");
    }
}

/// Whether the edge keeps a page with this name on it.
async fn shows(chain: &Chain, product: &str, name: &str) -> Option<()> {
    let (_, fields, cached) = chain.page(product).await;
    (cached && fields["name"] == name).then_some(())
}

/// [16e2]: while nobody is there to notice, the edge takes a page from the older state. The engine that starts purges what
/// it applies again.
pub async fn a_page_made_from_what_was_forgotten_is_purged(chain: &mut Chain) {
    chain.execute("INSERT INTO products (product_id, name) VALUES ('N-2', 'old')").await;
    chain.settled().await;
    // Not a hot one: its page is made from L2.
    until("the edge to have the page", async || shows(chain, "N-2", "old").await).await;
    let old = dump(chain).await;
    chain.execute("UPDATE products SET name = 'new' WHERE product_id = 'N-2'").await;
    chain.settled().await;
    until("the edge to have the new page", async || shows(chain, "N-2", "new").await).await;

    chain.engine.take().expect("an engine").stop().await;
    let () = old.query_async(&mut connect(&chain.l2().await.1).await).await.expect("an older state");
    chain.setting.edge().purge(&["product:N-2".to_owned()]).await.expect("a purged page");
    until("the edge to have the old page again", async || shows(chain, "N-2", "old").await).await;

    chain.engine = Some(chain.setting.engine());
    chain.settled().await;
    assert_eq!(chain.page("N-2").await.1["name"], "new");
}

/// [16h]: applied beneath, and not yet purged, when the engine ends. L3's position is its own, and the purge is done later.
pub async fn a_purge_that_was_not_done_is_done_at_the_next_start(chain: &mut Chain) {
    until("the edge to have the page", async || shows(chain, "P-17", "bowl 17").await).await;
    let edge = chain.stack.endpoints().pids["varnish"];
    let workers = std::fs::read_to_string(format!("/proc/{edge}/task/{edge}/children")).expect("its workers");
    let workers: Vec<u32> = workers.split_whitespace().map(|pid| pid.parse().expect("a process")).collect();
    assert!(!workers.is_empty());
    workers.iter().for_each(|pid| signal(*pid, "-STOP"));
    chain.execute("UPDATE products SET name = 'a vase' WHERE product_id = 'P-17'").await;
    chain.applied().await;
    chain.engine.take().expect("an engine").stop().await;
    // The edge may still find the purge in its socket when it wakes; what counts is that nobody believes it done.
    let [l2, _, _] = chain.marks().await.map(|mark| mark.expect("a watermark"));
    assert!(l2.l3.is_some_and(|(purged, _)| purged < l2.position), "{l2:?}");
    workers.iter().for_each(|pid| signal(*pid, "-CONT"));
    chain.engine = Some(chain.setting.engine());
    chain.settled().await;
    assert_eq!(chain.page("P-17").await.1["name"], "a vase");
}

pub async fn a_tier_that_came_back_empty_is_unknown(chain: &mut Chain) {
    let since = Since::now();
    let (l2, _) = chain.l2().await;
    tokio::task::block_in_place(|| chain.stack.kill(l2)).expect("a killed L2");
    chain.execute("UPDATE prices SET price_pence = 4 WHERE product_id = 'P-11'").await;
    chain.execute("DELETE FROM products WHERE product_id = 'P-12'").await;
    tokio::task::block_in_place(|| chain.stack.restart(l2)).expect("a new L2");
    let raised = since.hear(&[RAISED, "tier=l2", "group=catalogue"]).await;
    chain.settled().await;
    let [found, l1, _] = chain.marks().await.map(|mark| mark.expect("a watermark"));
    assert!(raised.contains(&found.floor.to_string()), "{raised}");
    assert!(l1.floor < found.floor, "L1 has forgotten nothing");
    // Readers fill it again, and find what happened meanwhile.
    let (status, fields, _) = chain.page("P-11").await;
    assert_eq!((status, fields["price_pence"].as_str()), (StatusCode::OK, "4"));
    assert_eq!(chain.page("P-12").await.0, StatusCode::NOT_FOUND);
}

pub async fn a_tier_that_was_flushed_under_traffic_ends_equal(chain: &mut Chain) {
    let since = Since::now();
    let reading = async {
        for n in (0..PRODUCTS).cycle() {
            let (status, ..) = chain.answer(&chain.stack.endpoints().gateway, &product(n)).await;
            assert!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "{status}");
        }
    };
    let writing = async {
        for n in 0..600 {
            let id = product(fastrand::usize(..PRODUCTS));
            let change = match n % 10 {
                0 => format!("DELETE FROM products WHERE product_id = '{id}'"),
                1 => format!("INSERT INTO products (product_id, name) VALUES ('{id}', 'again') ON CONFLICT DO NOTHING"),
                2..=5 => format!("UPDATE products SET name = 'bowl {n}' WHERE product_id = '{id}'"),
                _ => format!("UPDATE prices SET price_pence = {n} WHERE product_id = '{id}'"),
            };
            chain.execute(&change).await;
            if n % 200 == 100 {
                let mut node = connect(&chain.l2().await.1).await;
                let () = redis::cmd("FLUSHALL").query_async(&mut node).await.expect("flushed");
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    since.hear(&[RAISED, "tier=l2"]).await;
    assert_eq!(since.heard(&[ANOTHER]), None);
    chain.settled().await;
    let l2: Entries = entries(chain).await.l2;
    assert!(!l2.is_empty(), "readers fill it again");
}

/// Somebody else applies a batch: the engine leaves the partition, joins anew, and begins from what it finds.
pub async fn another_owner_is_left_the_partition(chain: &mut Chain) {
    let since = Since::now();
    let moved = until("a position beyond the engine's", async || {
        let [stood, ..] = chain.marks().await.map(|mark| mark.expect("a watermark"));
        chain.execute("CREATE TABLE IF NOT EXISTS unpublished (n int); INSERT INTO unpublished VALUES (1)").await;
        // A place at which nothing is, and to which no progress ever moves.
        let now = chain.now().await;
        let new = Position { lsn: Lsn(now.lsn.0 - 8), ordinal: 7, ..now };
        let batch = Apply {
            expect: stood.position,
            new,
            offset: stood.offset,
            floor: None,
            timeline: "",
            at: stood.at,
            nonce: "",
            actions: &[],
            outward: None,
        };
        if new <= stood.position {
            return None;
        }
        let applied = chain.setting.tiers.l2.apply(&place("catalogue"), &batch).await.expect("an answer");
        matches!(applied, Applied::Ok { .. }).then_some(new)
    })
    .await;
    since.hear(&[ANOTHER, "tier=l2", "group=catalogue", &moved.to_string()]).await;
    // It comes back, and works from there.
    chain.execute("UPDATE prices SET price_pence = 5 WHERE product_id = 'P-13'").await;
    chain.execute("UPDATE users SET name = 'still here' WHERE user_id = 3").await;
    chain.applied().await;
    let found = entries(chain).await;
    assert_eq!(found.l2["product:all:P-13"]["price_pence"], "5");
    assert_eq!(found.l1["product:hot:P-13"]["price_pence"], "5");
    assert_eq!(found.l1["user:3"]["name"], "still here");
    for turn in [FORGOT, RAISED] {
        assert_eq!(since.heard(&[turn]), None);
    }
}
