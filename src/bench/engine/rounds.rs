//! Rounds over L2: the same rows by plain `HSET` and by the engine's calls, in turn, for evenly chosen products and for
//! those of a shop.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use lockstep_coherence::Planner;
use lockstep_coherence::folded::{Folded, folded};
use lockstep_schemas::change::Change;
use lockstep_schemas::partition::partition_of;
use lockstep_schemas::policy::TierName;
use lockstep_tiers::tier::ACTIONS_MAX;
use serde_json::{Value, json};

use super::catalogue::{Changes, Zipf, l2_only};
use super::node::{Cost, Node};
use crate::bench::table::spread;
use crate::demo::PARTITIONS;
use crate::demo::output::{Output, thousands};

/// One round.
struct Round {
    plain: Cost,
    applied: Cost,
    /// The same of the shop's choice.
    plain_of_shop: Cost,
    folded_of_shop: Cost,
}

/// Runs all rounds, and prints them.
pub(super) async fn run(l2_url: &str, products: u32, rounds: u32, output: &Output) -> Result<Value> {
    let policy = l2_only()?;
    let planner = Arc::new(Planner::new(&policy));
    let (mut changes, zipf) = (Changes::new(), Zipf::of(products));
    let mut node = Node::connect(l2_url, &policy).await?;
    node.fill((1..=products).map(|product| changes.next(product)).collect()).await.context("fill L2")?;
    let bar = output.bar("rounds over L2", rounds as usize);
    let mut done = Vec::new();
    for _ in 0..rounds {
        let even = in_lanes((1..=products).map(|product| changes.next(product)));
        let plain = node.set(even.clone(), ACTIONS_MAX).await?;
        // What the engine decodes, plans and folds is measured by itself: here it is done before.
        let planned: Vec<Vec<Folded>> = even.into_iter().map(|lane| fold(&planner, lane).collect()).collect();
        let lanes = planned.into_iter().map(Vec::into_iter).collect();
        let applied = node.apply(products as usize, lanes).await?;
        let of_shop = in_lanes((0..products).map(|_| changes.next(zipf.choose())));
        let plain_of_shop = node.set(of_shop.clone(), ACTIONS_MAX).await?;
        let lanes = of_shop.into_iter().map(|lane| fold(&planner, lane)).collect();
        let folded_of_shop = node.apply(products as usize, lanes).await?;
        done.push(Round { plain, applied, plain_of_shop, folded_of_shop });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(print(products, &done, output))
}

fn fold(planner: &Arc<Planner>, changes: Vec<Change>) -> impl Iterator<Item = Folded> + Send + use<> {
    folded(Arc::clone(planner), TierName::L2, changes)
}

/// Changes by the partition of their product.
fn in_lanes(changes: impl Iterator<Item = Change>) -> Vec<Vec<Change>> {
    let mut lanes = vec![Vec::new(); PARTITIONS];
    for change in changes {
        let product = change.row().and_then(|row| row.text("product_id")).unwrap_or_default();
        let partition = partition_of(product, PARTITIONS as u32);
        lanes[partition as usize].push(change);
    }
    lanes
}

/// A kind of batch by name: in text, in JSON; what it cost, and what the reference did.
type Kind = (&'static str, &'static str, [fn(&Round) -> Cost; 2]);

fn print(products: u32, rounds: &[Round], output: &Output) -> Value {
    output.line("");
    let products = thousands(products.into());
    output.line(format!(
        "rows of 8 fields into L2, {products} products, {} rounds; median (least to greatest)",
        rounds.len()
    ));
    output.line("                              rows/s        of HSET rows   server CPU us/row   client CPU us/row     client / server");
    let of = |figure: &dyn Fn(&Round) -> f64| spread(rounds.iter().map(figure));
    let mut object = serde_json::Map::new();
    let kinds: [Kind; 4] = [
        ("HSET", "hset", [|round| round.plain, |round| round.plain]),
        ("lockstep1_apply", "apply", [|round| round.applied, |round| round.plain]),
        ("HSET, Zipf 1.1", "hset_zipf", [|round| round.plain_of_shop, |round| round.plain_of_shop]),
        ("folded, Zipf 1.1", "folded_zipf", [|round| round.folded_of_shop, |round| round.plain_of_shop]),
    ];
    for (name, key, [cost, reference]) in kinds {
        let rates = of(&|round| cost(round).rows_per_second());
        let ratios = of(&|round| cost(round).rows_per_second() / reference(round).rows_per_second());
        let (server, client) = (of(&|round| cost(round).server_us()), of(&|round| cost(round).client_us()));
        let shares = of(&|round| cost(round).client_us() / cost(round).server_us());
        let shown = |[median, least, greatest]: [f64; 3]| format!("{median:.2} ({least:.2}-{greatest:.2})");
        let rate = rates.map(|rate| thousands(rate as u64));
        let rate = format!("{} ({}-{})", rate[0], rate[1], rate[2]);
        let columns = [ratios, server, client, shares].map(|figures| format!("{:>20}", shown(figures)));
        output.line(format!("{name:<17}{rate:>27}{}", columns.concat()));
        let figures = json!({"rows_per_s": rates, "rate_ratio": ratios, "server_cpu_us_per_row": server,
                             "client_cpu_us_per_row": client, "client_to_server": shares});
        object.insert(key.to_owned(), figures);
    }
    object.into()
}
