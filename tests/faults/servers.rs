//! What happens to the servers: they stand still, they are killed and come back, and their disk is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lockstep_stack::Service;

use crate::harness::process::{is_alive, limit_file_bytes, send};
use crate::harness::until;
use crate::ingest::INTERRUPTED;
use crate::play::Play;
use crate::shop::{Shop, WAIT_MAX};

/// Beyond every time-out of a Kafka client: the longest is a minute.
const BEYOND_TIMEOUTS_S: u32 = 75;
/// Beyond the broker's session with its controller: it counts as gone until it is let in anew, and so long its answers
/// name no broker at all.
const BEYOND_SESSION_S: u32 = 15;
/// What a full disk still takes.
const ROOM_BYTES: u64 = 32 * 1024;

/// The broker is there and does not answer.
pub fn kafka_stands_still(play: &mut Play) {
    let Play { length, writer, ingest, shop } = play;
    let broker = shop.pid("kafka");
    for round in 0..length.of(1, 4) {
        writer.writes_for(1);
        send(broker, libc::SIGSTOP);
        let nothing_more = NothingMore::after(shop);
        let at_length = if round == 0 { BEYOND_TIMEOUTS_S } else { BEYOND_SESSION_S };
        writer.writes_for(length.of(3, at_length));
        nothing_more.check(shop);
        ingest.must_live();
        send(broker, libc::SIGCONT);
        shop.until_complete();
    }
    eprintln!("deaf clients replaced: {}", ingest.said("lost its brokers for good"));
}

/// The broker is killed, is away for a while, and comes back with what it had.
pub fn kafka_is_killed(play: &mut Play) {
    let Play { length, writer, ingest, shop } = play;
    for round in 0..length.of(1, 3) {
        writer.writes_for(1);
        shop.stack.kill(Service::Kafka).expect("a killed broker");
        let nothing_more = NothingMore::after(shop);
        writer.writes_for(if round == 0 { length.of(2, BEYOND_TIMEOUTS_S) } else { 2 });
        nothing_more.check(shop);
        ingest.must_live();
        shop.stack.restart(Service::Kafka).expect("a broker");
        shop.until_complete();
    }
}

/// No file of the broker's can grow any more, until room is made and it is started again.
pub fn kafka_has_no_room(play: &mut Play) {
    let Play { length, writer, ingest, shop } = play;
    for _ in 0..length.of(1, 3) {
        writer.writes_for(2);
        let (broker, dir) = (shop.pid("kafka"), shop.stack.endpoints().dir.clone());
        let longest = longest_segment(&dir.join("kafka/data"));
        let complaints = complaints(&dir);
        limit_file_bytes(broker, longest + ROOM_BYTES);
        until("the broker to have no room", WAIT_MAX, || (self::complaints(&dir) > complaints).then_some(()));
        let began = Instant::now();
        until("the broker to give up", WAIT_MAX, || (!is_alive(broker)).then_some(()));
        eprintln!("the broker ended {:.1} s after it had no room", began.elapsed().as_secs_f64());
        writer.writes_for(2);
        ingest.must_live();
        shop.stack.restart(Service::Kafka).expect("a broker with room");
        shop.until_complete();
    }
}

fn longest_segment(data: &Path) -> u64 {
    let within = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let files = within(data.to_owned()).flat_map(|topic| within(topic.path()));
    let segments = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
    segments.filter_map(|file| Some(file.metadata().ok()?.len())).max().expect("a segment")
}

/// How often the broker has met the end of its disk.
fn complaints(dir: &Path) -> usize {
    let log = fs::read(dir.join("logs/kafka.log")).expect("the broker's log");
    String::from_utf8_lossy(&log).matches("File too large").count()
}

/// The database is killed in the middle of everything, and recovers.
pub fn postgres_is_killed(play: &mut Play) {
    let Play { length, writer, ingest, shop } = play;
    for _ in 0..length.of(1, 8) {
        writer.writes(fastrand::usize(1_000..3_000));
        let interrupted = ingest.said(INTERRUPTED);
        shop.stack.kill(Service::Postgres).expect("a killed database");
        ingest.says(INTERRUPTED, interrupted);
        shop.stack.restart(Service::Postgres).expect("a database");
        shop.until_streaming();
    }
}

/// PostgreSQL is told of nothing that Kafka can't have.
struct NothingMore(String);

impl NothingMore {
    /// From now on, nothing comes to Kafka.
    fn after(shop: &Shop) -> Self {
        NothingMore(shop.sql("SELECT pg_current_wal_insert_lsn()"))
    }

    fn check(&self, shop: &Shop) {
        let acknowledged = format!("SELECT confirmed_flush_lsn <= '{}' FROM pg_replication_slots", self.0);
        assert_eq!(shop.sql(&acknowledged), "t", "acknowledged beyond {}, where Kafka was away", self.0);
    }
}
