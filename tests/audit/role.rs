//! The role audit, by its metrics and its readiness.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::harness::{Program, until};
use crate::shop::Shop;

/// The stated time is 20 s; from the start to the first walk's end on a slow machine.
const WALK_LIMIT: Duration = Duration::from_secs(60);
const CONTENT_LIMIT: Duration = Duration::from_secs(60);
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
const WRONG: [&str; 3] = ["stale", "missing", "orphan"];

pub struct Role {
    address: String,
    http: reqwest::Client,
    runtime: Arc<Runtime>,
    program: std::cell::RefCell<Option<Program>>,
}

impl Role {
    pub fn start(shop: &Shop) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let address = format!("127.0.0.1:{port}");
        let program = run(shop, &address);
        let (http, runtime) = (shop.http.clone(), shop.runtime.clone());
        Role { address, http, runtime, program: std::cell::RefCell::new(Some(program)) }
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        self.runtime.block_on(async {
            let answer = self.http.get(format!("http://{}{path}", self.address)).send().await.ok()?;
            Some((answer.status().as_u16(), answer.text().await.ok()?))
        })
    }

    /// The sum of a metric's series that have all of these labels.
    fn sum(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let (_, text) = self.get("/metrics")?;
        let lines =
            text.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        Some(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    fn wrong(&self) -> Option<f64> {
        let of = |result: &&str| self.sum("lockstep_audit_checks_total", &[&format!("result=\"{result}\"")]);
        WRONG.iter().map(of).sum()
    }

    pub fn looks_at_every_tier(&self) {
        for tier in ["l2", "l1", "l3"] {
            let of_tier = format!("tier=\"{tier}\"");
            let labels = [&*of_tier, "result=\"same\""];
            until(tier, WALK_LIMIT, || self.sum("lockstep_audit_checks_total", &labels).filter(|count| *count > 0.0));
        }
        until("the role to be ready", WALK_LIMIT, || self.get("/readyz").filter(|(status, _)| *status == 200));
        let (_, text) = self.get("/metrics").expect("metrics");
        check_form(&text);
    }

    pub fn has_found_nothing(&self) {
        assert_eq!(self.wrong(), Some(0.0), "{}", self.said());
        assert_eq!(self.sum("lockstep_stalled_partitions", &[]), Some(0.0));
    }

    /// Every fault within the stated time; on replicas some are met a second time, and each walk meets all of them.
    pub fn finds(&self, faults: u64) {
        let began = Instant::now();
        until("all faults", WALK_LIMIT, || self.wrong().filter(|wrong| *wrong >= faults as f64));
        eprintln!("{faults} faults, found by the role in {:.1?}", began.elapsed());
        assert!(self.said().contains("a copy is wrong"), "{}", self.said());
    }

    /// What was wrong at the edge is mended while nobody audits: the next one can only know it from the one before.
    pub fn remembers_over_a_restart(&self, shop: &Shop) {
        let ratio = || self.sum("lockstep_audit_correct_ratio", &["view=\"product_page\"", "window=\"1h\""]);
        let was_wrong = || ratio().filter(|ratio| *ratio > 0.0 && *ratio < 1.0);
        until("the window to know of the faults", WALK_LIMIT, was_wrong);
        let program = self.program.take().expect("a role that runs");
        program.terminate();
        let ended = program.wait(DRAIN_LIMIT);
        assert_eq!(ended.code, Some(0), "{ended}");
        (1..=10).for_each(|n| shop.purge(&format!("P{n}")));
        *self.program.borrow_mut() = Some(run(shop, &self.address));
        until("the role to know what was", WALK_LIMIT, || ratio().filter(|ratio| *ratio > 0.0));
        assert!(was_wrong().is_some(), "{:?}", ratio());
    }

    pub fn stays_ready_for(&self, time: Duration) {
        until("the role to be ready", WALK_LIMIT, || self.get("/readyz").filter(|(status, _)| *status == 200));
        let began = Instant::now();
        until("the time to pass", time * 2, || {
            let (status, why) = self.get("/readyz").expect("an answer");
            assert_eq!(status, 200, "{why}");
            (began.elapsed() >= time).then_some(())
        });
    }

    pub fn complains_within(&self, limit: Duration, why: &str, mut change: impl FnMut()) {
        let began = Instant::now();
        until("a complaint", limit, || {
            change();
            self.get("/readyz").filter(|(status, text)| *status == 503 && text.contains(why))
        });
        eprintln!("`{why}` stands still: told after {:.1?}", began.elapsed());
    }

    pub fn is_content_again(&self) {
        until("no complaint", CONTENT_LIMIT, || self.get("/readyz").filter(|(status, _)| *status == 200));
    }

    fn said(&self) -> String {
        self.program.borrow().as_ref().map(Program::text).unwrap_or_default()
    }
}

fn run(shop: &Shop, address: &str) -> Program {
    shop.lockstep.clone().set("LOCKSTEP_METRICS_LISTEN", address).start(&["run", "--role", "audit"])
}

/// The rules of Prometheus for names, labels and values, and that there are few series.
fn check_form(text: &str) {
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(series.len() < 300, "{} series of six views and four partitions", series.len());
    assert!(text.ends_with("# EOF\n"), "the end of an exposition");
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.chars().all(plain) && name.starts_with("lockstep_") && !name.contains("__")
    };
    for line in series {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().unwrap_or(name);
        assert!(is_name(name), "{line}");
        assert!(!line.contains("P1") && !line.contains("product:"), "a key is a label: {line}");
    }
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().expect("a name"), words.next().expect("a type"));
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert!(!(kind != "counter" && name.ends_with("_total")), "{line}");
    }
}
