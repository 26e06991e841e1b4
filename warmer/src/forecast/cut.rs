//! The K greatest of a column, found without sorting it.

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
        // The bits of numbers that are not negative are in the numbers' order, and quicker to compare.
        room.clear();
        room.extend(column.iter().filter(|value| **value > 0.0).map(|value| value.to_bits()));
        let Some(last) = k.checked_sub(1) else { return Cut { threshold: f64::INFINITY, ties_before: 0 } };
        if room.len() <= k {
            return Cut { threshold: 0.0, ties_before: 0 };
        }
        let (greater, threshold, _) = room.select_nth_unstable_by(last, |a, b| b.cmp(a));
        let threshold = f64::from_bits(*threshold);
        let ties = k - greater.iter().filter(|bits| f64::from_bits(**bits) > threshold).count();
        let mut equals = column.iter().enumerate().filter(|(_, value)| **value == threshold);
        Cut { threshold, ties_before: equals.nth(ties).map_or(usize::MAX, |(number, _)| number) }
    }

    /// Whether a value, by its number in the column, is among the K.
    pub fn keeps(&self, number: usize, value: f64) -> bool {
        value > self.threshold || (value == self.threshold && number < self.ties_before)
    }
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

    proptest! {
        #[test]
        fn a_cut_keeps_what_a_sort_would(
            column in prop::collection::vec(prop_oneof![Just(0.0), Just(1.5), 0.0..3.0, Just(f64::from_bits(1))], 0..60),
            k in 0_usize..70,
        ) {
            let mut sorted: Vec<usize> = (0..column.len()).filter(|number| column[*number] > 0.0).collect();
            sorted.sort_by(|a, b| column[*b].total_cmp(&column[*a]).then(a.cmp(b)));
            sorted.truncate(k);
            prop_assert_eq!(top(&column, k, &mut Vec::new()), sorted);
        }
    }
}
