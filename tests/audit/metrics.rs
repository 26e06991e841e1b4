//! What a running system with all roles tells of itself, under a policy of fifty views.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::Commands as _;

use crate::harness::until;
use crate::shop::{PRODUCTS, Shop};

const VIEWS: usize = 50;
const SERIES_MAX: usize = 3_000;
const READY_LIMIT: Duration = Duration::from_secs(60);
const WALK_LIMIT: Duration = Duration::from_secs(120);
const ROLES: &str = "ingest,engine,gateway,forecast,warmer,audit";
/// Part of a key that nobody else has.
const PLANTED: &str = "CUCKOO";
/// As its own configuration: quicker, for there is more to look at.
const AUDIT: &str = "[audit]\ncycle_s = 20\ncopies_per_second_min = 4000\n";
const MEDIA_TYPE: &str = "application/openmetrics-text";

/// One of each kind that an operator is to have.
const NAMES: [&str; 24] = [
    "lockstep_consumergroup_group_lag{",
    "lockstep_consumergroup_group_lag_seconds{",
    "lockstep_consumergroup_group_max_lag{",
    "lockstep_consumergroup_group_max_lag_seconds{",
    "lockstep_tier_age_seconds{",
    "lockstep_tier_age_bound_seconds{",
    "lockstep_stalled_partitions{",
    "lockstep_engine_stage_seconds_bucket{",
    "lockstep_engine_gate_waiting ",
    "lockstep_engine_gate_held ",
    "lockstep_engine_watermarks_forgotten_total{",
    "lockstep_reads_total{",
    "lockstep_read_seconds_count ",
    "lockstep_audit_checks_total{",
    "lockstep_audit_correct_ratio{",
    "lockstep_audit_regressions_total{",
    "lockstep_audit_repairs_put_off_total ",
    "lockstep_audit_commands_total{",
    "lockstep_ingest_retained_wal_bytes ",
    "lockstep_ingest_confirmed_timestamp_seconds ",
    "lockstep_ingest_rows_total ",
    "lockstep_parked_open{",
    "lockstep_forecast_lines_total ",
    "lockstep_warmer_hot_set_members ",
];

pub fn tell_all(shop: &mut Shop) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let (address, metrics) = (free.to_string(), format!("http://{free}/metrics"));
    shop.write("fifty.toml", &policy());
    shop.write("quick.toml", AUDIT);
    let lockstep = shop.lockstep.clone().set("LOCKSTEP_POLICY", "fifty.toml").set("LOCKSTEP_CONFIG", "quick.toml");
    // Without it nobody could tell which columns an update has left as they were.
    shop.sql("ALTER TABLE products REPLICA IDENTITY FULL");
    shop.run_as(&lockstep.clone().set("LOCKSTEP_METRICS_LISTEN", &address), ROLES);
    let ready = format!("{}/readyz", shop.endpoints().gateway);
    until("the gateway to be ready", READY_LIMIT, || (shop.get(&ready)?.0 == 200).then_some(()));
    fill_views(shop);
    something_happens(shop);

    let count = |start: &str| sum(&shop.text(&metrics, None), start);
    until("every view to be looked at", WALK_LIMIT, || {
        let text = shop.text(&metrics, None);
        let is_seen =
            |view: &usize| sum(&text, &format!("lockstep_audit_checks_total{{tier=\"l2\",view=\"v{view}\",")) > 0.0;
        (0..extra_views()).all(|view| is_seen(&view)).then_some(())
    });
    until("every stage to be gone through", WALK_LIMIT, || {
        let gone = |stage: &&str| count(&format!("lockstep_engine_stage_seconds_count{{stage=\"{stage}\"}}")) > 0.0;
        ["publish", "gate", "l2", "l1", "l3"].iter().all(gone).then_some(())
    });
    let parked = "lockstep_parked_open{by=\"ingest\",reason=\"row-too-large\"}";
    until("what is parked to be told", WALK_LIMIT, || (count(parked) >= 1.0).then_some(()));
    let orphans = "lockstep_audit_checks_total{tier=\"l2\",view=\"v1\",result=\"orphan\"}";
    until("the planted key to be found", WALK_LIMIT, || (count(orphans) > 0.0).then_some(()));
    // Nobody makes a pass for it: what may wait is not waited for without end.
    let overdue = "lockstep_audit_checks_total{tier=\"l2\",view=\"v0\",result=\"stale\"}";
    until("an overdue column to be found", WALK_LIMIT, || {
        // Whatever is filled meanwhile, the copy is old.
        let () = shop.l2().hset("v0:P81", "name", "an older name").expect("an old value");
        (count(overdue) > 0.0).then_some(())
    });
    an_entry_goes_backwards(shop, &metrics);

    let text = shop.text(&metrics, None);
    for name in NAMES {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}: {text}");
    }
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    eprintln!("{series} series of {VIEWS} views");
    assert!(series < SERIES_MAX, "{series} series of {VIEWS} views");
    for key in [PLANTED, "P1", "product:"] {
        assert!(!text.contains(key), "a key is told: {key}");
    }
    promtool_says_nothing(&text);
    let open_metrics = shop.text(&metrics, Some(MEDIA_TYPE));
    assert!(open_metrics.ends_with("# EOF\n"), "the end of an exposition");
    let of_gateway = shop.text(&format!("{}/metrics", shop.endpoints().gateway), None);
    assert!(of_gateway.contains("lockstep_reads_total{") && !of_gateway.contains("lockstep_audit"), "{of_gateway}");
    promtool_says_nothing(&of_gateway);
}

