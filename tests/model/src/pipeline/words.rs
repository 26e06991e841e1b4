//! Steps in the words of docs/protocol.md, section 12.

use super::agents::Agent;
use super::{Pipeline, READERS_MAX, State, Step};
use crate::history::{MISSING, Values};
use crate::tier::{Fill, Node};

impl Pipeline {
    pub(super) fn words(&self, before: &State, step: Step, after: &State) -> String {
        match step {
            Step::Commit => format!("c{} ({})", after.log, self.history.commit(after.log).name),
            Step::Visible(number) => format!("v{number}"),
            Step::Apply { is_old, tier, through } => self.words_of_apply(before, after, is_old, tier, through),
            Step::Move { is_old } => format!("{} compares, and moves the watermark", who(is_old)),
            Step::Notice => "the lane finds a watermark elsewhere, and begins again".to_owned(),
            Step::CommitOffset => format!("offset {} committed", after.committed),
            Step::Crash => "the engine crashes; another opens the lane".to_owned(),
            Step::Rebalance => "rebalance; the old owner goes on".to_owned(),
            Step::Lease { tier, .. } => format!("lease@{} on {}", before.nodes[usize::from(tier)].pos, name(tier)),
            Step::Read(who) => self.words_of_read(before, who, false),
            Step::ReadPast(who) => self.words_of_read(before, who, true),
            Step::Fill(who) => match before.agents[usize::from(who)] {
                Agent::Read { tier, fill } => self.words_of_fill(before, after, tier, fill, "fill"),
                _ => String::new(),
            },
            Step::FillAgain => match before.again {
                Some((tier, fill)) => self.words_of_fill(before, after, tier, fill, "the same fill again"),
                None => String::new(),
            },
            Step::GiveUp(who) => format!("{} gives up: nothing on L2", filler(who)),
            Step::Evict(tier) => format!("evict from {}", name(tier)),
            Step::Expire(tier) => format!("the marker on {} expires", name(tier)),
            Step::Save(tier) => format!("save: the replica of {} has this much", name(tier)),
            Step::FailOver(tier) => format!("FO of {}: {}", name(tier), self.node(after, tier)),
            Step::Snapshot => format!("a snapshot is taken, S={}", before.log),
            Step::Plant(tier) => format!("the snapshot's row comes to {}: {}", name(tier), self.node(after, tier)),
        }
    }

    fn words_of_apply(&self, before: &State, after: &State, is_old: bool, tier: u8, through: u8) -> String {
        let lane = if is_old { before.old.unwrap_or_default() } else { before.lane };
        let actions = (lane.next + 1..=through).map(|number| format!("A{number}")).collect::<Vec<_>>().join("+");
        let at = usize::from(tier);
        let whose = if is_old { "the old owner's " } else { "" };
        if before.nodes[at] == after.nodes[at] && before.nodes[at].pos != lane.expect[at] {
            return format!("{whose}{actions} on {}: lost, pos is {}", name(tier), before.nodes[at].pos);
        }
        format!("{whose}{actions} on {}: {}", name(tier), self.node(after, tier))
    }

    fn words_of_read(&self, before: &State, who: u8, is_past_l2: bool) -> String {
        let Agent::Leased { tier, .. } = before.agents[usize::from(who)] else { return String::new() };
        if tier == 0 || is_past_l2 {
            let values = self.values(&self.history.contents(before.visible));
            return format!("{} reads the database: {values}", filler(who));
        }
        format!("{} reads L2: {}", filler(who), self.node(before, 0))
    }

    fn words_of_fill(&self, before: &State, after: &State, tier: u8, fill: Fill, how: &str) -> String {
        let what = format!("[{}, low={}, high={}]", self.values(&fill.values), fill.low, fill.high.max(fill.low));
        let was_refused = before.nodes[usize::from(tier)].entry == after.nodes[usize::from(tier)].entry;
        let verdict = if was_refused { ": refused" } else { "" };
        format!("{how} {what} into {}{verdict}", name(tier))
    }

    fn node(&self, state: &State, tier: u8) -> String {
        let Node { pos, entry, marker, .. } = state.nodes[usize::from(tier)];
        let entry = entry
            .map(|entry| format!("[{}, low={}, high={}]", self.values(&entry.values), entry.low, entry.high))
            .unwrap_or_else(|| "absent".to_owned());
        let marker = marker.map(|marker| format!(", marker@{}", marker.pos)).unwrap_or_default();
        format!("{entry}{marker}, W={pos}")
    }

    fn values(&self, values: &Values) -> String {
        if self.history.is_absent(values) {
            return "no row".to_owned();
        }
        let shown = |column: usize| match values[column] {
            MISSING => format!("{}=?", ["P", "text", "I"][column]),
            value => format!("{}={value}", ["P", "text", "I"][column]),
        };
        self.history.columns().map(shown).collect::<Vec<_>>().join(" ")
    }
}

fn filler(who: u8) -> &'static str {
    if usize::from(who) < READERS_MAX { "a reader" } else { "the engine, for its own lease," }
}

fn who(is_old: bool) -> &'static str {
    if is_old { "the old owner" } else { "the lane" }
}

fn name(tier: u8) -> &'static str {
    ["L2", "L1"][usize::from(tier)]
}
