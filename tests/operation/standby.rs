//! Two ingests: one streams, one stands by. Their metrics and `status` say which.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::chain::status;
use crate::harness::until;
use crate::shop::{DRAIN_LIMIT, Page, Shop};

const LIMIT: Duration = Duration::from_secs(30);

/// An address for metrics that nobody listens on.
pub fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// What is served there, by name, where it is Prometheus' text to the last line.
fn metrics(address: &str) -> Option<BTreeMap<String, f64>> {
    let page = Page::get(address, "/metrics").filter(Page::is_ok)?;
    let media = page.header("content-type").expect("a media type");
    assert!(media.starts_with("text/plain; version=0.0.4"), "{media}");
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        assert!(name.starts_with("lockstep_"), "{line}");
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    };
    Some(page.body.lines().filter(|line| !line.starts_with('#')).map(sample).collect())
}

/// `streaming`: where the process that streams serves its metrics.
pub fn of_two_one_stands_by(shop: &Shop, streaming: &str) {
    let standing_by = free_address();
    let second = shop.lockstep.clone().set("LOCKSTEP_METRICS_LISTEN", &standing_by);
    let second = second.start(&["run", "--role", "ingest"]);
    second.line("standing by", LIMIT, |line| line.contains("standing by: another ingest streams").then_some(()));

    let counted = || Some(status(shop)).filter(|status| status["ingest"]["standing_by"] == 1);
    let told = until("status to count it", LIMIT, counted);
    assert!(told["ingest"]["streaming_pid"].is_string(), "{told}");
    assert!(told["ingest"]["retained_wal_bytes"].as_u64() > Some(0), "{told}");
    let text = shop.lockstep.ask(&["status"]);
    let first = text.lines().next().unwrap_or_default();
    assert!(first.contains("streaming: by process ") && first.ends_with(", standing by: 1"), "{first}");

    let kept = "lockstep_ingest_retained_wal_bytes";
    let ours = until("retained bytes", LIMIT, || metrics(streaming).filter(|metrics| metrics[kept] > 0.0));
    assert_eq!((ours["lockstep_ingest_streaming"], ours["lockstep_ingest_epoch"]), (1.0, 1.0), "{ours:?}");
    assert!(ours["lockstep_ingest_rows_total"] >= 4.0, "{ours:?}");
    let theirs = metrics(&standing_by).expect("metrics of who stands by");
    assert_eq!((theirs["lockstep_ingest_streaming"], theirs["lockstep_ingest_rows_total"]), (0.0, 0.0), "{theirs:?}");

    second.terminate();
    let ended = second.wait(DRAIN_LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
    until("status to count nobody", LIMIT, || (status(shop)["ingest"]["standing_by"] == 0).then_some(()));
}
