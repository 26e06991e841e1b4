//! Which slots should go where, so that so many nodes hold about as much each, with few moves. Pure.

use std::collections::BTreeMap;

/// A slot and what it weighs, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// The slot.
    pub slot: u16,
    /// The node that has it.
    pub node: String,
    /// Its bytes.
    pub bytes: u64,
}

/// One slot's move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The slot.
    pub slot: u16,
    /// The node that has it.
    pub from: String,
    /// The node that is to have it; `new-1` and so on are nodes that there are not yet.
    pub to: String,
}

/// A plan: the moves, in an order in which they may be done, and the bytes of each node afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The moves.
    pub moves: Vec<Move>,
    /// Bytes by node.
    pub after: BTreeMap<String, u64>,
}

/// Plans for `count` nodes. Of fewer than there are, the heaviest stay; more than there are get names of their own.
pub fn plan(slots: &[Weight], nodes: &[String], count: usize) -> Plan {
    let bytes_of = |node: &str| slots.iter().filter(|slot| slot.node == node).map(|slot| slot.bytes).sum::<u64>();
    let mut kept: Vec<(String, u64)> = nodes.iter().map(|node| (node.clone(), bytes_of(node))).collect();
    kept.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    kept.truncate(count);
    let new = (1..).map(|n: usize| (format!("new-{n}"), 0)).take(count - kept.len());
    kept.extend(new);
    let mut after: BTreeMap<String, u64> = kept.into_iter().collect();
    let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
    let mut goes: BTreeMap<u16, String> = BTreeMap::new();
    // Who must leave goes first, the heavy ones before the light.
    let mut by_weight: Vec<&Weight> = slots.iter().collect();
    by_weight.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.slot.cmp(&other.slot)));
    for slot in &by_weight {
        owners.insert(slot.slot, &slot.node);
        if !after.contains_key(&slot.node)
            && let Some(to) = lightest(&after)
        {
            *after.entry(to.clone()).or_default() += slot.bytes;
            goes.insert(slot.slot, to);
        }
    }
    // Each round takes from the heaviest what brings it and the lightest nearest to each other.
    for _ in 0..slots.len() {
        let (Some(light), Some(heavy)) = (lightest(&after), heaviest(&after)) else { break };
        let gap = after[&heavy] - after[&light];
        let is_there = |slot: &&&Weight| goes.get(&slot.slot).map_or(slot.node.as_str(), String::as_str) == heavy;
        let helps = |slot: &&&Weight| slot.bytes > 0 && slot.bytes < gap;
        let best = by_weight.iter().filter(is_there).filter(helps).min_by_key(|slot| (gap / 2).abs_diff(slot.bytes));
        let Some(best) = best else { break };
        *after.entry(heavy).or_default() -= best.bytes;
        *after.entry(light.clone()).or_default() += best.bytes;
        goes.insert(best.slot, light);
    }
    let moves = goes.into_iter().map(|(slot, to)| Move { slot, from: owners[&slot].to_owned(), to });
    Plan { moves: moves.filter(|one| one.from != one.to).collect(), after }
}

fn lightest(after: &BTreeMap<String, u64>) -> Option<String> {
    after.iter().min_by_key(|(_, bytes)| **bytes).map(|(node, _)| node.clone())
}

fn heaviest(after: &BTreeMap<String, u64>) -> Option<String> {
    after.iter().max_by_key(|(_, bytes)| **bytes).map(|(node, _)| node.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(slots: &[(u16, &str, u64)], nodes: &[&str], count: usize, moves: &[(u16, &str, &str)], after: &[u64]) {
        let weights: Vec<Weight> = slots
            .iter()
            .map(|(slot, node, bytes)| Weight { slot: *slot, node: (*node).to_owned(), bytes: *bytes })
            .collect();
        let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let plan = plan(&weights, &nodes, count);
        let told: Vec<_> = plan.moves.iter().map(|one| (one.slot, one.from.as_str(), one.to.as_str())).collect();
        assert_eq!((told.as_slice(), plan.after.into_values().collect::<Vec<_>>().as_slice()), (moves, after));
    }

    #[test]
    fn few_moves_even_out() {
        let even = [(0, "a", 10), (1, "a", 10), (2, "b", 10), (3, "b", 10)];
        check(&even, &["a", "b"], 2, &[], &[20, 20]);
        check(&even, &["a", "b"], 4, &[(0, "a", "new-2"), (2, "b", "new-1")], &[10, 10, 10, 10]);
        check(&even, &["a", "b"], 1, &[(2, "b", "a"), (3, "b", "a")], &[40]);
        check(&[(0, "a", 30), (1, "a", 12), (2, "b", 2)], &["a", "b"], 2, &[(1, "a", "b")], &[30, 14]);
        check(&[], &["a"], 2, &[], &[0, 0]);
    }
}
