//! The K greatest of a column, found without sorting it.

/// Of so many values on, most are first dropped by a sample of them, each so-manieth, and so many places are added to its cut.
const SAMPLED_MIN: usize = 1_024;
const SAMPLE_STEP: usize = 8;
const SAMPLE_SPARE: usize = 8;

/// Where a column is cut so that K of it are left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    threshold: f64,
    /// Of those that equal the threshold, the ones with a smaller number are in.
    ties_before: usize,
}

impl Cut {
    /// Cuts off all but the `k` greatest; what is not above zero is never in. Of equals the first come first. `room` is
    /// scratch space, so that a cut allocates nothing.
    pub fn of(column: &[f64], k: usize, room: &mut Vec<u64>) -> Cut {
        fill(column, room);
        let Some(last) = k.checked_sub(1) else { return Cut { threshold: f64::INFINITY, ties_before: 0 } };
        if room.len() <= k {
            return Cut { threshold: 0.0, ties_before: 0 };
        }
        if room.len() >= SAMPLED_MIN && !keep_likely(k, room) {
            fill(column, room);
        }
        let (greater, threshold, smaller) = room.select_nth_unstable_by(last, |a, b| b.cmp(a));
        let has_more_ties = smaller.contains(threshold);
        let threshold = f64::from_bits(*threshold);
        if !has_more_ties {
            return Cut { threshold, ties_before: usize::MAX };
        }
        let ties = k - greater.iter().filter(|bits| f64::from_bits(**bits) > threshold).count();
        let mut equals = column.iter().enumerate().filter(|(_, value)| **value == threshold);
        Cut { threshold, ties_before: equals.nth(ties).map_or(usize::MAX, |(number, _)| number) }
    }

    /// Whether a value, by its number in the column, is among the K.
    pub fn keeps(&self, number: usize, value: f64) -> bool {
        value > self.threshold || (value == self.threshold && number < self.ties_before)
    }
}

/// The bits of numbers that are not negative are in the numbers' order, and quicker to compare.
fn fill(column: &[f64], room: &mut Vec<u64>) {
    room.clear();
    room.extend(column.iter().filter(|value| **value > 0.0).map(|value| value.to_bits()));
}

/// Drops most of what can't be among the `k` greatest, by a sample. `false`: too much was dropped.
fn keep_likely(k: usize, room: &mut Vec<u64>) -> bool {
    let all = room.len();
    // A quarter more than the sample's share, and some, for a sample errs.
    let place = k / SAMPLE_STEP + k / (4 * SAMPLE_STEP) + SAMPLE_SPARE;
    for at in (0..all).step_by(SAMPLE_STEP) {
        room.push(room[at]);
    }
    let sample = &mut room[all..];
    if place >= sample.len() {
        room.truncate(all);
        return true;
    }
    let least = *sample.select_nth_unstable_by(place, |a, b| b.cmp(a)).1;
    let mut kept = 0;
    // Without a branch: half of them would be guessed wrong.
    for at in 0..all {
        let bits = room[at];
        room[kept] = bits;
        kept += usize::from(bits >= least);
    }
    room.truncate(kept);
    kept > k
}

/// The numbers of the `k` greatest, greatest first; of equals the first come first.
pub fn top(column: &[f64], k: usize, room: &mut Vec<u64>) -> Vec<usize> {
    let cut = Cut::of(column, k, room);
    let mut kept: Vec<usize> = (0..column.len()).filter(|number| cut.keeps(*number, column[*number])).collect();
    kept.sort_unstable_by(|a, b| column[*b].total_cmp(&column[*a]).then(a.cmp(b)));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(column: &[f64], k: usize) -> Vec<usize> {
        let mut sorted: Vec<usize> = (0..column.len()).filter(|number| column[*number] > 0.0).collect();
        sorted.sort_by(|a, b| column[*b].total_cmp(&column[*a]).then(a.cmp(b)));
        sorted.truncate(k);
        sorted
    }

    proptest! {
        #[test]
        fn a_cut_keeps_what_a_sort_would(
            column in prop::collection::vec(prop_oneof![Just(0.0), Just(1.5), 0.0..3.0, Just(f64::from_bits(1))], 0..60),
            k in 0_usize..70,
        ) {
            prop_assert_eq!(top(&column, k, &mut Vec::new()), sorted(&column, k));
        }

        #[test]
        fn so_does_one_by_a_sample(
            column in prop::collection::vec(prop_oneof![Just(0.0), Just(1.5), 0.0..3.0], 1_000..4_000),
            k in 0_usize..4_000,
        ) {
            prop_assert_eq!(top(&column, k, &mut Vec::new()), sorted(&column, k));
        }
    }

    /// Whichever places a sample looks at, the greatest may lie at them, or at all others.
    #[test]
    fn a_sample_that_errs_changes_nothing() {
        for greatest_at in 0..SAMPLE_STEP {
            let value =
                |at: usize| if at % SAMPLE_STEP == greatest_at { 10.0 + at as f64 } else { 1.0 + at as f64 / 1e6 };
            let column: Vec<f64> = (0..4_096).map(value).collect();
            for k in [1, 100, 512, 513, 2_000, 4_095, 4_096] {
                assert_eq!(top(&column, k, &mut Vec::new()), sorted(&column, k), "{greatest_at} {k}");
            }
        }
    }
}
