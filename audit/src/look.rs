//! One look at some copies of one view: read, judged, and what differs looked at again until it is settled.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use tokio::time::Instant;

use crate::AuditError;
use crate::edge::Edge;
use crate::findings::{Findings, Violation, shown, shown_key};
use crate::full::Auditor;
use crate::judge::{Difference, Lenient, Mark, Row, Verdict, differs, judge};
use crate::nodes::{Found, Node};
use crate::subject::{Strictness, Subject};

/// A copy that differs is looked at so often; one whose row never rests stays undecided.
const LOOKS_MAX: usize = 6;
/// A watermark in a quiet database follows within two seconds, the edge's one maximum response time later.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(8);
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// Watermarks that did not come in time: they are not waited for again.
#[derive(Default)]
pub(crate) struct Slow(BTreeSet<String>);

/// Where copies are.
pub(crate) enum Place<'a> {
    /// On a node of a tier.
    Node(TierName, &'a mut Node),
    /// At the edge; its watermarks are on these nodes of L2.
    Edge(&'a Edge, &'a mut [Node]),
}

/// A copy under judgement.
struct Suspect<'s> {
    subject: &'s Subject,
    lenient: &'s Lenient,
    /// The differences that the look before found to be wrong.
    wrong_before: Option<Vec<Difference>>,
}

/// Looks at copies of one view, and counts them.
///
/// A copy is wrong if two looks in a row say so alike: versions of rows tell every change of a row that stays, but not one
/// of a row that came and went between two readings.
pub(crate) async fn look(
    auditor: &Auditor,
    place: &mut Place<'_>,
    subjects: &[Subject],
    slow: &mut Slow,
    findings: &mut Findings,
) -> Result<(), AuditError> {
    let Some(view) = subjects.first().map(|subject| &subject.view) else { return Ok(()) };
    let (tier, is_replica, strictness) =
        (place.tier().as_str(), place.is_replica(), Strictness::of(&auditor.policy, view));
    let all: Vec<&Subject> = subjects.iter().collect();
    findings.looked += all.len() as u64;
    let before = read_rows(auditor, &all).await?;
    let began = std::time::Instant::now();
    let found = place.read(&all).await?;
    if matches!(place, Place::Node(_, node) if !node.is_replica) {
        let backwards = auditor.backwards(tier, began, &all, &found);
        findings.backwards.extend(backwards.into_iter().map(|key| (tier, key)));
    }
    let mut suspects = Vec::new();
    for ((subject, before), found) in all.iter().copied().zip(&before).zip(&found) {
        if differs(before, found.mark.as_ref(), &found.copy, &strictness.at_first) {
            suspects.push(Suspect { subject, lenient: &strictness.at_first, wrong_before: None });
        } else if is_overdue(auditor, &place.name(), subject, before, found, &strictness) {
            suspects.push(Suspect { subject, lenient: &strictness.at_last, wrong_before: None });
        } else {
            let verdict = judge(before, found.mark.as_ref(), &found.copy, before, &strictness.at_first);
            findings.count(tier, is_replica, view, &verdict);
        }
    }
    for _ in 0..LOOKS_MAX {
        if suspects.is_empty() {
            break;
        }
        let subjects: Vec<&Subject> = suspects.iter().map(|suspect| suspect.subject).collect();
        findings.looked += subjects.len() as u64;
        let before = read_rows(auditor, &subjects).await?;
        settle(place, &subjects, before.first().map(|row| row.read_at), slow).await?;
        let found = place.read(&subjects).await?;
        let after = read_rows(auditor, &subjects).await?;
        let mut left = Vec::new();
        for (((suspect, before), found), after) in suspects.into_iter().zip(&before).zip(&found).zip(&after) {
            let verdict = judge(before, found.mark.as_ref(), &found.copy, after, suspect.lenient);
            match verdict {
                Verdict::InFlight => left.push(Suspect { wrong_before: None, ..suspect }),
                Verdict::Wrong(kind, differences) if suspect.wrong_before.as_ref() == Some(&differences) => {
                    findings.list(Violation {
                        tier: tier.to_owned(),
                        node: place.name(),
                        view: view.name.to_string(),
                        key: shown_key(&auditor.policy, suspect.subject, after.fields.as_ref()),
                        kind: kind.as_str().to_owned(),
                        fields: shown(&auditor.policy, view, &differences),
                        low: found.copy.fields.get("_low").cloned(),
                        high: found.copy.fields.get("_high").cloned(),
                        watermark: found.mark.as_ref().map(|mark| mark.position.to_string()),
                        row_read_at: before.read_at.to_string(),
                        entity: suspect.subject.named().into(),
                    });
                    findings.count(tier, is_replica, view, &Verdict::Wrong(kind, differences));
                }
                Verdict::Wrong(_, differences) => {
                    left.push(Suspect { wrong_before: Some(differences), ..suspect });
                }
                verdict => findings.count(tier, is_replica, view, &verdict),
            }
        }
        suspects = left;
    }
    suspects.iter().for_each(|_| findings.count(tier, is_replica, view, &Verdict::InFlight));
    Ok(())
}

