//! The states that were reached: a fingerprint of each, and from which one.

use std::hash::{Hash, Hasher};

/// No state: an empty place of the table.
const NONE: u32 = u32::MAX;
const SLOTS_FIRST: usize = 1 << 12;

/// 24 bytes a state, and up to 11 more for the table that finds it. Two states are taken for one only if 128 bits agree.
pub(super) struct Visited {
    fingerprints: Vec<u128>,
    parents: Vec<u32>,
    slots: Vec<u32>,
}

impl Visited {
    pub(super) fn new() -> Self {
        Visited { fingerprints: Vec::new(), parents: Vec::new(), slots: vec![NONE; SLOTS_FIRST] }
    }

    pub(super) fn len(&self) -> usize {
        self.fingerprints.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.fingerprints.capacity() * size_of::<u128>() + (self.parents.capacity() + self.slots.len()) * 4
    }

    pub(super) fn contains(&self, fingerprint: u128) -> bool {
        self.slots[self.slot_of(fingerprint)] != NONE
    }

    /// The index of a state that is new.
    pub(super) fn insert(&mut self, fingerprint: u128, parent: u32) -> Option<u32> {
        let slot = self.slot_of(fingerprint);
        if self.slots[slot] != NONE {
            return None;
        }
        let index = u32::try_from(self.len()).expect("fewer than four billion states");
        self.slots[slot] = index;
        self.fingerprints.push(fingerprint);
        self.parents.push(parent);
        if self.len() * 4 > self.slots.len() * 3 {
            self.grow();
        }
        Some(index)
    }

    /// The fingerprints on the way from the start, which is left out, to a state.
    pub(super) fn way_to(&self, mut index: u32) -> Vec<u128> {
        let mut way = Vec::new();
        while index != 0 {
            way.push(self.fingerprints[index as usize]);
            index = self.parents[index as usize];
        }
        way.reverse();
        way
    }

    /// Where a fingerprint lies, or would.
    fn slot_of(&self, fingerprint: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = fingerprint as usize & mask;
        while self.slots[slot] != NONE && self.fingerprints[self.slots[slot] as usize] != fingerprint {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![NONE; self.slots.len() * 2];
        for index in 0..self.len() {
            let slot = self.slot_of(self.fingerprints[index]);
            self.slots[slot] = index as u32;
        }
    }
}

/// 128 bits that stand for a state.
pub(super) fn fingerprint(state: &impl Hash) -> u128 {
    let mut hasher = Lanes(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
    state.hash(&mut hasher);
    let Lanes(first, second) = hasher;
    u128::from(mix(first, 0xa409_3822_299f_31d0)) << 64 | u128::from(mix(second, 0x082e_fa98_ec4e_6c89))
}

/// Two independent lanes of 64 bits, each a chain of folded multiplications.
struct Lanes(u64, u64);

fn mix(value: u64, by: u64) -> u64 {
    let wide = u128::from(value ^ 0x4528_21e6_38d0_1377) * u128::from(by | 1);
    wide as u64 ^ (wide >> 64) as u64
}

impl Hasher for Lanes {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word) ^ (part.len() as u64) << 59);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0.rotate_left(7) ^ value, 0xbe54_66cf_34e9_0c6c);
        self.1 = mix(self.1.rotate_left(11).wrapping_add(value), 0xc0ac_29b7_c97c_50dd);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nearby_states_differ_in_both_lanes() {
        let states = (0..40_000_u32).map(|n| [(n % 200) as u8, (n / 200) as u8, 0]);
        let seen: HashSet<u128> = states.map(|state| fingerprint(&state)).collect();
        assert_eq!(seen.len(), 40_000);
        assert_eq!(seen.iter().map(|all| *all as u64).collect::<HashSet<_>>().len(), 40_000);
        assert_eq!(seen.iter().map(|all| (*all >> 64) as u64).collect::<HashSet<_>>().len(), 40_000);
    }

    #[test]
    fn a_table_that_grows_forgets_nothing() {
        let mut visited = Visited::new();
        for n in 0..10_000_u32 {
            assert_eq!(visited.insert(fingerprint(&n), n.saturating_sub(1)), Some(n));
        }
        assert_eq!(visited.insert(fingerprint(&77_u32), 0), None);
        assert!(visited.contains(fingerprint(&9_999_u32)) && !visited.contains(fingerprint(&10_000_u32)));
        assert_eq!(visited.way_to(3), [1_u32, 2, 3].map(|n| fingerprint(&n)));
    }
}
