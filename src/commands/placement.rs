//! `lockstep placement`: which slots of a cluster hold data, how much, and which should go where.

use std::collections::BTreeMap;

use lockstep_process::Failure;
use lockstep_process::config::{Config, RedisServers, Url};
use lockstep_process::failure::FailureKind;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::topics;
use lockstep_tiers::cluster::plan::{Plan, Weight, plan};
use lockstep_tiers::cluster::{Cluster, Slot};
use lockstep_tiers::{Layout, Place, TierError};
use serde_json::{Value, json};

use crate::cli::{ClusterTier, OutputFormat, PlacementArgs};
use crate::output;

pub(crate) async fn run(config: &Config, policy: &Policy, args: &PlacementArgs) -> anyhow::Result<()> {
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let layout = Layout::new(policy, &config.namespace, config.partitions);
    let tiers = match args.tier {
        Some(tier) => vec![tier],
        None => [ClusterTier::L2, ClusterTier::L1].into_iter().filter(|tier| urls(config, *tier).is_ok()).collect(),
    };
    let mut told = Vec::new();
    for tier in tiers {
        let name = name(tier);
        let cluster = open(config, tier).await?;
        let slots = cluster.survey(&layout, policy, &places(policy, name, config.partitions)).await;
        let slots = slots.map_err(|error| away(name, error))?;
        let nodes = cluster.addresses();
        let count = args.nodes.map_or(nodes.len(), |count| usize::from(count.get()));
        let weight = |slot: &Slot| Weight { slot: slot.slot, node: slot.node.clone(), bytes: slot.bytes };
        let plan = plan(&slots.iter().map(weight).collect::<Vec<_>>(), &nodes, count);
        match args.output.output {
            OutputFormat::Json => told.push(json(name, &nodes, &slots, &plan)),
            OutputFormat::Text => print(name, &nodes, &slots, &plan),
        }
    }
    if args.output.output == OutputFormat::Json {
        output::line(&Value::Array(told).to_string());
    }
    Ok(())
}

pub(super) fn name(tier: ClusterTier) -> TierName {
    match tier {
        ClusterTier::L2 => TierName::L2,
        ClusterTier::L1 => TierName::L1,
    }
}

/// A way to every primary of a tier.
pub(super) async fn open(config: &Config, tier: ClusterTier) -> Result<Cluster, Failure> {
    let urls = urls(config, tier)?;
    Cluster::open(urls).await.map_err(|error| away(name(tier), error))
}

pub(super) fn away(tier: TierName, error: TierError) -> Failure {
    Failure::unavailable(format!("the cluster of {}", tier.as_str())).because(error).remedy(
        "check that each primary answers at the address that `CLUSTER NODES` tells, and that the user may run CLUSTER",
    )
}

fn urls(config: &Config, tier: ClusterTier) -> Result<&[Url], Failure> {
    match tier {
        ClusterTier::L1 => config.l1(),
        ClusterTier::L2 => match config.l2()? {
            RedisServers::Cluster(urls) => Ok(urls),
            RedisServers::Node(_) => Err(Failure::new(FailureKind::Usage, "l2 is one node, and has no slots")
                .remedy("name l1, or configure l2 as a cluster (LOCKSTEP_L2_URLS)")),
        },
    }
}

/// Every partition that a tier has.
fn places(policy: &Policy, tier: TierName, partitions: u32) -> Vec<Place> {
    let groups = policy.groups.keys().filter(|group| policy.tiers_of(group).contains(&tier));
    let of_group =
        |group| (0..partitions).map(move |partition| Place { group: std::sync::Arc::clone(group), partition });
    groups.flat_map(of_group).collect()
}

pub(super) fn lanes(places: &[Place]) -> String {
    let names: Vec<String> = places.iter().map(|place| format!("{}.{}", place.group, place.partition)).collect();
    names.join(" ")
}

fn json(tier: TierName, nodes: &[String], slots: &[Slot], plan: &Plan) -> Value {
    let slot = |one: &Slot| {
        json!({
            "slot": one.slot, "lanes": one.places.iter().map(|place| lanes(std::slice::from_ref(place))).collect::<Vec<_>>(),
            "node": one.node, "names": one.names, "bytes": one.bytes, "moves_to": one.moves_to,
        })
    };
    let moves: Vec<Value> =
        plan.moves.iter().map(|one| json!({"slot": one.slot, "from": one.from, "to": one.to})).collect();
    json!({
        "tier": tier.as_str(), "nodes": nodes, "slots": slots.iter().map(slot).collect::<Vec<_>>(),
        "plan": {"nodes": plan.after.len(), "moves": moves, "bytes_after": plan.after},
    })
}

fn print(tier: TierName, nodes: &[String], slots: &[Slot], plan: &Plan) {
    output::line("tier  slot   node                   names        bytes  lanes");
    let mut now: BTreeMap<&str, (u64, u64)> = nodes.iter().map(|node| (node.as_str(), (0, 0))).collect();
    for one in slots {
        let of_node = now.entry(&one.node).or_default();
        *of_node = (of_node.0 + one.names, of_node.1 + one.bytes);
        let moves = one.moves_to.as_ref().map_or_else(String::new, |to| format!(", on its way to {to}"));
        let (node, lanes) = (&one.node, lanes(&one.places));
        output::line(&format!(
            "{:<4}  {:>5}  {node:<21}  {:>6}  {:>11}  {lanes}{moves}",
            tier.as_str(),
            one.slot,
            one.names,
            one.bytes
        ));
    }
    for (node, (names, bytes)) in now {
        let after = plan.after.get(node).map_or("nothing".to_owned(), |bytes| format!("{bytes} bytes"));
        output::line(&format!("{node}: {names} names, {bytes} bytes; by the plan {after}"));
    }
    for (node, bytes) in plan.after.iter().filter(|(node, _)| !nodes.contains(node)) {
        output::line(&format!("{node}: to be added; by the plan {bytes} bytes"));
    }
    for one in &plan.moves {
        let places = slots.iter().find(|slot| slot.slot == one.slot).map_or(&[][..], |slot| &slot.places);
        let lane = lanes(&places[..places.len().min(1)]);
        output::line(&format!("lockstep move {lane} --tier {} --to {}", tier.as_str(), one.to));
    }
    if plan.moves.is_empty() {
        output::line(&format!("{}: nothing is to be moved", tier.as_str()));
    }
}
