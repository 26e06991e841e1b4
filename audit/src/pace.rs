//! How fast the auditor may look, by how much there is to do for a tier and for the database. Pure.

/// One copy costs about so many commands of its node: watermark, lease, entry, life.
pub(crate) const COMMANDS_PER_COPY: f64 = 4.0;
/// Of the load of a tier, and of the database.
const SHARE_MAX: f64 = 0.01;
/// A look's rows count for so much of a transaction each: many are read by one statement.
const TRANSACTIONS_PER_COPY: f64 = 0.1;

/// What is done a second, by others than the auditor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Commands that the tier carries out.
    pub commands: f64,
    /// Transactions that end in the database.
    pub transactions: f64,
    /// Commands that the auditor sends to the tier beside its walk: for watermarks, and for what has just changed.
    pub beside: f64,
}

/// Copies a second that may be looked at in a tier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// By the walk.
    pub walk: f64,
    /// Of what has just changed.
    pub recent: f64,
}

/// One in a hundred of what is done anyway; where that is less than the floor, so many. What has just changed may take half
/// of it, and the walk all that is left.
pub(crate) fn share(load: Load, floor: u32) -> Share {
    let floor = f64::from(floor);
    let by_tier = load.commands * SHARE_MAX / COMMANDS_PER_COPY;
    let by_database = load.transactions * SHARE_MAX / TRANSACTIONS_PER_COPY;
    let all = by_tier.min(by_database).max(floor);
    Share { walk: (all - load.beside / COMMANDS_PER_COPY).max(floor / 2.0), recent: all / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(commands: f64, transactions: f64, beside: f64, floor: u32, walk: f64, recent: f64) {
        assert_eq!(share(Load { commands, transactions, beside }, floor), Share { walk, recent });
    }

    #[test]
    fn one_in_a_hundred_and_the_floor_where_there_is_next_to_nothing_to_do() {
        check(0.0, 0.0, 0.0, 1, 1.0, 0.5);
        check(40_000.0, 10_000.0, 0.0, 1, 100.0, 50.0);
        check(300_000.0, 1_000.0, 0.0, 1, 100.0, 50.0);
        check(2_000.0, 10_000.0, 0.0, 1, 5.0, 2.5);
        check(0.0, 0.0, 0.0, 400, 400.0, 200.0);
    }

    #[test]
    fn what_is_sent_beside_the_walk_is_part_of_the_share() {
        check(40_000.0, 10_000.0, 160.0, 1, 60.0, 50.0);
        check(40_000.0, 10_000.0, 1_200.0, 1, 0.5, 50.0);
    }
}