/// Whether a copy has been old in deferred columns for so long that a pass must have come.
fn is_overdue(
    auditor: &Auditor,
    place: &str,
    subject: &Subject,
    row: &Row,
    found: &Found,
    strictness: &Strictness,
) -> bool {
    let Some(wait_max) = strictness.wait_max else { return false };
    let mut waiting = auditor.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    match judge(row, found.mark.as_ref(), &found.copy, row, &strictness.at_last) {
        Verdict::Wrong(_, differences) => {
            let differs = format!("{differences:?}");
            waiting.is_overdue((place, &subject.key), &row.version, &differs, wait_max, std::time::Instant::now())
        }
        // What the tier has not come to yet tells nothing.
        Verdict::InFlight => false,
        _ => {
            waiting.is_right((place, &subject.key));
            false
        }
    }
}

/// The rows of some subjects. A key that other columns of the row are part of is of no row once those have changed.
async fn read_rows(auditor: &Auditor, subjects: &[&Subject]) -> Result<Vec<Row>, AuditError> {
    let Some(view) = subjects.first().map(|subject| &subject.view) else { return Ok(Vec::new()) };
    let entities: Vec<&str> = subjects.iter().map(|subject| &*subject.entity).collect();
    let mut rows = auditor.rows.read(view, &entities).await?;
    if !view.key.is_plain() {
        for (row, subject) in rows.iter_mut().zip(subjects) {
            let text = |column: &str| row.fields.as_ref()?.get(column).map(String::as_str);
            let key = view.key.key_of(&subject.entity, text);
            if !key.is_some_and(|key| subject.key.ends_with(key.as_str())) {
                row.fields = None;
            }
        }
    }
    Ok(rows)
}

/// Waits until the watermarks have come to where the rows were read, for a while.
async fn settle(
    place: &mut Place<'_>,
    subjects: &[&Subject],
    read_at: Option<Position>,
    slow: &mut Slow,
) -> Result<(), AuditError> {
    let Some(read_at) = read_at else { return Ok(()) };
    let mut names: Vec<&str> = subjects.iter().map(|subject| &*subject.mark).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| !slow.0.contains(*name));
    let deadline = Instant::now() + SETTLE_WAIT_MAX;
    loop {
        let marks = place.marks(&names).await?;
        let late = |mark: &Option<Mark>| mark.as_ref().is_some_and(|mark| mark.position < read_at);
        names = names.into_iter().zip(&marks).filter(|(_, mark)| late(mark)).map(|(name, _)| name).collect();
        if names.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            slow.0.extend(names.into_iter().map(str::to_owned));
            return Ok(());
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

impl Place<'_> {
    fn tier(&self) -> TierName {
        match self {
            Place::Node(tier, _) => *tier,
            Place::Edge(..) => TierName::L3,
        }
    }

    fn is_replica(&self) -> bool {
        matches!(self, Place::Node(_, node) if node.is_replica)
    }

    fn name(&self) -> String {
        match self {
            Place::Node(_, node) => node.name.clone(),
            Place::Edge(..) => "the edge".to_owned(),
        }
    }

    /// Each watermark, then its copy.
    async fn read(&mut self, subjects: &[&Subject]) -> Result<Vec<Found>, AuditError> {
        match self {
            Place::Node(_, node) => node.read(subjects).await,
            Place::Edge(edge, _) => {
                let edge = *edge;
                let names: Vec<&str> = subjects.iter().map(|subject| &*subject.mark).collect();
                let marks = self.marks(&names).await?;
                let Some(view) = subjects.first().map(|subject| &subject.view) else { return Ok(Vec::new()) };
                let paths: Vec<&str> = subjects.iter().map(|subject| &*subject.key).collect();
                let copies = edge.read(view, &paths).await?;
                Ok(marks.into_iter().zip(copies).map(|(mark, copy)| Found { mark, copy }).collect())
            }
        }
    }

    async fn marks(&mut self, names: &[&str]) -> Result<Vec<Option<Mark>>, AuditError> {
        match self {
            Place::Node(_, node) => node.marks(names, false).await,
            Place::Edge(_, nodes) => {
                let mut marks: Vec<Option<Mark>> = vec![None; names.len()];
                for node in nodes.iter_mut() {
                    let (places, here): (Vec<usize>, Vec<&str>) =
                        names.iter().enumerate().filter(|(_, name)| node.has(name)).unzip();
                    for (place, mark) in places.into_iter().zip(node.marks(&here, true).await?) {
                        marks[place] = mark;
                    }
                }
                Ok(marks)
            }
        }
    }
}
