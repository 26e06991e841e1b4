//! What breaks the history: the slot is dropped, the topics are deleted. A new epoch begins, is greater than all before,
//! and says so in each partition; from there on the log is exact again.

use std::time::{Duration, Instant};

use lockstep_schemas::topics;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use crate::Length;
use crate::check::all_is_exact;
use crate::exact::Reach;
use crate::harness::until;
use crate::ingest::{NEW_EPOCH, STREAMING};
use crate::play::Play;
use crate::shop::{PARTITIONS, Shop, WAIT_MAX};
use crate::tables::GROUPS;
use crate::writer::Writer;

const DELETION_WAIT_MAX: Duration = Duration::from_secs(30);

pub fn the_slot_is_dropped_beneath_it(play: &mut Play) {
    breaks_beneath_it(play, drop_slot);
}

pub fn the_slot_is_dropped_without_it(play: &mut Play) {
    breaks_without_it(play, drop_slot);
}

pub fn the_topics_are_deleted_beneath_it(play: &mut Play) {
    breaks_beneath_it(play, delete_topics);
}

pub fn the_topics_are_deleted_without_it(play: &mut Play) {
    breaks_without_it(play, delete_topics);
}

fn breaks_beneath_it(play: &mut Play, break_it: impl Fn(&Shop)) {
    play.writer.writes_for(play.length.of(1, 5));
    let (epoch, told) = (play.shop.epoch(), play.ingest.said(NEW_EPOCH));
    let began = Instant::now();
    break_it(&play.shop);
    play.ingest.says(NEW_EPOCH, told);
    eprintln!("a new epoch after {:.1} s", began.elapsed().as_secs_f64());
    goes_on_in_a_newer_epoch(play, epoch);
}

fn breaks_without_it(play: &mut Play, break_it: impl Fn(&Shop)) {
    play.writer.writes_for(play.length.of(1, 5));
    play.ingest.stop();
    let epoch = play.shop.epoch();
    break_it(&play.shop);
    play.writer.writes_for(play.length.of(1, 5));
    play.ingest = play.shop.ingest_by_the_ways();
    play.ingest.says(NEW_EPOCH, 0);
    goes_on_in_a_newer_epoch(play, epoch);
}

fn goes_on_in_a_newer_epoch(play: &Play, before: u16) {
    play.shop.until_streaming();
    play.writer.writes_for(play.length.of(1, 5));
    let now = play.shop.until_complete().position.epoch;
    assert!(now > before, "epoch {now} after epoch {before}");
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
    let specs = topics::all(shop.reader(), GROUPS, PARTITIONS);
    let names: Vec<String> = specs.into_iter().map(|spec| spec.name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(DELETION_WAIT_MAX));
    for deleted in shop.runtime.block_on(admin.delete_topics(&names, &options)).expect("an answer") {
        deleted.expect("a deleted topic");
    }
}

/// Once it streams, the epoch is noted on both sides: no kill leaves a doubt, and so no other epoch.
pub fn killed_as_soon_as_it_streams() {
    let shop = Shop::open();
    let writer = Writer::start(&shop);
    // Nothing before the slot is in the log.
    let first = shop.ingest();
    first.says(STREAMING, 0);
    first.kill();
    for _ in 0..3 {
        let next = shop.ingest();
        next.says(STREAMING, 0);
        next.kill();
    }
    let mut last = shop.ingest();
    last.says(STREAMING, 0);
    let counted = all_is_exact(&shop, writer, Length::Short.changes(), Reach::NewestEpoch);
    assert_eq!(counted.epoch, 1, "a kill began another epoch");
    last.stop();
}
