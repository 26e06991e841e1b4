//! The role audit, by its metrics and its readiness.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::faults::was_wrong_for_a_moment;
use crate::found::audit;
use crate::harness::{Lockstep, Program, until};
use crate::shop::{CYCLE, Shop};

/// The stated time is 20 s; from the start to the first walk's end on a slow machine.
const WALK_LIMIT: Duration = Duration::from_secs(60);
/// Two walks, the repairs at their pace, and the rounds at the edge.
const REPAIR_LIMIT: Duration = Duration::from_secs(90);
const CONTENT_LIMIT: Duration = Duration::from_secs(60);
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// Pages that the edge does not keep, and what it takes to ask for them at the least.
const UNKEPT: usize = 4_000;
const UNKEPT_SECONDS_MIN: f64 = 7.0;
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
        let program = run(&shop.lockstep, &address);
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

    /// Wrong copies, and what went backwards, so far.
    pub fn complaints(&self) -> f64 {
        self.wrong().expect("metrics") + self.sum("lockstep_audit_regressions_total", &[]).expect("metrics")
    }

    /// Copies in L2 that it has looked at so far.
    pub fn looks_at_l2(&self) -> f64 {
        self.sum("lockstep_audit_checks_total", &["tier=\"l2\""]).expect("metrics")
    }

    pub fn looks_at_every_tier(&self) {
        for tier in ["l2", "l1", "l3"] {
            let of_tier = format!("tier=\"{tier}\"");
            let labels = [&*of_tier, "result=\"same\""];
            until(tier, WALK_LIMIT, || self.sum("lockstep_audit_checks_total", &labels).filter(|count| *count > 0.0));
        }
        until("the role to be ready", WALK_LIMIT, || self.get("/readyz").filter(|(status, _)| *status == 200));
    }

    pub fn has_found_nothing(&self) {
        assert_eq!(self.wrong(), Some(0.0), "{}", self.said());
        assert_eq!(self.sum("lockstep_audit_regressions_total", &[]), Some(0.0), "{}", self.said());
        assert_eq!(self.sum("lockstep_stalled_partitions", &[]), Some(0.0));
    }

    /// Each fault by its evidence, and nothing else, within the stated time: one walk may have passed a copy just before.
    pub fn finds(&self, shop: &Shop, planted: &BTreeSet<(&'static str, String)>) {
        let began = Instant::now();
        let (mut left, mut invented) = (planted.clone(), BTreeSet::new());
        until("the evidence of every fault", CYCLE * 2, || {
            for note in noted(shop) {
                let text = |name: &str| note[name].as_str().expect("a text").to_owned();
                let (tier, key) = (text("tier"), text("key"));
                match planted.iter().find(|fault| (fault.0, &fault.1) == (&*tier, &key)) {
                    Some(fault) => drop(left.remove(fault)),
                    None if was_wrong_for_a_moment(&tier, &key) => {}
                    None => drop(invented.insert((tier, key))),
                }
                assert!(!note["fields"].as_array().expect("fields").is_empty(), "no evidence: {note}");
            }
            left.is_empty().then_some(())
        });
        assert!(invented.is_empty(), "nobody has planted {invented:?}");
        eprintln!("{} faults, found one by one by the role in {:.1?}", planted.len(), began.elapsed());
        assert!(self.said().contains("a copy is wrong"), "{}", self.said());
        let is_known = |note: &Value| note["touched"]["table"].is_string() && note["touched"]["offset"].is_i64();
        until("what touched some last", WALK_LIMIT, || noted(shop).iter().any(is_known).then_some(()));
    }

    /// Restarted with leave to repair, it has every wrong copy dropped, in every tier; and says so of each.
    pub fn repairs_all(&self, shop: &Shop, planted: usize) {
        self.end();
        *self.program.borrow_mut() = Some(run(&shop.repairing(), &self.address));
        let began = Instant::now();
        until("nothing to be wrong any more", REPAIR_LIMIT, || (audit(&shop.lockstep).code == Some(0)).then_some(()));
        eprintln!("{planted} faults, repaired by the role in {:.1?}", began.elapsed());
        let asked = self.sum("lockstep_audit_repairs_total", &[]).expect("metrics");
        assert!(asked > 0.0 && asked <= planted as f64, "{asked} repairs");
        let repaired = || noted(shop).iter().filter(|note| note["repaired_at"].is_i64()).count();
        until("a word of each repair", WALK_LIMIT, || (repaired() >= planted).then_some(()));
        assert!(self.said().contains("a wrong copy is repaired"), "{}", self.said());
    }

    /// All is right by now: that it was not, a new process can only know from the one before.
    pub fn remembers_over_a_restart(&self, shop: &Shop) {
        let ratio = || self.sum("lockstep_audit_correct_ratio", &["view=\"product_page\"", "window=\"1h\""]);
        let was_wrong = || ratio().filter(|ratio| *ratio > 0.0 && *ratio < 1.0);
        until("the window to know of the faults", WALK_LIMIT, was_wrong);
        self.end();
        *self.program.borrow_mut() = Some(run(&shop.lockstep, &self.address));
        until("the role to know what was", WALK_LIMIT, || ratio().filter(|ratio| *ratio > 0.0));
        assert!(was_wrong().is_some(), "{:?}", ratio());
    }

    /// An edge that keeps next to nothing is asked for its pages no faster than one that keeps all.
    pub fn pays_for_pages_that_are_not_kept(&self, shop: &Shop) {
        shop.sql(&format!(
            "INSERT INTO products (product_id, name) SELECT 'E' || n, 'cup' FROM generate_series(1, {UNKEPT}) n"
        ));
        // At 400 a second; no walk over the few pages before took a second of that.
        let took = || self.sum("lockstep_audit_cycle_seconds", &["tier=\"l3\""]);
        until("a walk that takes its time", WALK_LIMIT, || took().filter(|seconds| *seconds > UNKEPT_SECONDS_MIN));
    }

    fn end(&self) {
        let program = self.program.take().expect("a role that runs");
        program.terminate();
        let ended = program.wait(DRAIN_LIMIT);
        assert_eq!(ended.code, Some(0), "{ended}");
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

fn run(lockstep: &Lockstep, address: &str) -> Program {
    lockstep.clone().set("LOCKSTEP_METRICS_LISTEN", address).start(&["run", "--role", "audit"])
}

/// What the role has kept.
fn noted(shop: &Shop) -> Vec<Value> {
    serde_json::from_str(&shop.lockstep.ask(&["audit", "--noted", "-o", "json"])).expect("JSON")
}
