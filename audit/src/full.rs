//! Everything that is cached now, held against the database.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lockstep_process::Failure;
use lockstep_process::config::{Config, RedisServers};
use lockstep_schemas::policy::{Policy, TierName, View};

use crate::AuditError;
use crate::backwards::{Bounds, LastSeen};
use crate::edge::Edge;
use crate::findings::{Findings, shown_key};
use crate::look::{Place, Slow, look};
use crate::nodes::{self, Found, Node, Spent};
use crate::rows::Rows;
use crate::subject::{Names, Subject};
use crate::waiting::Waiting;

/// Keys that one SCAN looks at.
const SCAN_COUNT: usize = 500;
/// Keys of a node, and entities of a group, that are remembered. Beyond them a key may be looked at twice, and a page of no
/// row is not asked for.
const KEYS_REMEMBERED_MAX: usize = 500_000;
/// Copies that are read and judged together.
pub(crate) const COPIES_PER_LOOK: usize = 100;

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The replicas of tiers too: readers may be sent there.
    pub replicas: bool,
    /// Entities to ask the edge for besides those that are in the database or in a tier, by group.
    pub also: BTreeMap<Arc<str>, BTreeSet<String>>,
}

/// How far an audit has come.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// A node, or a view at the edge.
    pub what: &'a str,
    /// Keys or pages looked at so far.
    pub done: u64,
    /// About how many there are.
    pub of: u64,
}

/// Hears of each step, and may take its time before the next one.
pub(crate) trait Listener: Send {
    /// A step was made; these are the findings so far.
    fn heard<'a>(&'a mut self, step: Step<'a>, findings: &'a mut Findings) -> Hearing<'a>;
}

/// A listener's own time.
pub(crate) type Hearing<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Tells, and goes on.
struct Told<F>(F);

impl<F: FnMut(Step<'_>) + Send> Listener for Told<F> {
    fn heard<'a>(&'a mut self, step: Step<'a>, _: &'a mut Findings) -> Hearing<'a> {
        (self.0)(step);
        Box::pin(std::future::ready(()))
    }
}

/// An ordinary reader of every tier.
pub struct Auditor {
    pub(crate) policy: Arc<Policy>,
    pub(crate) names: Names,
    pub(crate) rows: Rows,
    pub(crate) l2: RedisServers,
    pub(crate) l1: RedisServers,
    /// None where the policy has no view there.
    pub(crate) edge: Option<Edge>,
    last_seen: Mutex<LastSeen>,
    pub(crate) waiting: Mutex<Waiting>,
    of_l2: Spent,
    of_l1: Spent,
}

impl Auditor {
    /// Connects to the database; to tiers when they are looked at.
    pub async fn connect(config: &Config, policy: &Policy) -> Result<Self, Failure> {
        let names = Names::new(policy, &config.namespace, config.partitions);
        let has_edge = policy.views.values().any(|view| view.tier == TierName::L3);
        let edge = if has_edge { Some(Edge::new(config.edge()?)?) } else { None };
        Ok(Auditor {
            policy: Arc::new(policy.clone()),
            names,
            rows: Rows::connect(config.database()?, policy).await?,
            l2: config.l2()?.clone(),
            l1: RedisServers::Cluster(config.l1()?.to_vec()),
            edge,
            last_seen: Mutex::new(LastSeen::new()),
            waiting: Mutex::default(),
            of_l2: Spent::default(),
            of_l1: Spent::default(),
        })
    }

