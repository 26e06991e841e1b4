//! `lockstep1_apply`: compared first, then each action, then the watermark.

use lockstep_schemas::change::Cell;
use lockstep_schemas::position::Position;

use super::{Names, Twin, position};
use crate::layout::Place;
use crate::tier::{Action, Applied, Apply, BORN, HIGH, LOW, millis, within_limits};

/// What an action did to its entry, or must do.
enum Acted {
    Kept,
    Refreshed,
    Drop,
}

impl Twin {
    /// `lockstep1_apply`.
    pub fn apply(&mut self, place: &Place, batch: &Apply<'_>) -> Applied {
        let w = self.layout().watermark(place);
        let found = position(self.node.field(&w, "pos"));
        if found != batch.expect {
            let offset = self.node.field(&w, "offset").and_then(|text| text.parse().ok());
            return Applied::Lost { position: found, offset };
        }
        let owner = batch.outward.as_ref().map(|outward| outward.owner).filter(|owner| !owner.is_empty());
        if owner.is_some() && self.node.field(&w, "l3_owner") != owner {
            let offset = self.node.field(&w, "offset").and_then(|text| text.parse().ok());
            return Applied::Lost { position: found, offset };
        }
        let floor = batch.floor.unwrap_or_else(|| self.floor(&w));
        let (mut refreshed, mut dropped, mut mine) = (0, 0, Vec::new());
        let named: Vec<String> = batch.actions.iter().map(|(key, _)| self.entry(place, key)).collect();
        self.touch(place, named.iter().map(String::as_str));
        for (index, (key, action)) in within_limits(batch.actions).iter().enumerate() {
            let names = self.names(place, key);
            match self.act(&names, action, floor) {
                Acted::Kept => {}
                Acted::Refreshed => refreshed += 1,
                Acted::Drop => {
                    let gone = self.node.remove(&names.entry);
                    dropped += u64::from(gone);
                    if self.node.remove(&names.marker) || gone {
                        self.grant(&names.marker, batch.nonce, batch.new);
                        mine.push(index);
                    }
                }
            }
        }
        self.move_watermark(&w, batch, floor);
        for (name, count) in [("refreshed", refreshed), ("dropped", dropped)] {
            if count > 0 {
                self.node.add(&w, name, count);
            }
        }
        Applied::Ok { refreshed, dropped, mine }
    }

    fn act(&mut self, names: &Names, action: &Action, floor: Position) -> Acted {
        let living = self.living(&names.entry, floor);
        let (Action::Refresh { position: p, ttl, born, fields }, Some(living)) = (action, living) else {
            return Acted::Drop;
        };
        if *p <= living.low {
            return Acted::Kept;
        }
        if *p <= living.high || living.is_negative {
            return Acted::Drop;
        }
        let bound = p.to_string();
        if let Some(born) = born {
            self.node.remove(&names.entry);
            self.node.set(&names.entry, &[(BORN, &born.to_string())]);
        }
        self.node.set(&names.entry, &[(LOW, &bound), (HIGH, &bound)]);
        for (name, cell) in fields.iter() {
            match cell {
                Cell::Value(text) => self.node.set(&names.entry, &[(name, text)]),
                Cell::Null => self.node.unset(&names.entry, name),
                Cell::Unknown => {}
            }
        }
        self.node.expire(&names.entry, millis(*ttl));
        Acted::Refreshed
    }

    fn move_watermark(&mut self, w: &str, batch: &Apply<'_>, floor: Position) {
        let (new, offset, floor, at) =
            (batch.new.to_string(), batch.offset.to_string(), floor.to_string(), batch.at.to_string());
        let timeline = self.node.field(w, "timeline").unwrap_or_default().to_owned();
        let timeline = if batch.timeline.is_empty() { &timeline } else { batch.timeline };
        self.node.set(w, &[("pos", &new), ("offset", &offset), ("floor", &floor), ("timeline", timeline)]);
        if batch.at != 0 {
            self.node.set(w, &[("at", &at)]);
        }
        let Some(outward) = batch.outward.as_ref().filter(|outward| !outward.owner.is_empty()) else { return };
        if let Some(begun) = outward.begun {
            self.node.set(w, &[("l3_begun", &begun.to_string())]);
        }
        if let Some((done, offset)) = outward.done {
            self.node.set(w, &[("l3", &done.to_string()), ("l3_offset", &offset.to_string())]);
        }
    }
}
