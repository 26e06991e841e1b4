//! Another partition count: a second installation beside the first, on the same servers; readers are switched once it is warm.

use std::net::TcpListener;

use tempfile::TempDir;

use crate::harness::{Lockstep, Program, until};
use crate::load::Load;
use crate::readers::{KEPT_MIN, Readers};
use crate::shop::{DRAIN_LIMIT, Page};
use crate::site::{LIMIT, PARTITIONS, Site, path};

/// What tells it from the first one, beside its partitions and its gateway.
const FILE: &str = "namespace = \"second\"\n\
                    [database]\nslot = \"lockstep_second\"\n\
                    [kafka]\ntopic_prefix = \"second\"\n\
                    [edge]\nresponse_ms_max = 1000\n";
const MORE_PARTITIONS: usize = 2 * PARTITIONS;

const CONFIGURED_WRONGLY: i32 = 78;

struct Second {
    lockstep: Lockstep,
    gateway: String,
    _folder: TempDir,
}

impl Second {
    fn beside(site: &Site) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lockstep.toml");
        std::fs::write(&file, FILE).expect("a configuration");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let listen = format!("127.0.0.1:{port}");
        let lockstep = site.shop.lockstep.clone().set("LOCKSTEP_CONFIG", file.to_str().expect("a path"));
        let lockstep = lockstep.set("LOCKSTEP_PARTITIONS", &MORE_PARTITIONS.to_string());
        let lockstep = lockstep.set("LOCKSTEP_GATEWAY_LISTEN", &listen);
        Second { lockstep, gateway: format!("http://{listen}"), _folder: folder }
    }

    fn start(&self) -> Program {
        let roles = self.lockstep.start(&["run", "--role", "ingest,engine,gateway"]);
        until("its gateway to be ready", LIMIT, || Page::get(&self.gateway, "/readyz").filter(Page::is_ok));
        roles
    }
}

/// Its slot alone does not make it another installation.
fn two_logs_in_one_are_refused(site: &Site) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lockstep.toml");
    std::fs::write(&file, "[database]\nslot = \"lockstep_second\"\n").expect("a configuration");
    let lockstep = site.shop.lockstep.clone().set("LOCKSTEP_CONFIG", file.to_str().expect("a path"));
    let word = "hold the log of slot lockstep, not of lockstep_second";
    let ended = lockstep.run(&["run", "--role", "ingest"]);
    assert!(ended.code == Some(CONFIGURED_WRONGLY) && ended.stderr.contains(word), "{ended}");
    let checked = lockstep.run(&["check"]);
    assert!(checked.code != Some(0) && checked.stdout.contains(word), "{checked}");
}

/// Readers keep their hits, before they are switched and after; each installation stays right while both are there.
pub fn another_partition_count(site: &mut Site) {
    let (load, readers) = (Load::start(site), Readers::start(site));
    let before = readers.ratio();
    two_logs_in_one_are_refused(site);
    let second = Second::beside(site);
    let roles = second.start();
    second.lockstep.ask(&["warm", "product_all"]);
    let during = readers.ratio();
    readers.switch_to(&second.gateway);
    let after = readers.ratio();
    eprintln!("hit ratio {before:.3} before, {during:.3} beside a second installation, {after:.3} at its gateway");
    assert!(during >= before * KEPT_MIN && after >= before * KEPT_MIN, "hit ratio {during}, {after} after {before}");

    let (changes, reads, _, backwards) = load.end();
    assert!(changes > 0 && reads > 0 && backwards.is_empty(), "{backwards:?}");
    let lsn = site.shop.commit("SELECT 1");
    for lockstep in [&site.shop.lockstep, &second.lockstep] {
        lockstep.ask(&["wait", "--for", &lsn, "--tier", "l2", "--timeout", "30s"]);
        // It ends well only if no copy on any node is stale.
        lockstep.ask(&["audit", "--full", "--once"]);
    }
    let epochs = "SELECT string_agg(slot || ' ' || count, ', ' ORDER BY slot) \
                  FROM (SELECT slot, count(*) FROM lockstep.epoch GROUP BY slot) AS s";
    assert_eq!(site.shop.sql(epochs), "lockstep 1, lockstep_second 1", "neither began anew for the other");

    let first = std::mem::replace(&mut site.roles, roles);
    first.terminate();
    assert_eq!(first.wait(DRAIN_LIMIT).code, Some(0));
    site.shop.sql("SELECT pg_drop_replication_slot('lockstep')");
    let lsn = site.shop.commit("UPDATE products SET name = 'second' WHERE product_id = 'P1'");
    second.lockstep.ask(&["wait", "--for", &lsn, "--tier", "l2", "--timeout", "30s"]);
    let page = Page::get(&second.gateway, &path("P1")).filter(Page::is_ok).expect("a page");
    assert!(page.body.contains("second"), "{}", page.body);
}
