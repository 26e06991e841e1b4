//! The two tiers as the world has them: twins that can be away, forget, evict; and mistakes in the calls to them.

use std::sync::Arc;

use lockstep_coherence::core::event::Call;
use lockstep_schemas::key::MARKER_SUFFIX;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::position::Position;
use lockstep_tiers::twin::{Node, Twin};
use lockstep_tiers::{Applied, Claims, Fill, Filled, Layout, Place};

use super::mistake::Mistake;
use super::shop::{COLUMNS, ENTITIES, Value};

/// One tier.
pub struct TierWorld {
    pub name: TierName,
    pub twin: Twin,
    pub is_away: bool,
    /// Its watermark can be read, and that is all: out of memory, of disk, of replicas.
    pub refuses: bool,
    /// Its slot is on the way to another node, key by key.
    pub is_moving: bool,
    /// What a replica has.
    pub copy: Option<Node>,
    pub view: Arc<View>,
    place: Place,
    mistake: Option<Mistake>,
}

/// What an entry shows of its rows.
#[derive(Clone, Debug)]
pub struct Shown {
    pub low: Position,
    /// `None`: the entity is said to be absent.
    pub rows: Option<[Value; 2]>,
}

impl TierWorld {
    pub fn new(policy: &Policy, name: TierName, view: &str, mistake: Option<Mistake>) -> Self {
        let layout = Arc::new(Layout::new(policy, "", 1));
        let view = policy.views[view].clone();
        let place = layout.place(&view.group, ENTITIES[0]);
        let twin = Twin::new(layout, name == TierName::L1);
        TierWorld { name, twin, is_away: false, refuses: false, is_moving: false, copy: None, view, place, mistake }
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn position(&self) -> Position {
        self.mark().0
    }

    /// Position, and floor.
    pub fn mark(&self) -> (Position, Position) {
        let mark = self.twin.watermark(&self.place).expect("a watermark that can be read");
        mark.map_or((Position::LEAST, Position::LEAST), |mark| (mark.position, mark.floor))
    }

    pub fn apply(&mut self, call: &Call) -> Applied {
        let markers = self.makes(Mistake::MarkersStay).then(|| self.twin.node.clone());
        let mut batch = call.batch();
        if self.makes(Mistake::NoFence) {
            batch.expect = self.position();
        }
        let applied = self.twin.apply(&self.place, &batch);
        if let (Some(before), Applied::Ok { .. }) = (markers, &applied) {
            self.bring_back_markers(&before);
        }
        applied
    }

    /// Whether readers and fills are served.
    pub fn serves_readers(&self) -> bool {
        !self.is_away && !self.refuses && !self.is_moving
    }

    /// A call that meets its slot on the move: so many whole actions, and the watermark stays (docs/protocol.md, "While a
    /// slot moves").
    pub fn apply_in_part(&mut self, call: &Call, actions: usize) {
        let offset = self.twin.watermark(&self.place).ok().flatten().map_or(0, |mark| mark.offset);
        let mut batch = call.batch();
        // Where the floor rises, what is dead by it is not what it was before: nothing of that is done here.
        batch.actions = &call.actions[..if call.floor.is_some() { 0 } else { actions }];
        if !self.makes(Mistake::WatermarkFirst) {
            (batch.new, batch.offset, batch.floor, batch.timeline, batch.at) = (batch.expect, offset, None, "", 0);
            if let Some(outward) = &mut batch.outward {
                (outward.begun, outward.done) = (None, None);
            }
        }
        self.twin.apply(&self.place, &batch);
    }

    /// Leases that a batch voided, as if it had not.
    fn bring_back_markers(&mut self, before: &Node) {
        for (name, fields, left) in before.content() {
            let is_marker = fields.contains_key("nonce");
            if let (true, Some(left)) = (is_marker, left) {
                self.twin.node.remove(name);
                let fields: Vec<_> = fields.iter().map(|(field, text)| (field.as_str(), text.as_str())).collect();
                self.twin.node.set(name, &fields);
                self.twin.node.expire(name, left);
            }
        }
    }

    pub fn fill(&mut self, entity: usize, fill: &Fill<'_>) -> Filled {
        let key = self.view.key.key(ENTITIES[entity]);
        let timeline = self.twin.watermark(&self.place).ok().flatten();
        let mut fill = fill.clone();
        let known;
        if self.makes(Mistake::AnyTimeline) && timeline.is_some() {
            known = self.timeline();
            fill.timeline = &known;
        }
        if self.makes(Mistake::AnySource) {
            fill.source_at = Position::GREATEST;
        }
        if self.makes(Mistake::HighBefore) {
            fill.high = fill.low;
        }
        let before = self.makes(Mistake::LeaseStays).then(|| self.twin.node.clone());
        let filled = self.twin.fill(&self.place, &key, &fill, 0);
        if let (Some(before), Filled::Ok) = (before, filled) {
            self.bring_back_markers(&before);
        }
        filled
    }

    pub fn claim(&mut self, entity: usize, nonce: &str, run: &str) -> Claims {
        self.twin.claim(&self.place, &[self.view.key.key(ENTITIES[entity])], nonce, run)
    }

    pub fn settle(&mut self, entity: usize, fill: &Fill<'_>) -> Filled {
        let (key, mut fill, anew) = (self.view.key.key(ENTITIES[entity]), fill.clone(), "0".repeat(32));
        let claims = self.makes(Mistake::ClaimedAfterRead).then(|| self.claim(entity, &anew, &anew));
        if let Some(claims) = &claims {
            fill.nonce = &claims.bookmark;
        }
        self.twin.settle(&self.place, &key, &fill, 0)
    }

    fn timeline(&self) -> String {
        let name = self.twin.layout().watermark(&self.place);
        self.twin.node.field(&name, "timeline").unwrap_or_default().to_owned()
    }

    /// Whether somebody holds its lease.
    pub fn has_marker(&self, entity: usize) -> bool {
        let name = self.twin.entry(&self.place, &self.view.key.key(ENTITIES[entity]));
        self.twin.node.hash(&format!("{name}{MARKER_SUFFIX}")).is_some()
    }

    /// What a reader would be shown, without asking for a lease.
    pub fn shown(&self, entity: usize) -> Option<Shown> {
        let name = self.twin.entry(&self.place, &self.view.key.key(ENTITIES[entity]));
        let hash = self.twin.node.hash(&name)?;
        let low: Position = hash["_low"].parse().expect("a position");
        if low < self.mark().1 {
            return None;
        }
        if hash.contains_key("_neg") {
            return Some(Shown { low, rows: None });
        }
        assert_eq!(hash.get("product_id").map(String::as_str), Some(ENTITIES[entity]), "an entry without its key");
        let value = |column: &str| hash.get(column).map(|text| text.parse().expect("a commit's number"));
        Some(Shown { low, rows: Some([value(COLUMNS[0]), value(COLUMNS[1])]) })
    }

    /// A fail-over to what the replica has.
    pub fn fail_over(&mut self) -> bool {
        let Some(copy) = self.copy.take() else { return false };
        self.twin.node.forget_since(&copy);
        true
    }

    pub fn evict(&mut self, random: &mut fastrand::Rng) {
        let names: Vec<String> = self.twin.node.mortal().map(str::to_owned).collect();
        if !names.is_empty() {
            self.twin.node.remove(&names[random.usize(..names.len())]);
        }
    }
}
