//! Ingest between a real PostgreSQL and a real Kafka. What changes rows shares one pair of servers; what stops ingest,
//! its servers, or its history has a pair of its own.

#[path = "ingest/epochs.rs"]
mod epochs;
#[path = "ingest/log.rs"]
mod log;
#[path = "ingest/progress.rs"]
mod progress;
#[path = "ingest/restarts.rs"]
mod restarts;
#[path = "ingest/rows.rs"]
mod rows;
#[path = "ingest/shop.rs"]
mod shop;
#[path = "ingest/tables.rs"]
mod tables;

use crate::shop::{Shop, shared};

/// Tests that share a shop, and how many there are: the last one to end closes it.
macro_rules! in_the_shared_shop {
    ($($module:ident::$test:ident)*) => {
        const SHARING: usize = [$(stringify!($test)),*].len();
        $(#[test]
        fn $test() {
            shared($module::$test);
        })*
    };
}

in_the_shared_shop! {
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

#[test]
fn progress_says_what_kafka_holds() {
    Shop::open().run(progress::progress_says_what_kafka_holds);
}

#[test]
fn only_what_kafka_holds_is_acknowledged() {
    Shop::open().run(progress::only_what_kafka_holds_is_acknowledged);
}

#[test]
fn restarts_lose_nothing() {
    Shop::open().run(restarts::restarts_lose_nothing);
}

#[test]
fn a_broken_history_is_a_new_epoch() {
    Shop::open().run(epochs::a_broken_history_is_a_new_epoch);
}
