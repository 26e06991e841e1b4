//! Commits that wait: their records are written and read by all who read the log, and nobody sees the rows yet. Whoever
//! does not wait is seen before them, so that commits of two rows become visible in the reverse order.

use std::time::Duration;

use fastrand::Rng;
use lockstep_process::Shutdown;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

use crate::witness::Witness;

/// Names a standby that never answers, for a while, again and again.
pub async fn hold(pool: PgPool, mut rng: Rng, witness: &Witness, stop: Shutdown) {
    while pause(&mut rng, 500..2_000, &stop).await {
        run(&pool, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
        run(&pool, "SELECT pg_reload_conf()").await;
        pause(&mut rng, 150..900, &stop).await;
        let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let waits: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) {waiting}")))
            .fetch_one(&pool)
            .await
            .expect("a count");
        (0..waits).for_each(|_| witness.count("commits that waited"));
        if rng.bool() {
            run(&pool, &format!("SELECT pg_cancel_backend(pid) {waiting}")).await;
        }
        release(&pool).await;
    }
    release(&pool).await;
}

async fn release(pool: &PgPool) {
    run(pool, "ALTER SYSTEM RESET synchronous_standby_names").await;
    run(pool, "SELECT pg_reload_conf()").await;
}

async fn run(pool: &PgPool, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Whether to go on after it.
async fn pause(rng: &mut Rng, ms: std::ops::Range<u64>, stop: &Shutdown) -> bool {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(rng.u64(ms))) => true,
        () = stop.cancelled() => false,
    }
}
