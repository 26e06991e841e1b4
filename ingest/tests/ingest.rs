//! Ingest between a real PostgreSQL and a real Kafka. What changes rows shares one pair of servers; what stops ingest,
//! its servers, or its history has a pair of its own.

#[path = "ingest/backlog.rs"]
mod backlog;
#[path = "ingest/checks.rs"]
mod checks;
#[path = "ingest/epochs.rs"]
mod epochs;
#[path = "ingest/follower.rs"]
mod follower;
#[path = "ingest/hearing.rs"]
mod hearing;
#[path = "ingest/identities.rs"]
mod identities;
#[path = "ingest/idle.rs"]
mod idle;
#[path = "ingest/initial.rs"]
mod initial;
#[path = "ingest/log.rs"]
mod log;
#[path = "ingest/names.rs"]
mod names;
#[path = "ingest/odd.rs"]
mod odd;
#[path = "ingest/partitioned.rs"]
mod partitioned;
#[path = "ingest/progress.rs"]
mod progress;
#[path = "ingest/relations.rs"]
mod relations;
#[path = "ingest/restarts.rs"]
mod restarts;
#[path = "ingest/rows.rs"]
mod rows;
#[path = "ingest/shop.rs"]
mod shop;
#[path = "ingest/snapshots.rs"]
mod snapshots;
#[path = "ingest/standby.rs"]
mod standby;
#[path = "ingest/tables.rs"]
mod tables;
#[path = "ingest/transactions.rs"]
mod transactions;
#[path = "ingest/truncates.rs"]
mod truncates;
#[path = "ingest/values.rs"]
mod values;

use lockstep_schemas::policy::DEFAULT;

use crate::shop::{Shared, Shop};

/// Tests that share a shop, and how many there are: the last one to end closes it.
macro_rules! share {
    ($name:ident = $open:path; $($module:ident::$test:ident)*) => {
        static $name: Shared = Shared::new($open, [$(stringify!($test)),*].len());
        $(#[test]
        fn $test() {
            $name.run($module::$test);
        })*
    };
}

share! {
    SHOP = Shop::open;
    hearing::only_a_client_that_alone_gets_no_answer_is_deaf
    follower::topics_are_followed_from_where_each_begins
    rows::a_product_comes_changes_and_goes
    rows::a_deleted_price_names_its_product
    rows::a_deleted_cart_line_names_its_customer
    rows::a_moved_cart_line_leaves_one_cart_and_enters_another
    rows::an_unchanged_long_text_is_unknown
    rows::a_row_too_large_is_published_hollow
    tables::a_transaction_has_one_position_and_many_ordinals
    tables::what_was_rolled_back_is_not_published
    tables::a_truncate_reaches_every_partition_of_its_group
    tables::a_new_column_is_a_new_schema
}

share! {
    ODD = odd::open;
    checks::a_publication_has_whole_identities
    checks::a_signal_table_must_be_heard
    checks::a_slot_of_somebody_else_is_refused
    checks::hidden_rows_are_refused
    identities::an_old_row_says_what_its_identity_holds
    identities::a_long_key_that_did_not_change_is_known
    rows::a_long_key_counts_too
    identities::a_key_has_no_included_columns
    names::every_name_has_its_avro_name
    partitioned::rows_of_partitions_come_as_the_roots
    partitioned::a_partition_may_be_laid_out_otherwise
    partitioned::an_identity_that_a_partition_lacks_is_never_trusted
    relations::columns_that_come_go_and_change
    relations::a_table_renamed_away_and_back
    relations::a_table_made_anew_is_another
    relations::a_table_that_was_out_of_the_publication
    relations::columns_of_a_list_change_and_go
    relations::values_that_changed_without_a_row
    relations::an_entity_key_renamed_away_and_back
    relations::a_secret_that_comes_later_stays
    transactions::only_what_was_kept_has_an_ordinal
    transactions::a_prepared_transaction_comes_when_it_is_committed
    transactions::copied_rows_are_rows
    snapshots::a_chunk_ends_where_it_is_full
    snapshots::keys_of_any_collation_come_in_order
    truncates::every_form_of_truncate
    values::every_type_arrives
    values::what_avro_cannot_hold_is_incomplete
    values::a_wide_row_and_a_long_one
}

#[test]
fn a_large_transaction() {
    Shop::open().run(transactions::a_large_transaction::<50_000>);
}

/// More of them than the memory that is allowed for it would hold.
#[test]
#[ignore = "takes a minute"]
fn a_transaction_of_a_million_rows() {
    Shop::open().run(transactions::a_large_transaction::<1_000_000>);
}

#[test]
fn progress_says_what_kafka_holds() {
    Shop::open().run(progress::progress_says_what_kafka_holds);
}

#[test]
fn only_what_kafka_holds_is_acknowledged() {
    Shop::open().run(progress::only_what_kafka_holds_is_acknowledged);
}

#[test]
fn what_is_behind_does_not_look_young() {
    Shop::open().run(backlog::what_is_behind_does_not_look_young);
}

#[test]
fn restarts_lose_nothing() {
    Shop::open().run(restarts::restarts_lose_nothing);
}

#[test]
fn a_broken_history_is_a_new_epoch() {
    Shop::open().run(epochs::a_broken_history_is_a_new_epoch);
}

#[test]
fn a_topic_that_goes_is_made_again() {
    Shop::open().run(epochs::a_topic_that_goes_is_made_again);
}

#[test]
fn a_server_put_back_is_a_new_epoch() {
    epochs::a_server_put_back_is_a_new_epoch(&mut Shop::open());
}

#[test]
fn a_snapshot_beside_changes() {
    Shop::open().run(snapshots::a_snapshot_beside_changes);
}

#[test]
fn an_epoch_begins_with_a_snapshot() {
    Shop::open().with_snapshots().run(initial::an_epoch_begins_with_a_snapshot);
}

/// Both mostly wait, so they do it side by side.
#[test]
fn what_takes_its_time() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let settings = [("wal_sender_timeout", "0")];
            Shop::with(DEFAULT, "", &settings).run(standby::only_a_silent_connection_of_ours_is_ended);
        });
        scope.spawn(|| Shop::open().run(idle::what_others_write_passes_by));
    });
}
