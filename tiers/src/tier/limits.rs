//! How much goes into one call and one entry. The functions refuse what is larger before they write anything; here it
//! never comes to that.

use std::borrow::Cow;

use lockstep_schemas::key::Key;

use super::{Action, Fill};
use crate::whole;

/// Actions in one call: two keys each, and the watermark; it blocks the node while it runs.
pub const ACTIONS_MAX: usize = 60;
/// Entries in one call that leases or fills them.
pub const ENTRIES_MAX: usize = 60;
/// Arguments of one call. Lua's `unpack` fails at 8,000.
pub const ARGUMENTS_MAX: usize = 4_000;
/// Arguments of `apply` before its actions.
const ARGUMENTS_FIXED: usize = 12;
/// Bytes of one call's fields, about, and as they are carried: a call blocks its node.
pub const CALL_BYTES_MAX: usize = 256 * 1_024;
/// The same as it is carried, of a call of the largest entry alone. The functions take a little more.
const CALL_CARRIED_MAX: usize = whole::length_max(ENTRY_FIELDS_MAX, CALL_BYTES_MAX);
/// An entry's size, fields and values. A larger one is never cached.
pub const ENTRY_BYTES_MAX: usize = 256 * 1_024;
/// Fields of an entry. One with more rows is never cached.
pub const ENTRY_FIELDS_MAX: usize = 500;

impl Fill<'_> {
    /// How many bytes its fields have.
    pub fn bytes(&self) -> usize {
        self.fields.map_or(0, |fields| fields.iter().map(|(name, text)| name.len() + text.len()).sum())
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.bytes() > ENTRY_BYTES_MAX || self.fields.is_some_and(|fields| fields.len() > ENTRY_FIELDS_MAX)
    }

    /// How many bytes a call carries for it, at most.
    fn carried(&self) -> usize {
        whole::length_max(self.fields.map_or(0, Vec::len), self.bytes())
    }

    /// Whether both may go in one call: of one source, under one lease.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let of = |fill: &Self| (fill.source_at, fill.ttl, fill.low);
        of(self) == of(other) && (self.timeline, self.nonce) == (other.timeline, other.nonce)
    }
}

/// Fills in parts that each fit into one call, and are of one source under one lease. What is too large for any entry comes
/// alone.
pub(crate) fn calls_of<'f, 'd>(
    mut fills: &'f [(&'d Key, &'d Fill<'d>)],
) -> impl Iterator<Item = &'f [(&'d Key, &'d Fill<'d>)]> {
    std::iter::from_fn(move || {
        let (_, first) = fills.first()?;
        let mut bytes = 0;
        let fits = |(_, fill): &&(&Key, &Fill<'_>)| {
            bytes += fill.carried();
            fill.is_like(first) && !fill.is_too_large() && bytes <= CALL_BYTES_MAX
        };
        let count = fills.iter().take(ENTRIES_MAX).take_while(fits).count().max(1);
        let (call, rest) = fills.split_at(count);
        fills = rest;
        Some(call)
    })
}

/// Actions that fit into one call. One change may be more than that, where it concerns many large entries: then the largest
/// are invalidated, which is right for any entry, rather than that their lane stands for ever.
pub(crate) fn within_limits(actions: &[(Key, Action)]) -> Cow<'_, [(Key, Action)]> {
    let size = |(_, action): &(Key, Action)| action.size();
    let (mut arguments, mut bytes) = (ARGUMENTS_FIXED, 0);
    for (count, length) in actions.iter().map(size) {
        (arguments, bytes) = (arguments + count, bytes + length);
    }
    let mut fitting = Cow::Borrowed(actions);
    while arguments > ARGUMENTS_MAX || bytes > CALL_CARRIED_MAX {
        let by_bytes = bytes > CALL_CARRIED_MAX;
        let weight = |pair: &(Key, Action)| if by_bytes { size(pair).1 } else { size(pair).0 };
        let Some((_, largest)) = fitting.to_mut().iter_mut().max_by_key(|pair| weight(pair)) else { break };
        let (count, length) = largest.size();
        (arguments, bytes) = (arguments + 1 - count, bytes - length);
        *largest = Action::Invalidate;
    }
    fitting
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use lockstep_schemas::change::{Cell, Row};
    use lockstep_schemas::key::KeyPattern;
    use lockstep_schemas::position::Position;

    use super::*;

    fn refresh(fields: usize, bytes: usize) -> Action {
        let names = (0..fields).map(|_| Arc::from("")).collect();
        let fields = Row::new(names, vec![Cell::Value("x".repeat(bytes).into()); fields]);
        Action::Refresh { position: Position::LEAST, ttl: Duration::from_secs(1), born: None, fields }
    }

    /// Which of some refreshes, by their fields and bytes a field, are refreshed still.
    fn check(sizes: &[(usize, usize)], expected: &[bool]) {
        let pattern = KeyPattern::parse("p:{id}", "id").expect("a pattern");
        let actions: Vec<_> =
            sizes.iter().map(|(fields, bytes)| (pattern.key("7"), refresh(*fields, *bytes))).collect();
        let fitting = within_limits(&actions);
        let refreshed: Vec<bool> = fitting.iter().map(|(_, action)| *action != Action::Invalidate).collect();
        assert_eq!(refreshed, expected, "{sizes:?}");
    }

    #[test]
    fn the_largest_entry_fits_alone() {
        let pattern = KeyPattern::parse("p:{id}", "id").expect("a pattern");
        let mut whole = refresh(ENTRY_FIELDS_MAX, 524);
        if let Action::Refresh { born, .. } = &mut whole {
            *born = Some(1);
        }
        assert!(whole.bytes() <= ENTRY_BYTES_MAX && whole.size().1 > CALL_BYTES_MAX);
        assert_eq!(*within_limits(&[(pattern.key("7"), whole.clone())]), [(pattern.key("7"), whole)]);
    }

    #[test]
    fn the_largest_give_way() {
        check(&[(3, 10), (2, 10)], &[true, true]);
        check(&[(1, CALL_BYTES_MAX)], &[true]);
        check(&[(1, CALL_CARRIED_MAX), (1, 1)], &[false, true]);
        check(&[(1, 1), (1, CALL_CARRIED_MAX / 2), (1, CALL_CARRIED_MAX / 2)], &[true, true, false]);
        check(&[(490, 1), (490, 1), (490, 1), (490, 1)], &[true, true, true, true]);
        check(&[(490, 1), (500, 1), (490, 1), (490, 1), (19, 1)], &[true, false, true, true, true]);
    }
}
