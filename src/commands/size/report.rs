//! What `size` tells, and how it comes to it.

use lockstep_schemas::policy::HotSet;
use lockstep_warmer::distances::Distances;
use serde::Serialize;

use super::reads::{Cost, Measured, ViewSize};
use crate::output;

/// Points of the curve, in hundredths of all names.
const PARTS: [usize; 9] = [1, 2, 5, 10, 20, 40, 60, 80, 100];
/// A node's one thread that is busier than this makes its readers wait.
const BUSY_MAX: f64 = 0.6;
/// Of fewer asks that count, hit ratios are told with a warning: they are off by more than three points in a case of twenty.
const ASKED_MIN: u64 = 1_000;
/// The hit ratio of which the fewest entries are told.
const HIT_RATIO_WANTED: f64 = 0.8;

/// Where what is asked for is known from.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Asked {
    pub by: String,
    pub asked: u64,
    pub names: usize,
}

/// The hit ratio of an LRU by its size.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Curve {
    pub points: Vec<Point>,
    /// The fewest entries that hit 80 %; `null`: none do.
    pub entries_for_80_percent: Option<usize>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    pub entries: usize,
    /// `null`: no entry was there to be measured.
    pub bytes: Option<f64>,
    pub hit_ratio: f64,
}

/// Nodes for the requests.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Nodes {
    pub tier: &'static str,
    /// Requests a second that come to it.
    pub requests: f64,
    pub by_cpu: Option<u64>,
    /// Bytes that its views want together.
    pub bytes: Option<f64>,
    /// By what a node may hold now; `null`: no bound is set there.
    pub by_memory: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Size {
    pub views: Vec<ViewSize>,
    pub asked: Asked,
    pub curve: Curve,
    pub costs: Vec<Cost>,
    pub requests_per_second: u64,
    /// Entries reckoned for L1's hot view.
    pub hot_entries: usize,
    /// What an LRU of so many would hit: the part of requests that L1 answers.
    pub l1_share: f64,
    pub nodes: Vec<Nodes>,
    pub how: Vec<String>,
    /// Why hit ratios, and what follows from them, are not to be relied on; `null`: they are.
    pub warning: Option<String>,
}

impl Curve {
    pub fn of(distances: &Distances, views: &[ViewSize]) -> Curve {
        let bytes_mean = views.iter().find(|view| view.is_hot).and_then(|view| view.bytes_mean);
        let bytes_mean = bytes_mean.or_else(|| views.iter().find_map(|view| view.bytes_mean));
        let point = |part: usize| {
            let entries = (distances.names() * part).div_ceil(100).max(1);
            let bytes = bytes_mean.map(|mean| mean * entries as f64);
            Point { entries, bytes, hit_ratio: distances.hit_ratio(entries).unwrap_or(0.0) }
        };
        let points = PARTS.map(point).to_vec();
        Curve { points, entries_for_80_percent: distances.entries_for(HIT_RATIO_WANTED) }
    }

    /// Between two points, on the line from one to the other.
    fn at(&self, entries: usize) -> f64 {
        let mut before = (0.0, 0.0);
        for point in &self.points {
            let here = (point.entries as f64, point.hit_ratio);
            if point.entries >= entries {
                let part = (entries as f64 - before.0) / (here.0 - before.0).max(1.0);
                return before.1 + (here.1 - before.1) * part.clamp(0.0, 1.0);
            }
            before = here;
        }
        before.1
    }
}

impl Size {
    pub fn of(measured: Measured, asked: Asked, curve: Curve, requests: u64, hot_set: HotSet) -> Size {
        let Measured { views, costs } = measured;
        let entities = views.iter().find(|view| view.is_hot).map_or(asked.names as u64, |view| view.entities);
        let hot_entries = match hot_set {
            HotSet::Top(entries) => entries,
            HotSet::Share(percent) => usize::try_from(entities * u64::from(percent) / 100).unwrap_or(usize::MAX),
            HotSet::Covering(_) => curve.entries_for_80_percent.unwrap_or(asked.names),
        };
        let l1_share = curve.at(hot_entries);
        let nodes = costs.iter().map(|cost| {
            let share = if cost.tier == "l1" { l1_share } else { 1.0 - l1_share };
            nodes(cost, &views, requests as f64 * share, hot_entries)
        });
        let nodes = nodes.collect();
        let (how, warning) = (how(&asked, requests, l1_share), warning(&asked));
        Size { views, asked, curve, costs, requests_per_second: requests, hot_entries, l1_share, nodes, how, warning }
    }
}

fn nodes(cost: &Cost, views: &[ViewSize], requests: f64, hot_entries: usize) -> Nodes {
    let whole = |nodes: f64| nodes.ceil().max(1.0) as u64;
    let of_view = |view: &ViewSize| {
        let entries = if view.is_hot { view.entities.min(hot_entries as u64) } else { view.entities };
        view.bytes_mean.map(|mean| mean * entries as f64)
    };
    let bytes: Vec<f64> = views.iter().filter(|view| view.tier == cost.tier).filter_map(of_view).collect();
    let bytes = (!bytes.is_empty()).then(|| bytes.iter().sum::<f64>());
    let a_node = cost.bytes_max.map(|bytes| bytes as f64 / cost.primaries.max(1) as f64);
    Nodes {
        tier: cost.tier,
        requests,
        by_cpu: cost.cpu_us.map(|us| whole(requests * us / 1e6 / BUSY_MAX)),
        bytes,
        by_memory: bytes.zip(a_node).map(|(bytes, a_node)| whole(bytes / a_node)),
    }
}

