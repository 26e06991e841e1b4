//! Who holds the slot although nobody is at its other end. The server has no time-out here: what is to be ended, whoever
//! stands by has to end, and nothing else.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockstep_source::preflight;

use crate::shop::{Ingest, Shop};

const PG_RECVLOGICAL: &str = "/usr/lib/postgresql/15/bin/pg_recvlogical";
/// What ingest calls itself.
const OURS: &str = "lockstep-ingest";
/// From the first look at a silent connection of ours to its end, as documented.
const ENDED_AIM: Duration = Duration::from_secs(15);
/// Longer than one of ours may be silent.
const FOREIGN_SILENCE_S: u32 = 12;

/// A client that streams from our slot under some name, and falls silent.
struct Silent(Child);

impl Silent {
    async fn hold(shop: &Shop, user: &str, application: &str) -> Self {
        let mut command = Command::new(PG_RECVLOGICAL);
        command.args(["-d", &shop.database_url().replace("//postgres@", &format!("//{user}@"))]);
        command.args(["--slot=lockstep", "--start", "--no-loop", "--file=/dev/null", "--status-interval=1"]);
        command.args(["-o", "proto_version=1", "-o", "publication_names=lockstep"]);
        command.env("PGAPPNAME", application).env("PGOPTIONS", "-c wal_sender_timeout=0").stdin(Stdio::null());
        lockstep_stack::die_with_parent(&mut command, libc::SIGKILL);
        let silent = Silent(command.spawn().expect("pg_recvlogical"));
        shop.until("the slot to be held", async || shop.streaming_pid().await).await;
        silent.signal("-STOP");
        silent
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts ingest, which has to wait.
async fn standing_by(shop: &Shop) -> Ingest {
    let ingest = shop.launch();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lockstep-ingest-standby'";
    shop.until("ingest to stand by", async || (shop.scalar::<i64>(waits).await > 0).then_some(())).await;
    ingest
}

pub async fn only_a_silent_connection_of_ours_is_ended(shop: &Shop) {
    // The slot, and the first epoch.
    shop.start().await.stop().await;

    let silent = Silent::hold(shop, "postgres", OURS).await;
    let held_by = shop.streaming_pid().await;
    let (began, ingest) = (Instant::now(), standing_by(shop).await);
    shop.until("ours to be ended", async || shop.streaming_pid().await.filter(|pid| Some(*pid) != held_by)).await;
    let took = began.elapsed();
    eprintln!("a silent connection of ours was ended after {:.1} s (aim: {ENDED_AIM:?})", took.as_secs_f64());
    assert!(took < ENDED_AIM * 2, "{took:?}");
    ingest.stop().await;
    drop(silent);

    // The same name, but another user; that alone makes it somebody else's.
    shop.execute("CREATE ROLE stranger LOGIN REPLICATION").await;
    let silent = Silent::hold(shop, "stranger", OURS).await;
    let holder =
        preflight::holder(&shop.database().await, "lockstep", OURS).await.expect("an answer").expect("a holder");
    assert!(!holder.is_ours, "{holder:?}");
    drop(silent);
    shop.until("the slot to be free", async || shop.streaming_pid().await.is_none().then_some(())).await;

    // The same user, but another name.
    let silent = Silent::hold(shop, "postgres", "somebody").await;
    let held_by = shop.streaming_pid().await;
    let ingest = standing_by(shop).await;
    let passed = format!(
        "SELECT max((clock_timestamp() > backend_start + interval '{FOREIGN_SILENCE_S} s')::int) FROM pg_stat_activity \
         WHERE application_name = 'lockstep-ingest-standby'"
    );
    shop.until("time to pass", async || shop.scalar::<Option<i32>>(&passed).await.filter(|passed| *passed == 1)).await;
    assert_eq!(shop.streaming_pid().await, held_by, "a client that is not ours was ended");
    drop(silent);
    shop.until("ingest to stream", async || shop.streaming_pid().await).await;
    ingest.stop().await;
}
