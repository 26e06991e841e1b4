//! What happens to the process: it is killed, and it is stopped and woken, while others take over or nobody does.

use std::mem;
use std::time::{Duration, Instant};

use crate::harness::cut::{Mode, Towards};
use crate::harness::process::send;
use crate::harness::until;
use crate::ingest::{INTERRUPTED, Ingest, STANDING_BY, STREAMING};
use crate::play::Play;
use crate::shop::WAIT_MAX;

/// Until another ingest streams, after the first was killed, and after it can no longer be heard. A busy machine may take
/// twice as long.
const AFTER_KILL_AIM: Duration = Duration::from_secs(5);
const AFTER_CUT_AIM: Duration = Duration::from_secs(15);

/// Changes between two kills, so that they come at any moment of a start too.
const BETWEEN_KILLS: std::ops::Range<usize> = 50..3_000;

/// SIGKILL at random moments; each time another process goes on.
pub fn killed_again_and_again(play: &mut Play) {
    let (kills, mut while_streaming) = (play.length.of(3, 20), 0);
    for _ in 0..kills {
        play.writer.writes(fastrand::usize(BETWEEN_KILLS));
        while_streaming += usize::from(play.ingest.said(STREAMING) > 0);
        play.ingest.kill();
        play.ingest = play.shop.ingest_by_the_ways();
    }
    eprintln!("{kills} kills, {while_streaming} of them while it streamed");
    assert!(while_streaming > 0, "no kill met it at work");
    play.ingest.says(STREAMING, 0);
}

/// SIGSTOP for longer than the server waits for it, and nobody else there.
pub fn stopped_and_woken_alone(play: &mut Play) {
    let Play { length, writer, ingest, shop } = play;
    let (interrupted, streamed) = (ingest.said(INTERRUPTED), ingest.said(STREAMING));
    ingest.send(libc::SIGSTOP);
    until("the server to give the sleeper up", WAIT_MAX, || shop.streaming_pid().is_none().then_some(()));
    let before = shop.records();
    writer.writes_for(length.of(1, 60));
    assert_eq!(shop.records(), before, "somebody publishes though ingest sleeps");
    ingest.send(libc::SIGCONT);
    ingest.says(INTERRUPTED, interrupted);
    ingest.says(STREAMING, streamed);
}

/// SIGSTOP with records in hand, and another one takes over; the sleeper wakes, sends what it still had, and stands by.
pub fn woken_after_another_took_over(play: &mut Play) {
    for round in 0..play.length.of(1, 4) {
        let mut other = took_over_from_a_sleeper(play);
        play.writer.writes_for(if round == 0 { play.length.of(1, 60) } else { 3 });
        let ingest = &play.ingest;
        let (stood_by, streamed, before) = (ingest.said(STANDING_BY), ingest.said(STREAMING), play.shop.records());
        ingest.send(libc::SIGCONT);
        ingest.says(STANDING_BY, stood_by);
        assert!(play.shop.records() > before);
        other.stop();
        play.ingest.says(STREAMING, streamed);
    }
}

/// The other is killed at the moment at which the sleeper wakes, so that nothing of its own comes behind what the sleeper
/// says.
pub fn woken_as_the_other_is_killed(play: &mut Play) {
    for _ in 0..play.length.of(1, 4) {
        let other = took_over_from_a_sleeper(play);
        play.writer.writes_for(2);
        let (interrupted, streamed) = (play.ingest.said(INTERRUPTED), play.ingest.said(STREAMING));
        play.ingest.send(libc::SIGCONT);
        play.ingest.says(INTERRUPTED, interrupted);
        other.kill();
        play.ingest.says(STREAMING, streamed);
    }
}

/// Kafka stands still until the client has much to send; then ingest does, and only Kafka goes on.
fn took_over_from_a_sleeper(play: &Play) -> Ingest {
    let broker = play.shop.pid("kafka");
    send(broker, libc::SIGSTOP);
    play.writer.writes(1_000);
    play.ingest.send(libc::SIGSTOP);
    send(broker, libc::SIGCONT);
    let began = Instant::now();
    let other = play.shop.ingest();
    other.says(STREAMING, 0);
    eprintln!("a sleeper's place taken over after {:.1} s", began.elapsed().as_secs_f64());
    other
}

/// One streams, the other says that it stands by; then the first is killed.
pub fn two_at_once_and_the_first_is_killed(play: &mut Play) {
    for _ in 0..play.length.of(1, 5) {
        let second = play.shop.ingest_by_the_ways();
        second.says(STANDING_BY, 0);
        play.writer.writes_for(1);
        let streaming = play.shop.until_streaming();
        let status = play.shop.status();
        assert_eq!(status["ingest"]["streaming_pid"].as_str(), Some(streaming.to_string().as_str()), "{status}");
        assert_eq!(second.said(STREAMING), 0, "only one streams");
        mem::replace(&mut play.ingest, second).kill();
        let began = Instant::now();
        play.ingest.says(STREAMING, 0);
        let took = began.elapsed();
        eprintln!("taken over {:.1} s after a kill (aim: {AFTER_KILL_AIM:?})", took.as_secs_f64());
        assert!(took < AFTER_KILL_AIM * 2, "{took:?}");
        assert_ne!(play.shop.until_streaming(), streaming);
    }
}

/// The first is cut off from both servers, and neither side is told. The second takes over; when the first can be heard
/// again, it stands by.
pub fn two_at_once_and_the_first_is_cut_off(play: &mut Play) {
    let Play { length, writer, ingest: first, shop } = play;
    let mut second = shop.ingest();
    second.says(STANDING_BY, 0);
    let kept = shop.database.bytes_kept();
    for way in [&shop.database, &shop.kafka] {
        way.set(Mode::Silent(Towards::Both));
    }
    let began = Instant::now();
    second.says(STREAMING, 0);
    let took = began.elapsed();
    eprintln!("taken over {:.1} s after a cut (aim: {AFTER_CUT_AIM:?})", took.as_secs_f64());
    assert!(took < AFTER_CUT_AIM * 2, "{took:?}");
    assert!(shop.database.bytes_kept() > kept, "the cut met nothing");
    writer.writes_for(length.of(2, 30));
    let (stood_by, streamed) = (first.said(STANDING_BY), first.said(STREAMING));
    for way in [&shop.database, &shop.kafka] {
        way.set(Mode::Pass);
    }
    first.says(STANDING_BY, stood_by);
    writer.writes_for(1);
    second.stop();
    first.says(STREAMING, streamed);
}
