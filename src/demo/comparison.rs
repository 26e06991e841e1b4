//! The comparison at the end: the auditor, over everything that is cached.

use crate::demo::output::Output;
use crate::demo::servers::Servers;
use crate::demo::shop::load::{EXTRAS, extra_id};
use anyhow::{Context, Result};
use lockstep_audit::{Auditor, Findings, Scope, Step};
use lockstep_process::config::{Config, ConfigArgs};
use lockstep_schemas::policy::{DEFAULT, Policy};
use std::collections::BTreeMap;

/// Compares all tiers, from the inside out, and the pages of products that come and go.
pub async fn compare(servers: &Servers, output: &Output) -> Result<Findings> {
    let policy = Policy::parse(DEFAULT)?;
    let auditor = Auditor::connect(&config(servers)?, &policy).await?;
    let come_and_go = (0..EXTRAS).map(extra_id).collect();
    let scope = Scope { replicas: false, also: BTreeMap::from([("catalogue".into(), come_and_go)]) };
    let (mut bar, mut now) = (output.bar("comparing", 0), String::new());
    let told = |step: Step<'_>| {
        if now != step.what {
            now = step.what.to_owned();
            bar.finish_and_clear();
            bar = output.bar(&format!("comparing {now}"), 0);
        }
        bar.set_length(step.of);
        bar.set_position(step.done);
    };
    let findings = auditor.full(&scope, told).await;
    bar.finish_and_clear();
    anyhow::ensure!(findings.failed.is_empty(), "not everything was compared: {}", findings.failed.join("; "));
    Ok(findings)
}

/// The demo's servers and nothing of the caller's: an empty file stands in for what may lie in the current folder.
fn config(servers: &Servers) -> Result<Config> {
    let file = servers.folder.join("audit.toml");
    std::fs::write(&file, "").context("write the comparison's configuration")?;
    let is_cluster = !servers.l2_nodes.is_empty();
    let args = ConfigArgs {
        config: Some(file),
        database_url: Some(servers.database_url.clone()),
        kafka_brokers: Some(servers.kafka.clone()),
        l2_url: (!is_cluster).then(|| servers.l2_url.clone()),
        l2_urls: is_cluster.then(|| servers.l2_nodes.clone()),
        l1_urls: Some(servers.l1_urls.clone()),
        edge_url: Some(servers.edge_url.clone()),
        partitions: Some(u32::try_from(crate::demo::PARTITIONS)?),
        ..ConfigArgs::default()
    };
    Ok(Config::load(&args)?)
}
