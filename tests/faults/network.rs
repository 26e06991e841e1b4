//! What happens on the way to a server: it is refused, reset, or silent in one direction or both; and connections are
//! forgotten by somebody in between, with nobody told.

use std::time::Instant;

use crate::harness::cut::{Cut, Mode, Towards};
use crate::harness::until;
use crate::play::Play;
use crate::shop::WAIT_MAX;

const BREAKS: [Mode; 2] = [Mode::Refuse, Mode::Reset];
const SILENCES: [Mode; 3] = [Mode::Silent(Towards::Server), Mode::Silent(Towards::Client), Mode::Silent(Towards::Both)];
/// In short: the abrupt one, and the one that nobody is told of.
const IN_SHORT: [Mode; 2] = [BREAKS[1], SILENCES[2]];

/// Seconds for which connections are refused, and for which they are silent.
struct Lasts(u32, u32);

pub fn the_way_to_the_database(play: &mut Play) {
    let lasts = Lasts(play.length.of(1, 10), play.length.of(3, 30));
    on_a_way(play, &play.shop.database, &lasts);
}

/// The longest time-out of Kafka's client is a minute.
pub fn the_way_to_kafka(play: &mut Play) {
    let lasts = Lasts(play.length.of(1, 10), play.length.of(3, 75));
    on_a_way(play, &play.shop.kafka, &lasts);
}

fn on_a_way(play: &Play, way: &Cut, lasts: &Lasts) {
    let at_length = [&BREAKS[..], &SILENCES[..]].concat();
    for mode in play.length.of(IN_SHORT.to_vec(), at_length) {
        let (broken, kept) = (way.broken(), way.bytes_kept());
        let seconds = if BREAKS.contains(&mode) { lasts.0 } else { lasts.1 };
        struck(play, way, mode, seconds);
        assert!(way.broken() > broken || way.bytes_kept() > kept, "{mode:?} met nothing");
    }
}

/// The fault for so many seconds, and then the way back.
fn struck(play: &Play, way: &Cut, mode: Mode, seconds: u32) {
    play.writer.writes(500);
    way.set(mode);
    play.writer.writes_for(seconds);
    play.ingest.must_live();
    way.set(Mode::Pass);
    let began = Instant::now();
    play.shop.until_complete();
    eprintln!("{mode:?} for {seconds} s: complete {:.1} s after it", began.elapsed().as_secs_f64());
}

/// Every open connection to the database is silent for ever; new ones are not. Ingest has to notice by itself.
pub fn forgotten_connections_to_the_database(play: &mut Play) {
    forgotten(play, &play.shop.database);
}

pub fn forgotten_connections_to_kafka(play: &mut Play) {
    forgotten(play, &play.shop.kafka);
}

fn forgotten(play: &Play, way: &Cut) {
    let kept = way.bytes_kept();
    way.lose_open_ones();
    let began = Instant::now();
    until("bytes to be lost", WAIT_MAX, || (way.bytes_kept() > kept).then_some(()));
    play.shop.until_complete();
    eprintln!("complete {:.1} s after all connections were forgotten", began.elapsed().as_secs_f64());
    play.ingest.must_live();
}
