//! A tier that lets itself be read and takes no writes: to its lanes it is away.

use crate::chain::{Chain, product, until};
use crate::compare::{connect, entries};
use crate::heard::Since;

const DETACHED: &str = "the tier is detached";
const NOT_BACK: &str = "the detached tier is not back yet";
const BACK: &str = "the tier answers again";

/// Settings of some nodes, one after the other; and what they were before, to be set in the opposite order.
async fn set(nodes: &[String], settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut before = Vec::new();
    for url in nodes {
        let mut node = connect(url).await;
        before.clear();
        for (name, value) in settings {
            let was: Vec<String> =
                redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut node).await.expect("a setting");
            let () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query_async(&mut node).await.expect("set");
            before.push(((*name).to_owned(), was[1].clone()));
        }
    }
    before.reverse();
    before
}

/// Meanwhile and afterwards, of a tier that refuses: `code`.
async fn refuses(chain: &Chain, tier: &str, nodes: &[String], settings: &[(&str, &str)], code: &str) {
    let since = Since::now();
    let before = set(nodes, settings).await;
    let of_tier = format!("tier={tier}");
    chain.execute("UPDATE prices SET price_pence = 31 WHERE product_id = 'P-3'").await;
    since.hear(&[DETACHED, &of_tier, "group=catalogue", code]).await;
    // It was looked at, could be read, and was not believed.
    since.hear(&[NOT_BACK, &of_tier, "group=catalogue", code]).await;
    for n in 0..4 {
        chain.execute(&format!("UPDATE prices SET price_pence = 32 WHERE product_id = '{}'", product(n))).await;
    }
    let now = chain.now().await;
    until("the other tier to go on", async || {
        let [l2, l1, _] = chain.marks().await.map(|mark| mark.map(|mark| mark.position));
        let (refusing, other) = if tier == "l2" { (l2?, l1?) } else { (l1?, l2?) };
        (refusing < now && other >= now).then_some(())
    })
    .await;
    // A page goes past it.
    let (_, page, _) = chain.answer(&chain.stack.endpoints().gateway, &product(3)).await;
    assert_eq!(page["price_pence"], "32");
    assert_eq!(since.heard(&[BACK, &of_tier, "group=catalogue"]), None, "no life began with it");

    let before: Vec<_> = before.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    set(nodes, &before).await;
    since.hear(&[BACK, &of_tier, "group=catalogue"]).await;
    chain.applied().await;
    let found = entries(chain).await;
    let copies = if tier == "l2" { found.l2 } else { found.l1 };
    let entry = copies.get(&format!("product:{}:P-3", if tier == "l2" { "all" } else { "hot" }));
    assert_eq!(entry.expect("the entry that it had")["price_pence"], "32");
}

/// L1 keeps what it has, and takes no more.
pub async fn a_tier_without_memory_holds_no_other_up(chain: &mut Chain) {
    let nodes = chain.stack.endpoints().l1[..3].to_vec();
    // First the policy, so that no entry has to make room.
    refuses(chain, "l1", &nodes, &[("maxmemory-policy", "noeviction"), ("maxmemory", "1")], "OOM").await;
}

pub async fn a_tier_without_replicas_holds_no_other_up(chain: &mut Chain) {
    let nodes = crate::l2::nodes(chain.stack.endpoints());
    refuses(chain, "l2", &nodes, &[("min-replicas-to-write", "3")], "NOREPLICAS").await;
}
