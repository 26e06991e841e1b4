//! What happens to the process: it is killed, and it is stopped and woken, while others take over or nobody does.

use std::time::Instant;

use lockstep_stack::Services;

use crate::Length;
use crate::check::all_is_exact;
use crate::exact::Reach;
use crate::harness::cut::{Mode, Towards};
use crate::harness::process::send;
use crate::harness::until;
use crate::shop::{INTERRUPTED, Ingest, STANDING_BY, STREAMING, Shop, WAIT_MAX};
use crate::writer::Writer;

/// Changes between two kills, so that they come at any moment of a start too.
const BETWEEN_KILLS: std::ops::Range<usize> = 50..3_000;

/// SIGKILL at random moments; each time another process goes on.
pub fn killed_again_and_again(length: Length) {
    let shop = Shop::open();
    let mut ingest = shop.streaming_ingest();
    let writer = Writer::start(&shop);
    let (kills, mut while_streaming) = (length.of(5, 20), 0);
    for _ in 0..kills {
        writer.writes(fastrand::usize(BETWEEN_KILLS));
        while_streaming += usize::from(ingest.said(STREAMING) > 0);
        ingest.kill();
        ingest = shop.ingest();
    }
    eprintln!("{kills} kills, {while_streaming} of them while it streamed");
    assert!(while_streaming > 0, "no kill met it at work");
    let counted = all_is_exact(&shop, writer, length.changes(), Reach::All);
    assert!(counted.repeated > 0, "no kill left anything to be repeated");
    ingest.stop();
}

/// SIGSTOP for longer than the server waits for it, and nobody else there.
pub fn stopped_and_woken_alone(length: Length) {
    let shop = Shop::open();
    let ingest = shop.streaming_ingest();
    let writer = Writer::start(&shop);
    writer.writes_for(1);
    ingest.send(libc::SIGSTOP);
    until("the server to give the sleeper up", WAIT_MAX, || shop.streaming_pid().is_none().then_some(()));
    let before = shop.records();
    writer.writes_for(length.of(3, 60));
    assert_eq!(shop.records(), before, "somebody publishes though ingest sleeps");
    ingest.send(libc::SIGCONT);
    ingest.says(INTERRUPTED, 0);
    ingest.says(STREAMING, 1);
    all_is_exact(&shop, writer, length.changes(), Reach::All);
    ingest.stop();
}

/// SIGSTOP with records in hand, and another one takes over; the sleeper wakes, sends what it still had, and stands by.
/// Every second time the other is killed at that moment, so that nothing of its own comes behind what the sleeper said.
pub fn woken_after_another_took_over(length: Length) {
    let shop = Shop::open();
    let sleeper = shop.streaming_ingest();
    let writer = Writer::start(&shop);
    for round in 0..length.of(2, 8) {
        writer.writes(fastrand::usize(500..1_000));
        stop_with_records_in_hand(&shop, &sleeper, &writer);
        let began = Instant::now();
        let other = shop.ingest();
        other.says(STREAMING, 0);
        eprintln!("round {round}: taken over after {:.1} s", began.elapsed().as_secs_f64());
        writer.writes_for(if round == 0 { length.of(3, 60) } else { 3 });
        let (interrupted, stood_by) = (sleeper.said(INTERRUPTED), sleeper.said(STANDING_BY));
        let (streamed, before) = (sleeper.said(STREAMING), shop.records());
        sleeper.send(libc::SIGCONT);
        sleeper.says(INTERRUPTED, interrupted);
        if round % 2 == 1 {
            other.kill();
        } else {
            sleeper.says(STANDING_BY, stood_by);
            assert!(shop.records() > before);
            other.stop();
        }
        sleeper.says(STREAMING, streamed);
    }
    all_is_exact(&shop, writer, length.changes(), Reach::All);
    sleeper.stop();
}

/// Kafka stands still until the client has much to send; then ingest does, and only Kafka goes on.
fn stop_with_records_in_hand(shop: &Shop, ingest: &Ingest, writer: &Writer) {
    let broker = shop.pid("kafka");
    send(broker, libc::SIGSTOP);
    writer.writes(1_500);
    ingest.send(libc::SIGSTOP);
    send(broker, libc::SIGCONT);
}

/// One streams, the other says that it stands by; then the first is killed.
pub fn two_at_once_and_the_first_is_killed(length: Length) {
    let shop = Shop::with(Services { varnish: false, ..Services::default() });
    let mut first = shop.streaming_ingest();
    let mut second = shop.ingest();
    second.says(STANDING_BY, 0);
    let writer = Writer::start(&shop);
    writer.writes_for(length.of(1, 5));
    let streaming = shop.streaming_pid().expect("a streaming process");
    let status = shop.status();
    assert_eq!(status["ingest"]["streaming_pid"].as_str(), Some(streaming.to_string().as_str()), "{status}");
    assert_eq!((first.said(STREAMING), second.said(STREAMING)), (1, 0), "exactly one streams");

    for _ in 0..length.of(1, 5) {
        first.kill();
        let began = Instant::now();
        second.says(STREAMING, 0);
        eprintln!("taken over {:.1} s after a kill (aim: 5 s)", began.elapsed().as_secs_f64());
        first = second;
        second = shop.ingest();
        second.says(STANDING_BY, 0);
        writer.writes_for(1);
    }
    assert!(shop.streaming_pid().is_some_and(|pid| pid != streaming));
    all_is_exact(&shop, writer, length.changes(), Reach::All);
    assert_eq!(second.said(STREAMING), 0);
    second.stop();
    first.stop();
}

/// The first is cut off from both servers, and neither side is told. The second takes over; when the first can be heard
/// again, it stands by.
pub fn two_at_once_and_the_first_is_cut_off(length: Length) {
    let shop = Shop::open();
    let first = shop.streaming_ingest_by_the_ways();
    let second = shop.ingest();
    second.says(STANDING_BY, 0);
    let writer = Writer::start(&shop);
    writer.writes_for(2);
    for way in [&shop.database, &shop.kafka] {
        way.set(Mode::Silent(Towards::Both));
    }
    let began = Instant::now();
    second.says(STREAMING, 0);
    eprintln!("taken over {:.1} s after a cut (aim: 15 s)", began.elapsed().as_secs_f64());
    assert!(shop.database.bytes_kept() > 0, "the cut met nothing");
    writer.writes_for(length.of(2, 30));
    let stood_by = first.said(STANDING_BY);
    for way in [&shop.database, &shop.kafka] {
        way.set(Mode::Pass);
    }
    first.says(STANDING_BY, stood_by);
    writer.writes_for(1);
    all_is_exact(&shop, writer, length.changes(), Reach::All);
    second.stop();
    first.stop();
}
