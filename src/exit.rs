//! Exit codes (BSD's sysexits), and the one line that goes with each.

use std::process::ExitCode;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::failure::FailureKind;

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
    output::error(&format!("lockstep: {error:#}"));
    ExitCode::from(kind.exit_code())
}
