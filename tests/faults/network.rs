//! What happens on the way to a server: it is refused, reset, or silent in one direction or both; and connections are
//! forgotten by somebody in between, with nobody told.

use std::time::Instant;

use crate::Length;
use crate::check::all_is_exact;
use crate::exact::Reach;
use crate::harness::cut::{Cut, Mode, Towards};
use crate::harness::until;
use crate::shop::{Ingest, Shop, WAIT_MAX};
use crate::writer::Writer;

const BREAKS: [Mode; 2] = [Mode::Refuse, Mode::Reset];
const SILENCES: [Mode; 3] = [Mode::Silent(Towards::Server), Mode::Silent(Towards::Client), Mode::Silent(Towards::Both)];

/// Seconds for which connections are refused, and for which they are silent.
struct Lasts(u32, u32);

pub fn the_way_to_the_database(length: Length) {
    let lasts = Lasts(length.of(1, 10), length.of(3, 30));
    on_a_way(|shop| &shop.database, &lasts, length);
}

/// The longest time-out of Kafka's client is a minute.
pub fn the_way_to_kafka(length: Length) {
    let lasts = Lasts(length.of(1, 10), length.of(3, 75));
    on_a_way(|shop| &shop.kafka, &lasts, length);
}

fn on_a_way(way: impl Fn(&Shop) -> &Cut, lasts: &Lasts, length: Length) {
    let shop = Shop::open();
    let ingest = shop.streaming_ingest_by_the_ways();
    let writer = Writer::start(&shop);
    let way = way(&shop);
    for mode in BREAKS {
        let broken = way.broken();
        struck(&shop, &writer, &ingest, way, mode, lasts.0);
        assert!(way.broken() > broken, "{mode:?} met nothing");
    }
    for mode in SILENCES {
        let kept = way.bytes_kept();
        struck(&shop, &writer, &ingest, way, mode, lasts.1);
        assert!(way.bytes_kept() > kept, "{mode:?} met nothing");
    }
    all_is_exact(&shop, writer, length.changes(), Reach::All);
    ingest.stop();
}

/// The fault for so many seconds, and then the way back.
fn struck(shop: &Shop, writer: &Writer, ingest: &Ingest, way: &Cut, mode: Mode, seconds: u32) {
    writer.writes(500);
    way.set(mode);
    writer.writes_for(seconds);
    ingest.must_live();
    way.set(Mode::Pass);
    let began = Instant::now();
    shop.until_complete();
    eprintln!("{mode:?} for {seconds} s: complete {:.1} s after it", began.elapsed().as_secs_f64());
}

/// Every open connection to the database is silent for ever; new ones are not. Ingest has to notice by itself.
pub fn forgotten_connections_to_the_database(length: Length) {
    forgotten(|shop| &shop.database, length);
}

pub fn forgotten_connections_to_kafka(length: Length) {
    forgotten(|shop| &shop.kafka, length);
}

fn forgotten(way: impl Fn(&Shop) -> &Cut, length: Length) {
    let shop = Shop::open();
    let ingest = shop.streaming_ingest_by_the_ways();
    let writer = Writer::start(&shop);
    writer.writes_for(1);
    let way = way(&shop);
    way.lose_open_ones();
    let began = Instant::now();
    until("bytes to be lost", WAIT_MAX, || (way.bytes_kept() > 0).then_some(()));
    shop.until_complete();
    eprintln!("complete {:.1} s after all connections were forgotten", began.elapsed().as_secs_f64());
    ingest.must_live();
    all_is_exact(&shop, writer, length.changes(), Reach::All);
    ingest.stop();
}
