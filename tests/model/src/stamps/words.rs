//! Steps in the words of docs/protocol.md, section 12.

use super::agents::At;
use super::{Stamps, State, Step};

impl Stamps {
    pub(super) fn words(&self, before: &State, step: Step, after: &State) -> String {
        match step {
            Step::Commit => format!("c{}", after.log),
            Step::Visible(number) => format!("v{number}"),
            Step::Publish(tag) => format!("published to tag {tag}: event {}", after.topics[usize::from(tag)]),
            Step::ApplyRow => format!("A{} on L2", after.applied),
            Step::CrashEngine => "the row's engine crashes".to_owned(),
            Step::Stamp(tag) | Step::Follow(tag) => {
                let node = after.nodes[usize::from(tag)];
                format!("tag {tag}'s lane: stamp s{}, W={}", node.stamp, node.pos)
            }
            Step::CommitOffset(tag) => format!("tag {tag}'s offset committed"),
            Step::CrashLane(tag) => format!("tag {tag}'s lane crashes"),
            Step::Look(_) => match before.entry {
                Some(entry) => format!("a reader finds the entry, with stamps {:?}", entry.stamps),
                None => "lease".to_owned(),
            },
            Step::Go(who) => self.words_of_agent(before, usize::from(who), after),
            Step::Evict => "evict".to_owned(),
            Step::Expire => "the marker expires".to_owned(),
            Step::EvictStamp(tag) => format!("tag {tag}'s stamp is evicted"),
            Step::Save => "save: the replica of tag 0's node has this much".to_owned(),
            Step::FailOver => format!("FO of tag 0's node: stamp s{}, W={}", after.nodes[0].stamp, after.nodes[0].pos),
        }
    }

    fn words_of_agent(&self, before: &State, who: usize, after: &State) -> String {
        let agent = before.agents[who];
        match agent.at {
            At::Rest => String::new(),
            At::Compare(tag) => format!("it compares tag {tag}'s stamp with s{}", before.nodes[usize::from(tag)].stamp),
            At::Dead => "it takes the dead entry's place with a lease".to_owned(),
            At::Stamp(tag) => format!("it reads tag {tag}'s stamp: s{}", after.nodes[usize::from(tag)].stamp),
            At::Database => format!("it reads the database: changes {:#b}", before.visible),
            At::Fill => format!("fill: changes {:#b}, stamps {:?}", agent.holds, agent.stamps),
        }
    }
}
