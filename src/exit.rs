//! Exit codes (BSD's sysexits), and the one line that goes with each.

use std::error::Error;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::failure::FailureKind;
use lockstep_source::sql_error;
use lockstep_tiers::redis_error;

use crate::output;

/// What is still under way when all is over gets so long.
pub(crate) const DRAIN_WAIT_MAX: Duration = Duration::from_secs(2);

/// clap's own answer: help and version are no errors, the rest is 64.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(FailureKind::Usage.exit_code()) } else { ExitCode::SUCCESS }
}

/// Says what failed, on one line, and gives its code. What is no [`Failure`] is our fault.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    let kind = error.downcast_ref::<Failure>().map_or(FailureKind::Internal, |failure| failure.kind);
    output::error(&format!("lockstep: {}", text(error)));
    ExitCode::from(kind.exit_code())
}

/// All went well, but not all of it could be printed (EX_IOERR).
pub(crate) fn cut() -> ExitCode {
    const IO_ERROR: u8 = 74;
    output::error("lockstep: the result could not be written whole; is the disk full that it goes to?");
    ExitCode::from(IO_ERROR)
}

/// An error with its causes, on one line and without any value of a row or an entry: what the clients of database and
/// Redis would say themselves quotes them.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let mut texts = Vec::new();
    for cause in error.chain() {
        if let Some(text) = of_a_client(cause) {
            texts.push(text);
            break;
        }
        texts.push(cause.to_string());
    }
    texts.join(": ")
}

fn of_a_client(cause: &(dyn Error + 'static)) -> Option<String> {
    // It repeats what the panic said.
    let join = cause.downcast_ref::<tokio::task::JoinError>().map(|_| "see above".to_owned());
    let sql = cause.downcast_ref::<sqlx::Error>().map(sql_error::shown);
    join.or(sql).or_else(|| cause.downcast_ref::<redis::RedisError>().map(redis_error::shown))
}

/// A panic says where, and why only where that is a fixed text: one that was put together may quote a value.
pub(crate) fn hide_values_in_panics() {
    std::panic::set_hook(Box::new(|panic| output::error(&panicked(panic))));
}

fn panicked(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let why = panic.payload().downcast_ref::<&'static str>().copied();
    format!("lockstep: panicked at {place}: {}", why.unwrap_or("its text may quote a value, and is left out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn no_error_quotes_a_value() {
        let answer = redis::Value::BulkString(b"ada@shop.example".to_vec());
        let error = redis::from_redis_value::<Vec<i64>>(answer).map_err(redis::RedisError::from);
        let error = error.context("read user:7").expect_err("no numbers");
        assert!(format!("{error:#}").contains("ada@"), "the client quotes: {error:#}");
        assert_eq!(text(&error), "read user:7: an answer of another form than was expected");
        let error = anyhow::Error::from(sqlx::Error::Decode("ada@shop.example".into())).context("read the row");
        assert_eq!(text(&error), "read the row: a value of another form than was expected");
    }
}
