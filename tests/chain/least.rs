//! The rights that docs/operation.md says are enough, given to a user of Redis that has no others.

use std::collections::HashMap;
use std::net::TcpListener;

use lockstep_schemas::policy::{DEFAULT, Policy};

use crate::chain::{Chain, until};
use crate::compare::connect;
use crate::l2;
use crate::roles::Setting;

const MANUAL: &str = include_str!("../../docs/operation.md");

/// The words of `ACL SETUSER`, for one node and for one of a cluster.
fn rights(of_cluster: bool) -> Vec<String> {
    let (_, block) = MANUAL.split_once("ACL SETUSER ").expect("the user in the manual");
    let mut lines = block.lines();
    let user = lines.next().expect("its rights");
    let cluster = lines.next().expect("those on a cluster").trim().strip_prefix("and on a cluster").expect("its line");
    let swept = MANUAL.contains("The sweep also needs `+scan`").then_some("+scan").expect("the sweep's right");
    let words = user.split_whitespace().chain(cluster.split_whitespace().filter(|_| of_cluster)).chain([swept]);
    words.map(str::to_owned).collect()
}

fn with_user(urls: &[String]) -> Vec<String> {
    urls.iter().map(|url| url.replacen("redis://", "redis://lockstep:secret@", 1)).collect()
}

/// Engine and gateway, on nodes that have forgotten the library: it is loaded, applied, read, filled and swept by that user.
pub async fn no_more_rights_than_the_manual_says(chain: &mut Chain) {
    chain.engine.take().expect("an engine").stop().await;
    let mut endpoints = chain.stack.endpoints().clone();
    let l2 = l2::nodes(&endpoints);
    let nodes: Vec<_> =
        l2.iter().map(|url| (url, l2.len() > 1)).chain(endpoints.l1.iter().map(|url| (url, true))).collect();
    for (url, of_cluster) in &nodes {
        let mut node = connect(url).await;
        let () =
            redis::cmd("ACL").arg("SETUSER").arg(rights(*of_cluster)).query_async(&mut node).await.expect("a user");
        let () = redis::cmd("ACL").arg("LOG").arg("RESET").query_async(&mut node).await.expect("an empty log");
        // Replicas take it from their primary.
        let _: Result<(), _> = redis::cmd("FUNCTION").arg("FLUSH").query_async(&mut node).await;
    }
    let nodes: Vec<String> = nodes.into_iter().map(|(url, _)| url.clone()).collect();
    endpoints.l1 = with_user(&endpoints.l1);
    endpoints.l2_nodes = with_user(&endpoints.l2_nodes);
    endpoints.l2 = with_user(&[endpoints.l2]).remove(0);
    let setting = Setting::of(&endpoints).await;
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").to_string();
    let (engine, gateway) = (setting.engine(), setting.gateway_at(&listen, Policy::parse(DEFAULT).expect("a policy")));

    let swept = async || chain.marks().await[2].clone().map_or(0, |mark| mark.swept);
    let before = swept().await;
    chain.execute("UPDATE prices SET price_pence = 41 WHERE product_id = 'P-4'").await;
    chain.execute("DELETE FROM products WHERE product_id = 'P-6'").await;
    chain.execute("TRUNCATE cart_lines").await;
    chain.settled().await;
    until("the page of the other gateway", async || {
        let answer = chain.http.get(format!("http://{listen}/v1/product/P-4")).send().await.ok()?;
        let body: serde_json::Value = answer.json().await.ok()?;
        (body["price_pence"] == 41).then_some(())
    })
    .await;
    // Before anybody reads what is dead, and so removes it.
    until("the sweep", async || (swept().await > before).then_some(())).await;
    for user in 1..=5 {
        let read = chain.http.get(format!("http://{listen}/v1/profile/{user}")).send().await.expect("an answer");
        assert!(read.status().is_success());
    }
    gateway.stop().await;
    engine.stop().await;
    for url in &nodes {
        let log = redis::cmd("ACL").arg("LOG").query_async(&mut connect(url).await).await;
        let log: Vec<HashMap<String, redis::Value>> = log.expect("the log");
        let refused = log.iter().map(|entry| format!("{:?} by {:?}", entry["object"], entry["username"]));
        // The client introduces itself, and goes on where that is refused.
        let refused: Vec<String> = refused.filter(|what| !what.contains("client|setinfo")).collect();
        assert!(refused.is_empty(), "{url}: {refused:?}");
    }
    chain.engine = Some(chain.setting.engine());
}
