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
#[path = "faults/ingest.rs"]
mod ingest;
#[path = "faults/log.rs"]
mod log;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/pen.rs"]
mod pen;
#[path = "faults/play.rs"]
mod play;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/reading.rs"]
mod reading;
#[path = "faults/servers.rs"]
mod servers;
#[path = "faults/shop.rs"]
mod shop;
#[path = "faults/tables.rs"]
mod tables;
#[path = "faults/writer.rs"]
mod writer;

use crate::exact::Reach;

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

/// Each fault with its name.
macro_rules! faults {
    ($($module:ident::$fault:ident),* $(,)?) => {
        &[$((stringify!($fault), $module::$fault as play::Fault)),*]
    };
}

#[test]
fn what_interrupts_ingest_in_short() {
    play::Play::of(
        Length::Short,
        Reach::All,
        faults![
            processes::killed_again_and_again,
            processes::stopped_and_woken_alone,
            processes::woken_after_another_took_over,
            processes::two_at_once_and_the_first_is_killed,
            processes::two_at_once_and_the_first_is_cut_off,
            servers::postgres_is_killed,
            servers::kafka_stands_still,
            servers::kafka_is_killed,
            network::the_way_to_the_database,
        ],
    );
}

#[test]
fn what_breaks_the_history_in_short() {
    play::Play::of(
        Length::Short,
        Reach::NewestEpoch,
        faults![history::the_topics_are_deleted_without_it, history::the_slot_is_dropped_beneath_it],
    );
}

/// A test for each fault at full length.
macro_rules! at_length {
    ($($module:ident::$fault:ident in $reach:ident)*) => {
        mod at_length {
            $(#[test]
            #[ignore = "takes minutes"]
            fn $fault() {
                let fault = crate::$module::$fault;
                crate::play::Play::of(crate::Length::Full, crate::Reach::$reach, &[(stringify!($fault), fault)]);
            })*
        }
    };
}

at_length! {
    processes::killed_again_and_again in All
    processes::stopped_and_woken_alone in All
    processes::woken_after_another_took_over in All
    processes::woken_as_the_other_is_killed in All
    processes::two_at_once_and_the_first_is_killed in All
    processes::two_at_once_and_the_first_is_cut_off in All
    servers::kafka_stands_still in All
    servers::kafka_is_killed in All
    servers::kafka_has_no_room in All
    servers::postgres_is_killed in All
    network::the_way_to_the_database in All
    network::the_way_to_kafka in All
    network::forgotten_connections_to_the_database in All
    network::forgotten_connections_to_kafka in All
    history::the_slot_is_dropped_beneath_it in NewestEpoch
    history::the_slot_is_dropped_without_it in NewestEpoch
    history::the_topics_are_deleted_beneath_it in NewestEpoch
    history::the_topics_are_deleted_without_it in NewestEpoch
}

#[test]
#[ignore = "takes minutes, with the others"]
fn killed_as_soon_as_it_streams() {
    history::killed_as_soon_as_it_streams();
}
