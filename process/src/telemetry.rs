//! Logs: to standard error, plain in a pipe, as JSON on demand.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sends logs to standard error. `LOCKSTEP_LOG` filters them (default `info`); `LOCKSTEP_LOG_FORMAT=json` for machines.
pub fn init() {
    let filter =
        EnvFilter::try_from_env("LOCKSTEP_LOG").unwrap_or_else(|_| EnvFilter::new("info,librdkafka=warn,sqlx=error"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = std::env::var("LOCKSTEP_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A second call (tests) keeps the first one's subscriber.
    let _ = if json {
        logs.json().try_init()
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    };
}
