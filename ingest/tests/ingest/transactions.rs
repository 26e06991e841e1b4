//! What a transaction leaves behind: all that it kept, at its commit, and nothing else.

use lockstep_schemas::change::Op;

use crate::log::Seen;
use crate::shop::Shop;

/// Each row's op, key and ordinal.
fn rows(seen: &[Seen]) -> Vec<(Op, i64, u32)> {
    let rows = seen.iter().filter(|seen| !seen.is_tombstone());
    let row = |seen: &Seen| {
        let key = seen.key.as_ref().expect("a key")["id"].as_i64().expect("an id");
        (seen.change().op, key, seen.change().position.ordinal)
    };
    rows.map(row).collect()
}

pub async fn only_what_was_kept_has_an_ordinal(shop: &Shop) {
    let seen = shop
        .commit_all(&[
            // Nested, released, rolled back inside what was kept, and an error caught by a block.
            "INSERT INTO saved VALUES (1); SAVEPOINT a; INSERT INTO saved VALUES (2); SAVEPOINT b; \
             INSERT INTO saved VALUES (3); ROLLBACK TO b; INSERT INTO saved VALUES (4); RELEASE a; \
             SAVEPOINT c; UPDATE saved SET n = 1; SAVEPOINT d; DELETE FROM saved; RELEASE d; ROLLBACK TO c; \
             DO $$ BEGIN INSERT INTO saved VALUES (5); INSERT INTO saved VALUES (1); \
                EXCEPTION WHEN unique_violation THEN INSERT INTO saved VALUES (6); END $$; \
             DELETE FROM saved WHERE id = 2; INSERT INTO saved VALUES (7)",
            // Nothing of it is left.
            "SAVEPOINT a; DELETE FROM saved; ROLLBACK TO a",
            "INSERT INTO saved VALUES (8), (9)",
        ])
        .await;
    let insert = |id, ordinal| (Op::Insert, id, ordinal);
    let kept = [insert(1, 1), insert(2, 2), insert(4, 3), insert(6, 4), (Op::Delete, 2, 5), insert(7, 6)];
    assert_eq!(rows(&seen[0]), kept);
    assert!(seen[1].is_empty());
    assert_eq!(rows(&seen[2]), [insert(8, 1), insert(9, 2)]);
}

pub async fn a_prepared_transaction_comes_when_it_is_committed(shop: &Shop) {
    let prepare = async |name: &str, id: i32| -> u32 {
        let sql = format!("BEGIN; INSERT INTO saved VALUES ({id}), ({id} + 1); PREPARE TRANSACTION '{name}'");
        shop.execute(&sql).await;
        let xid = format!("SELECT transaction::text::bigint FROM pg_prepared_xacts WHERE gid = '{name}'");
        shop.scalar::<i64>(&xid).await as u32
    };
    let (kept, dropped) = (prepare("kept", 100).await, prepare("dropped", 200).await);
    let between = shop.commit("INSERT INTO saved VALUES (300)").await;
    assert!(shop.log_now().await.of(kept).is_empty(), "prepared is not committed");
    let before = shop.now().await;
    shop.execute("COMMIT PREPARED 'kept'").await;
    shop.execute("ROLLBACK PREPARED 'dropped'").await;
    let log = shop.log_now().await;
    let (kept, dropped) = (log.of(kept), log.of(dropped));
    assert_eq!(rows(&kept), [(Op::Insert, 100, 1), (Op::Insert, 101, 2)]);
    assert!(dropped.is_empty());
    let lsn = kept[0].change().position.lsn;
    assert!(lsn >= before && lsn > between[0].change().position.lsn, "it stands where it was committed");
}

pub async fn copied_rows_are_rows(shop: &Shop) {
    let mut connection = shop.pool.acquire().await.expect("a connection");
    let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await.expect("a copy");
    let lines: String = (1..=500).map(|id| format!("{id}\t{}\tline\\t{id}\\n\n", id * 3)).collect();
    copy.send(lines.as_bytes()).await.expect("its lines");
    assert_eq!(copy.finish().await.expect("an end"), 500);
    let log = shop.log_now().await;
    let copied: Vec<&Seen> = log.changes().filter(|seen| &*seen.change().table == "public.copied").collect();
    let of = log.of(copied[0].xid);
    let expected: Vec<_> = (1..=500).map(|n| (Op::Insert, n, n as u32)).collect();
    assert_eq!((copied.len(), rows(&of)), (500, expected));
    let row = of[41].change().after.as_ref().expect("a row");
    assert_eq!((row.text("n"), row.text("note")), (Some("126"), Some("line\t42\n")));
}

/// All rows come, in a bounded part of this process's memory: they are read and published as they come.
pub async fn a_large_transaction<const ROWS: usize>(shop: &Shop) {
    /// The client's queue and the server's connection, and what the test itself needs.
    const GROWTH_KB_MAX: u64 = 100_000;
    let ingest = shop.start().await;
    shop.execute("INSERT INTO users (user_id, email, name) VALUES (1, 'l@example.org', 'l')").await;
    shop.log_now().await;
    let (before, peak_before) = (shop.ends("customers"), peak_kb());
    let began = std::time::Instant::now();
    shop.execute(&format!(
        "INSERT INTO preferences SELECT 1, n || repeat('-', 20), repeat(md5(n::text), 8) FROM generate_series(1, {ROWS}) AS n"
    ))
    .await;
    let written = began.elapsed();
    let lsn = shop.now().await;
    let progress = shop.progress_past_within(lsn, std::time::Duration::from_secs(300)).await;
    let grown_kb = peak_kb() - peak_before;
    let rows: i64 = progress.next["customers"].iter().zip(&before).map(|(end, before)| end - before).sum();
    eprintln!(
        "{ROWS} rows: written in {written:?}, published after {:?}, memory grew by {grown_kb} kB",
        began.elapsed()
    );
    assert_eq!(rows, ROWS as i64, "each row once");
    assert!(grown_kb < GROWTH_KB_MAX, "{grown_kb} kB for {ROWS} rows");
    assert!(!shop.postgres_said("terminating walsender"), "the server heard nothing of us while rows flowed");
    ingest.stop().await;
}

/// The most that this process ever had in memory.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}
