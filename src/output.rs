//! The only place that prints results. Logs go to standard error by `tracing`.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether some line of a result got lost.
static IS_CUT: AtomicBool = AtomicBool::new(false);

/// A line of a result.
pub(crate) fn line(text: &str) {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    // A closed pipe (`| head`) is no error of ours.
    if written.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        IS_CUT.store(true, Ordering::Relaxed);
    }
}

/// Whether a result was printed only in part, as on a full disk.
pub(crate) fn is_cut() -> bool {
    let flushed = std::io::stdout().flush();
    IS_CUT.load(Ordering::Relaxed) || flushed.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// A line about an error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
