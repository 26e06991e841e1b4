//! `lockstep why KEY`: an entry beside the row that it is made of, in every tier, and what touched it last.

mod page;
mod report;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lockstep_audit::touched;
use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::entry::Loaded;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_source::loader::Loader;
use lockstep_tiers::{Layout, Place, Tier};

use super::switch::as_read;
use crate::cli::{OutputFormat, WhyArgs};
use crate::output;
use page::Pages;
use report::{OfTier, Report};

/// A copy that differs is looked at again: a change may be on its way.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Exit code of a copy that differs from its row.
const DIFFERS: u8 = 1;

pub(crate) async fn run(config: &Config, policy: &Policy, args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let (group, entity) = entity_of(policy, &args.key)?;
    let policy = &as_read(config, policy).await?;
    let database = Database::connect(config.database()?, "lockstep-why").await?;
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let loader = Loader::prepare(&database, policy).await?;
    let layout = Arc::new(Layout::new(policy, &config.namespace, config.partitions));
    let place = layout.place(&group, entity);
    let l1 = Tier::cluster(TierName::L1, config.l1()?, layout.clone()).await?;
    let l2 = Tier::connect(TierName::L2, config.l2()?, layout).await?;
    let pages = config.edge().ok().map(Pages::of).transpose()?;
    let pages = pages.as_ref();
    let subject = Subject { policy, place: &place, entity, loader: &loader, l1: &l1, l2: &l2, pages };
    let mut tiers = subject.look().await?;
    if tiers.iter().any(OfTier::differs) {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        tiers = subject.look().await?;
    }
    let differs = tiers.iter().any(OfTier::differs);
    let last = touched::find(config.kafka()?, policy, &place.group, place.partition, entity).await?;
    let report = Report::new(&policy.groups[&group], &place, entity, tiers, last);
    match args.output.output {
        OutputFormat::Json => output::line(&serde_json::to_string(&report)?),
        OutputFormat::Text => report.lines().iter().for_each(|line| output::line(line)),
    }
    Ok(if differs { ExitCode::from(DIFFERS) } else { ExitCode::SUCCESS })
}

/// The entity that a key is of, by the patterns of the policy.
fn entity_of<'k>(policy: &Policy, key: &'k str) -> Result<(Arc<str>, &'k str), Failure> {
    let found = policy.views.values().find_map(|view| Some((view.group.clone(), view.key.entity_of(key)?)));
    found.ok_or_else(|| {
        let patterns: Vec<String> = policy.views.values().map(|view| view.key.key("...").to_string()).collect();
        Failure::new(FailureKind::Usage, format!("`{key}` is a key of no view"))
            .remedy(format!("write one of {}", patterns.join(", ")))
    })
}

struct Subject<'s> {
    policy: &'s Policy,
    place: &'s Place,
    entity: &'s str,
    loader: &'s Loader,
    l1: &'s Tier,
    l2: &'s Tier,
    /// `None`: no edge is configured.
    pages: Option<&'s Pages>,
}

impl Subject<'_> {
    /// Every entry of the entity: first the copy, then the row. Pages last, since the edge may ask the gateway for them.
    async fn look(&self) -> Result<Vec<OfTier>, Failure> {
        let (mut tiers, mut columns) = (Vec::new(), BTreeMap::new());
        let (pages, views): (Vec<_>, Vec<_>) = self
            .policy
            .views_of(&self.place.group)
            .filter(|view| view.key.is_plain())
            .partition(|view| view.tier == TierName::L3);
        for view in views {
            let tier = if view.tier == TierName::L1 { self.l1 } else { self.l2 };
            let away = |error: &dyn std::fmt::Display| Failure::unavailable(format!("{}: {error}", view.tier.as_str()));
            let mark = tier.watermark(self.place).await.map_err(|error| away(&error))?;
            let key = view.key.key(self.entity);
            let entry = tier.entry(self.place, &key).await.map_err(|error| away(&error))?;
            let row = self.row(view).await?;
            let fields = row.iter().filter_map(|loaded| loaded.fields.as_ref()).flatten();
            columns.extend(fields.map(|(name, text)| (name.to_string(), text.clone())));
            tiers.push(OfTier::new(self.policy, view, &key, mark.as_ref(), &entry, row));
        }
        for (view, edge) in pages.into_iter().filter_map(|view| Some((view, self.pages?))) {
            tiers.push(edge.look(self.policy, view, self.entity, &columns).await?);
        }
        Ok(tiers)
    }

    async fn row(&self, view: &View) -> Result<Option<Loaded>, Failure> {
        let loaded = self.loader.load(view, &[self.entity.to_owned()]).await;
        Ok(loaded.map_err(|error| Failure::unavailable(error.to_string()))?.pop())
    }
}
