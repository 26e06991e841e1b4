//! The warmer beside a whole chain: what it fills and lets go, when it stops, what views teach, how large things are.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::config::Url;
use lockstep_schemas::policy::{DEFAULT, Policy, TierName};
use lockstep_schemas::topics;
use lockstep_stack::Service;
use lockstep_tiers::{Layout, Tier};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::feeds::{Feed, SECOND, hot, now};
use crate::harness::process::send;
use crate::harness::until;
use crate::shop::{PARTITIONS, Shop, WAIT_MAX};

/// A role ends within it, whatever is away.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Who has left the set is let go 15 s later, and a look comes each second.
const LEFT_AFTER: Duration = Duration::from_secs(18);
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[test]
fn what_the_warmer_does_beside_a_chain() {
    let mut shop = Shop::whole();
    // Behind by so much, a tier is left alone.
    shop.set_policy(&DEFAULT.replacen("ttl = \"2h\"", "ttl = \"2h\"\nbound = \"5s\"", 1));
    let engine = shop.role("engine");
    let gateway_at = shop.gateway();
    let _gateway = shop.role_with("gateway", &[("LOCKSTEP_GATEWAY_VIEWS", "1")]);
    until("a gateway that is ready", WAIT_MAX, || {
        get(&gateway_at, "/readyz", "").filter(|page| page.contains("200 OK"))
    });
    let metrics = free_address();
    let mut warmer = shop.role_with("warmer", &[("LOCKSTEP_METRICS_LISTEN", &metrics)]);
    let metric = |name: &str| get(&metrics, "/metrics", "").and_then(|text| sample(&text, name)).unwrap_or(0.0);
    let feed = Feed::of(&shop);

    // Filled, and its pages lie at the edge.
    let l1 = L1::of(&shop);
    feed.scores(&[("P1", 4.0), ("P2", 3.0), ("P3", 2.0), ("P4", 1.0)], now() - 9 * SECOND);
    assert_eq!(hot(&shop, 1), ["P1", "P2", "P3", "P4"]);
    assert!(l1.has("P1") && l1.has("P4"), "they were filled before they were announced");
    until("pages at the edge", WAIT_MAX, || (metric("lockstep_warmer_pages_total") >= 4.0).then_some(()));

    // A forecast of what the catalogue does not have changes nothing, in the set or in L1.
    feed.scores(&[("ghost", 9.0)], now() + 9 * SECOND);
    until("a word of it", WAIT_MAX, || {
        shop.values(topics::PARKED).iter().any(|word| word["reason"] == "unknown_product").then_some(())
    });
    let began = Instant::now();
    until("the time after which who has left is let go", WAIT_MAX, || {
        assert!(metric("lockstep_warmer_entries_let_go_total") < 1.0, "the last good set stays in L1");
        (began.elapsed() > LEFT_AFTER).then_some(())
    });
    assert!(l1.has("P1") && l1.has("P4"));

    // Who leaves the set is let go.
    feed.scores(&[("P1", 4.0), ("P2", 3.0)], now() + 9 * SECOND);
    assert_eq!(hot(&shop, 2), ["P1", "P2"]);
    until("two to be let go", WAIT_MAX, || (metric("lockstep_warmer_entries_let_go_total") >= 2.0).then_some(()));
    assert!(l1.has("P1") && !l1.has("P3") && !l1.has("P4"));
    assert!(metric("lockstep_warmer_wasted_bytes_total") > 0.0, "nobody had asked for them");

    views_teach(&shop, &gateway_at);
    size_is_told(&shop);

    // Without an engine the tiers fall behind.
    send(engine.pid(), libc::SIGKILL);
    let mut number = 10;
    until("the warmer to stop", WAIT_MAX, || {
        number += 1;
        feed.scores(&[(&format!("P{}", number % 60), 9.0)], now() + 9 * SECOND);
        (metric("lockstep_warmer_halts_total{why=\"tier_behind\"}") >= 1.0).then_some(())
    });

    // Without Kafka views are dropped, and readers don't notice; and who has to end does.
    shop.kill(Service::Kafka);
    until("views to be dropped", WAIT_MAX, || {
        let page = get(&gateway_at, "/v1/product/P6", "").expect("a page");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        let dropped = sample(&get(&gateway_at, "/metrics", "")?, "lockstep_views_dropped_total")?;
        (dropped > 0.0).then_some(())
    });
    warmer.terminate();
    assert_eq!(warmer.exit_code(DRAIN_MAX), Some(0));
}

