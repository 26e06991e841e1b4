//! Steps in the words of docs/protocol.md, section 12.

use super::lane::Call;
use super::responses::Stage;
use super::{Edge, State, Step};

impl Edge {
    pub(super) fn words(&self, before: &State, step: Step, after: &State) -> String {
        let lane = before.lane;
        match step {
            Step::Apply => self.words_of_apply(before, after),
            Step::Move => format!("the lane tells L2: l3={}; {}", lane.done, marks(after)),
            Step::Notice => format!("L1's pos is not {}: the lane begins again; {}", lane.expect[1], marks(after)),
            Step::Crash => format!("the engine crashes; another opens the lane; {}", marks(after)),
            Step::HandOver { has_landed } => {
                let call = after.late.map(|call| call_words(&call)).unwrap_or_default();
                let fate = if has_landed { "has landed, unanswered" } else { "is still to come" };
                format!("rebalance; the old owner's {call} {fate}; {}", marks(after))
            }
            Step::LateCall => {
                let call = before.late.map(|call| call_words(&call)).unwrap_or_default();
                let fate = if before.tiers == after.tiers { "lost" } else { "it lands" };
                format!("the old {call} comes again: {fate}; {}", marks(after))
            }
            Step::Round => format!("round 1 of purges up to {} begins", lane.pending.unwrap_or_default()),
            Step::Purge(layer) => format!("purge {}", layer_name(layer)),
            Step::EndRound => match after.lane.round {
                Some(round) => format!("the round ends; round {} may begin", round.number),
                None => format!("the last round ends: purged up to {}", after.lane.done),
            },
            Step::Fetch => format!("the origin is asked; l3_begun={}", before.tiers[0].begun),
            Step::Read(_, tier) => {
                let page = before.tiers[usize::from(tier)].pos;
                let kept = after.responses.iter().flatten().count() == before.responses.iter().flatten().count();
                format!("the origin reads v{page} from {}{}", name(tier), if kept { "" } else { ": no-store" })
            }
            Step::FetchInner => "the edge asks the shield".to_owned(),
            Step::Store(at) => match before.responses[usize::from(at)].map(|response| response.stage) {
                Some(Stage::Made { page }) => format!("v{page} stored in the inner layer"),
                Some(Stage::Inner { page }) => format!("v{page} stored in the edge"),
                _ => String::new(),
            },
            Step::Lose(_) => "a response is lost".to_owned(),
            Step::Save(tier) => format!("save: the replica of {} has this much", name(tier)),
            Step::FailOver(tier) => format!("FO of {}; {}", name(tier), marks(after)),
        }
    }

    fn words_of_apply(&self, before: &State, after: &State) -> String {
        let through = before.lane.next + 1;
        let Some(tier) = (0..self.tiers).find(|tier| before.lane.expect[*tier] < through) else {
            return format!("A{through} is everywhere: planned for the edge only");
        };
        let fate =
            if before.tiers[tier].pos == before.lane.expect[tier] { "" } else { ": lost, the lane begins again" };
        format!("A{through} on {}{fate}; {}", name(tier as u8), marks(after))
    }
}

fn marks(state: &State) -> String {
    let [l2, l1] = state.tiers;
    format!("W2={} l3_begun={} l3={} W1={}", l2.pos, l2.begun, l2.l3, l1.pos)
}

fn call_words(call: &Call) -> String {
    format!("apply({} -> {})", call.expect, call.new)
}

fn name(tier: u8) -> &'static str {
    ["L2", "L1"][usize::from(tier)]
}

fn layer_name(layer: u8) -> &'static str {
    ["the inner layer", "the outer layer"][usize::from(layer)]
}
