//! `lockstep`: parse, build, run, drain, exit.

mod bench;
mod cli;
mod commands;
mod database;
mod demo;
mod exit;
mod output;
mod roles;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    exit::hide_values_in_panics();
    lockstep_process::install_crypto_provider();
    lockstep_process::telemetry::init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failed(&anyhow::Error::from(error)),
    };
    let ended = runtime.block_on(commands::run(cli));
    runtime.shutdown_timeout(exit::DRAIN_WAIT_MAX);
    match ended {
        Ok(_) if output::is_cut() => exit::cut(),
        Ok(code) => code,
        Err(error) => exit::failed(&error),
    }
}
