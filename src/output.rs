//! The only place that prints results. Logs go to standard error by `tracing`.

/// A line of a result.
pub(crate) fn line(text: &str) {
    use std::io::Write as _;
    // A closed pipe (`| head`) is no error of ours.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line about an error.
pub(crate) fn error(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
