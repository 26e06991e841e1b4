//! What breaks the history: the slot is dropped, the topics are deleted. A new epoch begins, is greater than all before,
//! and says so in each partition; from there on the log is exact again.

use std::time::Duration;

use lockstep_schemas::topics;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use crate::Length;
use crate::check::all_is_exact;
use crate::exact::Reach;
use crate::harness::until;
use crate::shop::{Ingest, NEW_EPOCH, PARTITIONS, STREAMING, Shop, WAIT_MAX};
use crate::tables::GROUPS;
use crate::writer::Writer;

const DELETION_WAIT_MAX: Duration = Duration::from_secs(30);

pub fn the_slot_is_dropped_beneath_it(length: Length) {
    breaks_beneath_it(length, drop_slot);
}

pub fn the_slot_is_dropped_without_it(length: Length) {
    breaks_without_it(length, drop_slot);
}

pub fn the_topics_are_deleted_beneath_it(length: Length) {
    breaks_beneath_it(length, delete_topics);
}

pub fn the_topics_are_deleted_without_it(length: Length) {
    breaks_without_it(length, delete_topics);
}

/// Once it streams, the epoch is noted on both sides: no kill leaves a doubt, and so no other epoch.
pub fn killed_as_soon_as_it_streams(length: Length) {
    let shop = Shop::open();
    let writer = Writer::start(&shop);
    // Nothing before the slot is in the log.
    let first = shop.ingest();
    first.says(STREAMING, 0);
    first.kill();
    for _ in 0..length.of(1, 3) {
        let next = shop.ingest();
        next.says(STREAMING, 0);
        next.kill();
    }
    let last = shop.ingest();
    last.says(STREAMING, 0);
    let counted = all_is_exact(&shop, writer, length.changes(), Reach::NewestEpoch);
    assert_eq!(counted.epoch, 1, "a kill began another epoch");
    last.stop();
}

fn breaks_beneath_it(length: Length, break_it: impl Fn(&Shop)) {
    let shop = Shop::open();
    let ingest = shop.streaming_ingest();
    let writer = Writer::start(&shop);
    writer.writes(length.changes() / 4);
    let (epoch, told) = (epoch(&shop), ingest.said(NEW_EPOCH));
    break_it(&shop);
    ingest.says(NEW_EPOCH, told);
    ends_in_a_newer_epoch(&shop, writer, ingest, length, epoch);
}

fn breaks_without_it(length: Length, break_it: impl Fn(&Shop)) {
    let shop = Shop::open();
    let ingest = shop.streaming_ingest();
    let writer = Writer::start(&shop);
    writer.writes(length.changes() / 4);
    ingest.stop();
    let epoch = epoch(&shop);
    break_it(&shop);
    writer.writes(length.changes() / 4);
    let ingest = shop.ingest();
    ingest.says(NEW_EPOCH, 0);
    ends_in_a_newer_epoch(&shop, writer, ingest, length, epoch);
}

fn ends_in_a_newer_epoch(shop: &Shop, writer: Writer, ingest: Ingest, length: Length, before: u16) {
    shop.until_streaming();
    writer.writes(length.changes() / 4);
    let counted = all_is_exact(shop, writer, length.changes(), Reach::NewestEpoch);
    assert!(counted.epoch > before, "epoch {} after epoch {before}", counted.epoch);
    assert_eq!(counted.epoch, epoch(shop), "the newest epoch of the table is that of the log");
    assert!(counted.commits > 0 && counted.rows > 0);
    ingest.stop();
}

fn epoch(shop: &Shop) -> u16 {
    shop.sql("SELECT max(epoch) FROM lockstep.epoch").parse().expect("an epoch")
}

fn drop_slot(shop: &Shop) {
    let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL";
    until("the slot to be dropped", WAIT_MAX, || {
        shop.sql(end);
        shop.try_sql("SELECT pg_drop_replication_slot('lockstep')").ok()
    });
}

fn delete_topics(shop: &Shop) {
    let admin: AdminClient<DefaultClientContext> =
        topics::client(shop.reader(), "test-admin").create().expect("a client");
    let names: Vec<String> = topics::all(GROUPS, PARTITIONS).into_iter().map(|spec| spec.name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(DELETION_WAIT_MAX));
    for deleted in shop.runtime.block_on(admin.delete_topics(&names, &options)).expect("an answer") {
        deleted.expect("a deleted topic");
    }
}
