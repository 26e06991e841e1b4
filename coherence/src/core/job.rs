//! A job: one chunk of changes, or a move of the watermark without any, on its way through the tiers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_schemas::change::Text;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::{TierName, View};
use lockstep_schemas::position::Position;
use lockstep_source::gate::{Passage, Verdict};
use lockstep_tiers::Action;

use super::event::{LogProgress, Mine, Token};
use crate::fold::Chunk;

/// What one tier has to do.
struct Part {
    actions: Arc<[(Key, Action)]>,
    /// Of each action, what its entry would be filled from.
    origins: Vec<(Arc<View>, Text)>,
}

enum Gate {
    Closed(Passage),
    Asked(Token),
    Open,
}

/// A step of the watermark, the same for every tier.
pub(super) struct Job {
    pub through: Position,
    pub offset: i64,
    pub at: i64,
    pub floor: Option<Position>,
    pub tags: BTreeSet<String>,
    pub timeline: String,
    /// Moves go to every tier, also where it is there already: that finds a node that silently forgot.
    pub is_move: bool,
    gate: Gate,
    parts: BTreeMap<TierName, Part>,
}

impl Job {
    /// Changes, which the gate has to let through.
    pub fn of(mut chunk: Chunk, gates_each: bool) -> Self {
        let mut passage = chunk.passage();
        if !gates_each {
            passage.xids.drain(..passage.xids.len().saturating_sub(1));
        }
        let gate = Gate::Closed(passage);
        let parts = chunk.take_actions().into_iter().map(|(tier, actions)| {
            let (actions, origins) = actions
                .into_iter()
                .map(|entry| ((entry.key, entry.action), (entry.view, entry.entity)))
                .unzip::<_, _, Vec<_>, _>();
            (tier, Part { actions: actions.into(), origins })
        });
        Job {
            parts: parts.collect(),
            through: chunk.through,
            offset: chunk.next_offset,
            at: chunk.committed_at,
            floor: chunk.floor,
            tags: chunk.tags,
            timeline: String::new(),
            is_move: false,
            gate,
        }
    }

    /// A move to where progress allows it.
    pub fn following(progress: &LogProgress, offset: i64) -> Self {
        Job {
            through: progress.position,
            offset,
            at: progress.at,
            floor: None,
            tags: BTreeSet::new(),
            timeline: progress.timeline.clone(),
            is_move: true,
            gate: Gate::Open,
            parts: BTreeMap::new(),
        }
    }

    /// What is to be asked of the gate, where it was not asked yet.
    pub fn question(&self) -> Option<&Passage> {
        match &self.gate {
            Gate::Closed(passage) => Some(passage),
            Gate::Asked(_) | Gate::Open => None,
        }
    }

    /// The question is under way.
    pub fn asked(&mut self, token: Token) {
        self.gate = Gate::Asked(token);
    }

    /// The gate's answer, if it is to this question.
    pub fn pass(&mut self, token: Token, verdict: Verdict, timeline: &str) -> bool {
        if !matches!(&self.gate, Gate::Asked(asked) if *asked == token) {
            return false;
        }
        if verdict == Verdict::OlderEpoch {
            // A change of an older epoch is never gated; all it may do is invalidate.
            for part in self.parts.values_mut() {
                part.actions = part.actions.iter().map(|(key, _)| (key.clone(), Action::Invalidate)).collect();
            }
        }
        self.timeline = timeline.to_owned();
        self.gate = Gate::Open;
        true
    }

    pub fn is_open(&self) -> bool {
        matches!(self.gate, Gate::Open)
    }

    /// What one tier has to do.
    pub fn actions(&self, tier: TierName) -> Arc<[(Key, Action)]> {
        self.parts.get(&tier).map_or_else(|| [].into(), |part| part.actions.clone())
    }

    /// Entries that somebody wanted, by view: they are ours to fill.
    pub fn mine(&self, tier: TierName, indices: &[usize], nonce: &str) -> Vec<Mine> {
        let Some(part) = self.parts.get(&tier) else { return Vec::new() };
        let mut wanted: Vec<Mine> = Vec::new();
        for (view, entity) in indices.iter().filter_map(|at| part.origins.get(*at)) {
            match wanted.iter_mut().find(|mine| mine.view.name == view.name && mine.view.key == view.key) {
                Some(mine) => mine.entities.push(entity.to_string()),
                None => wanted.push(Mine {
                    view: view.clone(),
                    entities: vec![entity.to_string()],
                    nonce: nonce.to_owned(),
                    low: self.through,
                }),
            }
        }
        wanted
    }
}