fn warning(asked: &Asked) -> Option<String> {
    let Asked { asked, names, .. } = asked;
    // Half the width of the interval that holds 19 of 20, where it is widest.
    let points = 98.0 / (*asked as f64).max(1.0).sqrt();
    (*asked < ASKED_MIN).then(|| {
        format!(
            "only {asked} asks for {names} products count, so that each hit ratio may be {points:.0} points off, and the nodes \
             with it; let the shop sell for a while, or name a trace with --trace"
        )
    })
}

fn how(asked: &Asked, requests: u64, l1_share: f64) -> Vec<String> {
    vec![
        "bytes: MEMORY USAGE of entries that are there, in key order; the mean stands for all".to_owned(),
        format!(
            "hit ratio: stack distances of {} asks for {} products by {}; the first half only taught the cache. It is that of an \
             LRU: a warmed set does better",
            asked.asked, asked.names, asked.by
        ),
        "a read's cost: CPU that the servers say they spent on 20,000 reads, less what they spend anyway".to_owned(),
        format!(
            "nodes: {requests} requests/s, of which L1 answers {:.0} % and L2 the rest; a node has one thread, busy for at most 60 %. \
             Replicas, failed nodes, network and what the edge keeps away are not reckoned with",
            l1_share * 100.0
        ),
    ]
}

pub(super) fn print(size: &Size) {
    let megabytes =
        |bytes: Option<f64>| bytes.map_or("-".to_owned(), |bytes| format!("{:.1}", bytes / f64::from(1 << 20)));
    output::line("view                tier  bytes an entry  entities   MB of all  measured");
    for view in &size.views {
        output::line(&format!(
            "{:<18}  {:<4}  {:>14}  {:>8}  {:>10}  {:>8}",
            view.view,
            view.tier,
            view.bytes_mean.map_or("-".to_owned(), |mean| format!("{mean:.0}")),
            view.entities,
            megabytes(view.bytes_mean.map(|mean| mean * view.entities as f64)),
            view.sampled
        ));
    }
    output::line("\nentries        MB  hit ratio of an LRU");
    for point in &size.curve.points {
        output::line(&format!(
            "{:>7}  {:>8}  {:>6.1} %",
            point.entries,
            megabytes(point.bytes),
            point.hit_ratio * 100.0
        ));
    }
    let fewest = size.curve.entries_for_80_percent.map_or("no number".to_owned(), |entries| entries.to_string());
    output::line(&format!("80 % need {fewest} of entries; the policy's hot set has {}", size.hot_entries));
    output::line("\ntier  requests/s  us of CPU a read  nodes by CPU  MB wanted  nodes by memory");
    let count = |nodes: Option<u64>| nodes.map_or("-".to_owned(), |nodes| nodes.to_string());
    for (nodes, cost) in size.nodes.iter().zip(&size.costs) {
        output::line(&format!(
            "{:<4}  {:>10.0}  {:>16}  {:>12}  {:>9}  {:>15}",
            nodes.tier,
            nodes.requests,
            cost.cpu_us.map_or("-".to_owned(), |us| format!("{us:.1}")),
            count(nodes.by_cpu),
            megabytes(nodes.bytes),
            count(nodes.by_memory)
        ));
    }
    output::line("");
    size.how.iter().for_each(|line| output::line(line));
    if let Some(warning) = &size.warning {
        output::line(&format!("warning: {warning}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(tier: &'static str, is_hot: bool) -> ViewSize {
        ViewSize { view: "v".to_owned(), tier, entities: 1_000, sampled: 9, bytes_mean: Some(100.0), is_hot }
    }

    #[test]
    fn nodes_by_what_a_read_costs_and_by_what_a_node_holds() {
        let cost = |tier, cpu_us, bytes_max| Cost { tier, primaries: 2, reads: 1, cpu_us, used_bytes: 0, bytes_max };
        let views = [view("l1", true), view("l2", false)];
        let l1 = nodes(&cost("l1", Some(12.0), Some(10_000)), &views, 100_000.0, 300);
        assert_eq!((l1.by_cpu, l1.bytes, l1.by_memory), (Some(2), Some(30_000.0), Some(6)));
        let l2 = nodes(&cost("l2", None, None), &views, 100_000.0, 300);
        assert_eq!((l2.by_cpu, l2.bytes, l2.by_memory), (None, Some(100_000.0), None));
    }

    #[test]
    fn few_asks_are_said_to_be_few() {
        let warning = |asked| super::warning(&Asked { by: "lines".to_owned(), asked, names: 9 });
        assert_eq!(warning(1_000), None);
        for (asked, points) in [(1, "98 points"), (100, "10 points"), (999, "3 points")] {
            assert!(warning(asked).is_some_and(|text| text.contains(points)), "{asked}");
        }
    }

    #[test]
    fn between_two_points_lies_a_line() {
        let point = |entries, hit_ratio| Point { entries, bytes: None, hit_ratio };
        let curve = Curve { points: vec![point(10, 0.2), point(30, 0.6)], entries_for_80_percent: None };
        for (entries, expected) in [(5, 0.1), (10, 0.2), (20, 0.4), (30, 0.6), (90, 0.6)] {
            assert!((curve.at(entries) - expected).abs() < 1e-9, "{entries}");
        }
    }
}