/// Readers' views are published, the warmer's own are not; and the forecast learns from them.
fn views_teach(shop: &Shop, gateway: &str) {
    let view = |product: &str, header: &str| {
        let page = get(gateway, &format!("/v1/product/{product}"), header).expect("a page");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    };
    view("P5", "lockstep-warming: 1\r\n");
    get(gateway, "/v1/product/nobody", "").expect("an answer");
    view("P6", "");
    let viewed = until("a view", WAIT_MAX, || Some(shop.values(topics::VIEWS)).filter(|views| !views.is_empty()));
    let products: Vec<&Value> = viewed.iter().map(|view| &view["product"]).collect();
    assert_eq!(products, ["P6"], "neither the warmer's nor what is not there, nor pages warmed at the edge");
    let forecast = shop.forecast();
    forecast.line("it to run", WAIT_MAX, |line| line.contains("the forecast runs").then_some(()));
    let scores = until("a score by views", WAIT_MAX, || {
        view("P7", "");
        shop.newest_scores().remove("P7")
    });
    assert!(scores.score > 0.0);
}

/// From a trace, and from the tiers as they are.
fn size_is_told(shop: &Shop) {
    let mut trace = "ts,product_id,kind\n".to_owned();
    for number in 0..2_000 {
        trace.push_str(&format!("2011-01-01T10:00:00,P{},purchase\n", number % 4));
    }
    let size =
        shop.ask_with_file("trace.csv", &trace, &["size", "--trace", "trace.csv", "--requests", "50000", "-o", "json"]);
    let size: Value = serde_json::from_str(&size).expect("JSON");
    let view =
        |name: &str| size["views"].as_array().and_then(|views| views.iter().find(|view| view["view"] == name)).cloned();
    let hot = view("product_hot").expect("the hot view");
    assert!(hot["bytes_mean"].as_f64() > Some(100.0) && hot["sampled"].as_u64() >= Some(2), "{hot}");
    let points = size["curve"]["points"].as_array().expect("points");
    assert_eq!(points.last().map(|point| (&point["entries"], &point["hit_ratio"])), Some((&4.into(), &1.0.into())));
    assert_eq!(size["curve"]["entries_for_80_percent"], 4, "four products in turn: an LRU of three never hits");
    for nodes in size["nodes"].as_array().expect("tiers") {
        assert!(nodes["by_cpu"].as_u64() >= Some(1), "{size}");
    }
    assert_eq!(size["how"].as_array().map(Vec::len), Some(4));
}

struct L1 {
    runtime: Runtime,
    tier: Tier,
    policy: Policy,
}

impl L1 {
    fn of(shop: &Shop) -> Self {
        let policy = Policy::parse(DEFAULT).expect("a policy");
        let runtime = Runtime::new().expect("a runtime");
        let url = |url: &String| Url::parse("Redis", url, &["redis"]).expect("a URL");
        let urls: Vec<Url> = shop.endpoints().l1.iter().map(url).collect();
        let layout = Arc::new(Layout::new(&policy, "", PARTITIONS));
        let tier = runtime.block_on(Tier::cluster(TierName::L1, &urls, layout)).expect("L1");
        L1 { runtime, tier, policy }
    }

    fn has(&self, product: &str) -> bool {
        let view = &self.policy.views["product_hot"];
        let place = self.tier.layout().place(&view.group, product);
        let entry = self.runtime.block_on(self.tier.entry(&place, &view.key.key(product)));
        !entry.expect("an answer").is_empty()
    }
}

pub fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// An answer, head and body; `None`: nobody answers.
pub fn get(server: &str, path: &str, header: &str) -> Option<String> {
    let mut stream = TcpStream::connect(server.trim_start_matches("http://")).ok()?;
    stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: shop\r\n{header}Connection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A sample of OpenMetrics text.
pub fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
