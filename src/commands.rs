//! One function a command.

mod applied;
mod audit;
mod check;
mod explain;
mod forecast;
mod functions;
mod moving;
mod parked;
mod placement;
mod purge;
mod rebuild;
mod records;
mod replay;
mod setup;
mod size;
mod snapshot;
mod stack;
mod status;
mod switch;
pub(crate) mod trace;
mod wait;
mod warm;
mod why;

use std::process::ExitCode;

use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_schemas::policy::{self, Policy};

use crate::cli::{BenchCommand, Cli, Command, ForecastCommand, PolicyCommand};
use crate::{bench, database, demo, output, roles};

pub(crate) use forecast::EvaluateArgs;
pub(crate) use size::SizeArgs;

/// Carries a command out.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // These bring their own servers, or need none.
    let command = match cli.command {
        Command::Demo(args) => return demo::run(args).await,
        Command::Bench { command: BenchCommand::Latency(args) } => return bench::latency(args).await,
        Command::Bench { command: BenchCommand::Ingest(args) } => return bench::ingest(args).await,
        Command::Bench { command: BenchCommand::Engine(args) } => return bench::engine(args).await,
        Command::Bench { command: BenchCommand::Recovery(args) } => return bench::recovery(args).await,
        Command::Bench { command: BenchCommand::Audit(args) } => return bench::audit(args).await,
        Command::Bench { command: BenchCommand::Forecast(args) } => return bench::forecast(args).await,
        Command::Bench { command: BenchCommand::Warmer(args) } => return bench::warmer(args).await,
        Command::Forecast { command: ForecastCommand::Evaluate(args) } => {
            forecast::evaluate(args).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Stack { command } => return stack::run(command),
        // Where the policy has a fault, an editor needs it most.
        Command::Policy { command: PolicyCommand::Schema } => {
            output::line(policy::SCHEMA.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        command => command,
    };
    let config = Config::load(&cli.config)?;
    match command {
        Command::Run(args) => roles::run(config.clone(), policy(&config)?, args.role).await?,
        Command::Status(args) => status::run(&config, &policy(&config)?, args.output).await?,
        Command::Wait(args) => wait::run(&config, &policy(&config)?, &args).await?,
        Command::Explain(args) => explain::run(&config, &policy(&config)?, &args).await?,
        Command::Why(args) => return why::run(&config, &policy(&config)?, &args).await,
        Command::Audit(args) => return audit::run(&config, &policy(&config)?, &args).await,
        Command::Parked { command } => parked::run(&config, &policy(&config)?, &command).await?,
        Command::Replay(args) => replay::run(&config, &policy(&config)?, &args).await?,
        Command::Pause(args) => switch::pause(&config, &policy(&config)?, &args).await?,
        Command::Resume(args) => switch::resume(&config, &policy(&config)?, &args).await?,
        Command::Bypass(args) => switch::bypass(&config, &policy(&config)?, &args).await?,
        Command::Purge(args) => purge::run(&config, &policy(&config)?, &args).await?,
        Command::Warm(args) => warm::run(&config, &policy(&config)?, &args).await?,
        Command::Rebuild(args) => return rebuild::run(&config, &policy(&config)?, &args).await,
        Command::Placement(args) => placement::run(&config, &policy(&config)?, &args).await?,
        Command::Move(args) => moving::run(&config, &policy(&config)?, &args).await?,
        Command::Size(args) => size::run(&config, &policy(&config)?, args).await?,
        Command::Snapshot(args) => snapshot::run(&config, &policy(&config)?, &args).await?,
        Command::Functions { command } => functions::run(&config, &policy(&config)?, command).await?,
        Command::Check => return check::run(&config, &policy(&config)?).await,
        Command::Setup(args) => setup::run(&config, &policy(&config)?, &args).await,
        Command::Migrate => {
            database::migrate(config.database()?.url.expose()).await?;
            output::line("the database is up to date");
        }
        Command::Policy { .. } => {
            let policy = policy(&config)?;
            output::line(&format!("the policy is right: {} groups, {} views", policy.groups.len(), policy.views.len()));
        }
        Command::Bench { command: BenchCommand::Count(args) } => {
            output::line(&lockstep_ingest::count_rows(config.database()?, args.until.parse()?).await?.to_string());
        }
        Command::Demo(_) | Command::Bench { .. } | Command::Forecast { .. } | Command::Stack { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The policy of the configured file, or the built-in one.
fn policy(config: &Config) -> Result<Policy, Failure> {
    let Some(path) = &config.policy else {
        return Policy::parse(policy::DEFAULT)
            .map_err(|error| Failure::internal(format!("the built-in policy: {error}")));
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::configuration(format!("can't read the policy {}", path.display()))
            .because(error)
            .remedy("give a readable file with --policy or LOCKSTEP_POLICY")
    })?;
    Policy::parse(&text).map_err(|error| Failure::configuration(format!("{}: {error}", path.display())))
}
