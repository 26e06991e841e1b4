//! Ingest while everything around it fails: a writer goes on, a fault strikes, and in the end every row that Kafka holds
//! is counted against what was committed. Each case shows that its fault has struck.
//!
//! At full length (`--ignored`) faults last longer than every time-out, and at least 40,000 changes are written. The
//! commonest are also there in short, for every change of the code.

#[path = "faults/check.rs"]
mod check;
#[path = "faults/exact.rs"]
mod exact;
mod harness;
#[path = "faults/history.rs"]
mod history;
#[path = "faults/log.rs"]
mod log;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/servers.rs"]
mod servers;
#[path = "faults/shop.rs"]
mod shop;
#[path = "faults/tables.rs"]
mod tables;
#[path = "faults/writer.rs"]
mod writer;

/// How long a case lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Short,
    Full,
}

impl Length {
    /// How many, or how long.
    fn of<T>(self, short: T, full: T) -> T {
        if self == Length::Short { short } else { full }
    }

    /// Changes that the writer makes at least.
    fn changes(self) -> usize {
        self.of(4_000, 40_000)
    }
}

/// A test for each case: at full length in `full`, and some of them also in `short`.
macro_rules! cases {
    (short $($module:ident::$case:ident)*) => {
        mod short {
            $(#[test]
            fn $case() {
                crate::$module::$case(crate::Length::Short);
            })*
        }
    };
    (full $($module:ident::$case:ident)*) => {
        mod full {
            $(#[test]
            #[ignore = "takes minutes"]
            fn $case() {
                crate::$module::$case(crate::Length::Full);
            })*
        }
    };
}

cases! {
    short
    processes::killed_again_and_again
    processes::woken_after_another_took_over
    processes::two_at_once_and_the_first_is_killed
    servers::kafka_is_killed
    servers::postgres_is_killed
    network::the_way_to_the_database
    history::the_slot_is_dropped_beneath_it
}

cases! {
    full
    processes::killed_again_and_again
    processes::stopped_and_woken_alone
    processes::woken_after_another_took_over
    processes::two_at_once_and_the_first_is_killed
    processes::two_at_once_and_the_first_is_cut_off
    servers::kafka_stands_still
    servers::kafka_is_killed
    servers::kafka_has_no_room
    servers::postgres_is_killed
    network::the_way_to_the_database
    network::the_way_to_kafka
    network::forgotten_connections_to_the_database
    network::forgotten_connections_to_kafka
    history::killed_as_soon_as_it_streams
    history::the_slot_is_dropped_beneath_it
    history::the_slot_is_dropped_without_it
    history::the_topics_are_deleted_beneath_it
    history::the_topics_are_deleted_without_it
}
