//! `lockstep stack`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use lockstep_process::Failure;
use lockstep_stack::detached::{self, Down};
use lockstep_stack::{StackError, StackOptions};

use crate::cli::{StackArgs, StackCommand};
use crate::output;

pub(crate) fn run(command: StackCommand) -> anyhow::Result<ExitCode> {
    let state = |args: &StackArgs| args.state.clone().unwrap_or_else(detached::default_state);
    match command {
        StackCommand::Up(args) => up(&state(&args))?,
        StackCommand::Down(args) => match detached::down(&state(&args)).map_err(failure)? {
            Down::Stopped => output::line("the stack is down"),
            Down::NothingRan => output::line("no stack was running"),
        },
        StackCommand::Hold(args) => detached::hold(&state(&args), StackOptions::default()).map_err(failure)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(state: &Path) -> anyhow::Result<()> {
    let mut holder = Command::new(std::env::current_exe().context("finding our own program")?);
    holder.args(["stack", "hold", "--state"]).arg(state);
    let endpoints = detached::up(state, holder, &mut |line| output::error(line)).map_err(failure)?;
    output::line(&format!("# the stack is up, in {}; `lockstep stack down` ends it", endpoints.dir.display()));
    output::line("# to use it from this shell: eval \"$(lockstep stack up)\"");
    output::line(endpoints.exports().trim_end());
    Ok(())
}

/// What a stack's error means to whoever called.
pub(crate) fn failure(error: StackError) -> Failure {
    Failure::unavailable(error)
}