    /// Looks at every copy in every tier, from the inside out. What can't be looked at is told among the findings.
    pub async fn full(&self, scope: &Scope, told: impl FnMut(Step<'_>) + Send) -> Findings {
        let mut findings = Findings::default();
        let mut told = Told(told);
        let mut seen = scope.also.clone();
        for tier in [TierName::L2, TierName::L1] {
            let nodes = match self.nodes(tier, scope.replicas).await {
                Ok(nodes) => nodes,
                Err(error) => {
                    findings.failed.push(format!("{}: {error}", tier.as_str()));
                    continue;
                }
            };
            for mut node in nodes {
                if let Err(error) = self.node(tier, &mut node, &mut seen, &mut findings, &mut told).await {
                    findings.failed.push(format!("{} on {}: {error}", tier.as_str(), node.name));
                }
            }
        }
        if let Err(error) = self.all_pages(&mut seen, &mut findings, &mut told).await {
            findings.failed.push(format!("l3: {error}"));
        }
        findings
    }

    async fn all_pages(
        &self,
        seen: &mut BTreeMap<Arc<str>, BTreeSet<String>>,
        findings: &mut Findings,
        listener: &mut dyn Listener,
    ) -> Result<(), AuditError> {
        let Some(edge) = &self.edge else { return Ok(()) };
        let mut marks = self.nodes(TierName::L2, false).await?;
        for view in self.policy.views.values().filter(|view| view.tier == TierName::L3) {
            let also = seen.get(&view.group).cloned().unwrap_or_default();
            self.pages(edge, view, also, &mut marks, findings, listener).await?;
        }
        Ok(())
    }

    pub(crate) async fn nodes(&self, tier: TierName, with_replicas: bool) -> Result<Vec<Node>, AuditError> {
        nodes::connect(self.servers(tier), with_replicas, self.spent(tier)).await
    }

    /// What we have sent to a tier; to L3, whose watermarks lie there, what we have sent to L2.
    pub(crate) fn spent(&self, tier: TierName) -> &Spent {
        if tier == TierName::L1 { &self.of_l1 } else { &self.of_l2 }
    }

    /// Those of these entries that have gone backwards since they were seen before, as people may see them.
    pub(crate) fn backwards(&self, tier: &str, began: Instant, subjects: &[&Subject], found: &[Found]) -> Vec<String> {
        let (ended, mut keys) = (Instant::now(), Vec::new());
        let mut last_seen = self.last_seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (subject, found) in subjects.iter().zip(found) {
            if let Some(bounds) = Bounds::of(&found.copy.fields)
                && last_seen.backwards(tier, &subject.key, bounds, began, ended)
            {
                keys.push(shown_key(&self.policy, subject, Some(&found.copy.fields)));
            }
        }
        keys
    }

    pub(crate) fn is_cluster(&self, tier: TierName) -> bool {
        matches!(self.servers(tier), RedisServers::Cluster(_))
    }

    pub(crate) fn servers(&self, tier: TierName) -> &RedisServers {
        if tier == TierName::L1 { &self.l1 } else { &self.l2 }
    }

    /// Looks at every copy on one node.
    pub(crate) async fn node(
        &self,
        tier: TierName,
        node: &mut Node,
        seen: &mut BTreeMap<Arc<str>, BTreeSet<String>>,
        findings: &mut Findings,
        listener: &mut dyn Listener,
    ) -> Result<(), AuditError> {
        let is_cluster = self.is_cluster(tier);
        let (pattern, of) = (self.names.pattern(is_cluster), node.size().await?);
        let what = format!("{} {}{}", tier.as_str(), node.name, if node.is_replica { " (replica)" } else { "" });
        let (mut cursor, mut done, mut slow) = (0, 0, Slow::default());
        // A walk may name a key twice.
        let mut looked = BTreeSet::new();
        loop {
            let (next, keys) = node.scan(cursor, &pattern, SCAN_COUNT).await?;
            done += SCAN_COUNT as u64;
            let mut by_view: BTreeMap<Arc<str>, Vec<Subject>> = BTreeMap::new();
            for key in keys {
                let Some(subject) = self.names.subject(tier, &key, is_cluster) else { continue };
                let is_new =
                    if looked.len() < KEYS_REMEMBERED_MAX { looked.insert(key) } else { !looked.contains(&key) };
                if is_new {
                    let seen = seen.entry(subject.view.group.clone()).or_default();
                    if seen.len() < KEYS_REMEMBERED_MAX {
                        seen.insert(subject.entity.clone());
                    }
                    by_view.entry(subject.view.name.clone()).or_default().push(subject);
                }
            }
            for subjects in by_view.values() {
                for chunk in subjects.chunks(COPIES_PER_LOOK) {
                    look(self, &mut Place::Node(tier, node), chunk, &mut slow, findings).await?;
                    // Between two looks, so that whoever has a share never takes a page's worth at once.
                    listener.heard(Step { what: &what, done: done.min(of), of }, findings).await;
                }
            }
            listener.heard(Step { what: &what, done: done.min(of), of }, findings).await;
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Asks the edge for the page of every row, and of every entity that a tier knows.
    pub(crate) async fn pages(
        &self,
        edge: &Edge,
        view: &Arc<View>,
        mut also: BTreeSet<String>,
        marks: &mut [Node],
        findings: &mut Findings,
        listener: &mut dyn Listener,
    ) -> Result<(), AuditError> {
        if !view.key.is_plain() {
            return Ok(());
        }
        let estimate = self.rows.estimate(view).await?.max(also.len() as u64);
        let what = format!("edge {}", view.name);
        let (mut done, mut slow, mut after) = (0, Slow::default(), None::<String>);
        loop {
            let mut page = self.rows.entities(view, after.as_deref(), COPIES_PER_LOOK).await?;
            let last = page.last().cloned();
            for entity in &page {
                also.remove(entity);
            }
            if page.is_empty() {
                // What is (or was) cached elsewhere, and is no row any more.
                page = also.iter().take(COPIES_PER_LOOK).cloned().collect();
                for entity in &page {
                    also.remove(entity);
                }
            }
            if page.is_empty() {
                return Ok(());
            }
            let subjects: Vec<Subject> = page.iter().filter_map(|entity| self.names.page(view, entity)).collect();
            look(self, &mut Place::Edge(edge, marks), &subjects, &mut slow, findings).await?;
            done += page.len() as u64;
            listener.heard(Step { what: &what, done, of: estimate.max(done) }, findings).await;
            // After the last row the key stays where it is: only what is left over comes then.
            after = last.or(after);
        }
    }
}