fn extra_views() -> usize {
    VIEWS - lockstep_schemas::policy::DEFAULT.matches("\n[views.").count()
}

/// The default policy, and more views of the same products. In one of them a column may wait.
fn policy() -> String {
    let view = |n| {
        let (view, column) = if n == 0 { ("deferred = \"1s\"\n", ", deferred = [\"name\"]") } else { ("", "") };
        format!(
            "\n[views.v{n}]\ngroup = \"catalogue\"\ntiers = [\"l2\"]\nkey = \"v{n}:{{product_id}}\"\nttl = \"1h\"\nbound = \"10s\"\n{view}\
             sources = [{{ table = \"public.products\", columns = [\"product_id\", \"name\"]{column} }}]\n"
        )
    };
    lockstep_schemas::policy::DEFAULT.to_owned() + &(0..extra_views()).map(view).collect::<String>()
}

/// An entry of each view, as one of another view has it: filling them all in turn would take a minute.
fn fill_views(shop: &Shop) {
    let mut l2 = shop.l2();
    // The traffic may have had it dropped, and nobody has asked for it since.
    for product in ["P81", "P90"] {
        shop.get(&format!("{}/v1/product/{product}", shop.endpoints().gateway));
    }
    let entry: BTreeMap<String, String> = l2.hgetall("product:all:P81").expect("an entry");
    let fields = ["product_id", "name", "_low", "_high", "_born"].map(|name| (name, entry[name].clone()));
    for key in (0..extra_views()).map(|n| format!("v{n}:P81")) {
        let () = l2.hset_multiple(&key, &fields).expect("an entry");
        let () = l2.pexpire(&key, 3_600_000).expect("an end");
    }
}

fn something_happens(shop: &Shop) {
    shop.sql(
        "UPDATE prices SET price_pence = price_pence + 1 WHERE product_id = 'P1'; \
         UPDATE users SET name = name || '!' WHERE user_id = 1; \
         INSERT INTO products (product_id, name, description) VALUES ('HUGE', 'a bowl', \
         (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 40000) n))",
    );
    let () = shop.l2().hset(format!("v1:{PLANTED}"), "name", "of nobody's").expect("an entry of no row");
    shop.fill_edge();
    shop.sql("UPDATE prices SET price_pence = price_pence + 1 WHERE product_id = 'P1'");
    shop.get(&format!("{}/v1/product/P1", shop.endpoints().gateway));
}

/// An older state of an entry comes back, as from a node that forgot.
fn an_entry_goes_backwards(shop: &Shop, metrics: &str) {
    let count = |start: &str| sum(&shop.text(metrics, None), start);
    let (key, mut l2) = ("product:all:P90", shop.l2());
    let older: Vec<u8> = redis::cmd("DUMP").arg(key).query(&mut l2).expect("a dump");
    shop.sql("UPDATE prices SET price_pence = price_pence + 1 WHERE product_id = 'P90'");
    shop.settle();
    // Each walk counts the entries of the primary and those of the replica.
    let checks = "lockstep_audit_checks_total{tier=\"l2\",view=\"product_all\",result=\"same\"}";
    let before = count(checks);
    let walked = || (count(checks) > before + 4.0 * PRODUCTS as f64).then_some(());
    until("the newer one to have been seen", WALK_LIMIT, walked);
    let backwards = "lockstep_audit_regressions_total{tier=\"l2\",of=\"entry\"}";
    let was = count(backwards);
    let restore = redis::cmd("RESTORE").arg(key).arg(3_600_000).arg(older).arg("REPLACE").query::<()>(&mut l2);
    restore.expect("the older entry");
    until("the entry to be seen to have gone backwards", WALK_LIMIT, || (count(backwards) > was).then_some(()));
}

/// The sum of all series that begin so.
fn sum(text: &str, start: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn promtool_says_nothing(text: &str) {
    let mut command = Command::new(promtool());
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool: run scripts/bootstrap");
    promtool.stdin.take().expect("its input").write_all(text.as_bytes()).expect("metrics written");
    let ended = promtool.wait_with_output().expect("its end");
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && said.is_empty(), "promtool complains:\n{said}");
}

/// Where scripts/bootstrap puts it.
fn promtool() -> PathBuf {
    let cache = std::env::var_os("LOCKSTEP_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/lockstep");
    cache.unwrap_or_else(home).join("promtool-2.42/promtool")
}
