//! The forecast's own commands need no server and no configuration.

use serde_json::Value;

use crate::case::{CALLED_WRONGLY, CONFIGURED_WRONGLY, Case, check};
use crate::harness::Lockstep;

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/online-retail-ii.csv.gz");
/// Made up, and small: 30 hours, in each of which 20 lines of the same 20 products are sold.
const STEADY_HOURS: u32 = 30;

fn steady() -> String {
    let mut text = "ts,product_id,kind,quantity\n".to_owned();
    for (hour, product) in (0..STEADY_HOURS).flat_map(|hour| (0..20).map(move |product| (hour, product))) {
        let (day, hour) = (hour / 24 + 1, hour % 24);
        text.push_str(&format!("2011-01-{day:02}T{hour:02}:30:00,P{product},purchase,1\n"));
    }
    text
}

#[test]
fn an_evaluation_in_each_form() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("steady.csv"), steady()).expect("written");
    let lockstep = Lockstep::new(folder.path());
    let evaluate = |rest: &str| {
        let arguments = format!("forecast evaluate --trace steady.csv --from 2011-01-01T10:00 --k 5,20 {rest}");
        let ended = lockstep.run(&arguments.split_whitespace().collect::<Vec<_>>());
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.stdout
    };
    let rows: Vec<Value> = serde_json::from_str(&evaluate("-o json")).expect("rows");
    assert_eq!(rows.len(), 8);
    for row in &rows {
        let (share, k) = (row["mean"].as_f64(), row["k"].as_u64());
        assert_eq!((share, row["weighted"].as_f64()), (k.map(|k| k as f64 / 20.0), share), "{row}");
        assert_eq!(row["hours"].as_u64(), Some(20));
    }
    assert_eq!(rows[1]["model"], "chosen");
    assert!(evaluate("").contains("coverage of 20 hours"));
    assert!(evaluate("--to 2011-01-01T12:00").contains("coverage of 2 hours"));
    assert!(evaluate("-o svg").starts_with("<svg"));
}

#[test]
fn what_an_evaluation_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    let lockstep = Lockstep::new(folder.path());
    let late = format!("forecast evaluate --trace {TRACE} --from 2031-01-01");
    let backwards = format!("forecast evaluate --trace {TRACE} --from 2011-01-02 --to 2011-01-01");
    let broken = "ts,product_id,kind\n2011-01-01T10:00:00,A,purchase\n2011-01-01T09:00:00,A,purchase\n";
    check(
        &lockstep,
        &[
            Case::new("a span beyond the trace", &late)
                .fails(CALLED_WRONGLY, &["no hour", "within 2009-12-01T07:45:00 to 2011-05-01T15:33:00"]),
            Case::new("a span without an hour", &backwards).fails(CALLED_WRONGLY, &["let --to be later"]),
            Case::new("a trace that is not there", "forecast evaluate --trace missing.csv --from 2011-01-01")
                .fails(CONFIGURED_WRONGLY, &["missing.csv", "No such file", "--trace"]),
            Case::new("a trace that goes back", "forecast evaluate --trace t.csv --from 2011-01-01")
                .file("t.csv", broken)
                .fails(CONFIGURED_WRONGLY, &["t.csv, line 3: the time goes back", "sort the trace"]),
        ],
    );
}

#[test]
fn the_bench_runs_small() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = "bench forecast --events 20000 --selections 100 -o json";
    let ended = Lockstep::new(folder.path()).run(&arguments.split_whitespace().collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended}");
    let figures: Value = serde_json::from_str(ended.stdout.lines().last().unwrap_or_default()).expect("an object");
    println!("{figures}");
    assert!(figures["seconds"].as_f64() > Some(0.0) && figures["reference_seconds"].as_f64() > Some(0.0));
    assert!(figures["rss_mb_max"].as_f64() < Some(50.0), "{figures}");
}
