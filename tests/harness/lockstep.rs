//! This project's program, with a folder and an environment of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::program::{Ended, Program};

/// No command that is run to its end may take longer.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// The one variable of the caller's that a test needs: where the jars are.
const CACHE: &str = "LOCKSTEP_CACHE";

/// `lockstep`, as it is run in a folder and with an environment that have nothing of the caller's in them.
#[derive(Clone)]
pub struct Lockstep {
    folder: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Lockstep {
    /// Runs in this folder, without any configuration.
    pub fn new(folder: &Path) -> Self {
        Lockstep { folder: folder.to_owned(), environment: BTreeMap::new() }
    }

    /// Takes over what a stack exports, in the form that a shell evaluates.
    pub fn exports(mut self, exports: &str) -> Self {
        let variables = exports.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        self.environment.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// Runs in another folder.
    pub fn within(mut self, folder: &Path) -> Self {
        self.folder = folder.to_owned();
        self
    }

    /// With a variable of the environment.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Without a variable of the environment.
    pub fn unset(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Any program in the same folder and environment.
    pub fn other(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let ours = |name: &str| name.starts_with("LOCKSTEP_") && name != CACHE;
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
            command.env_remove(name);
        }
        command.current_dir(&self.folder).envs(&self.environment);
        command
    }

    /// Starts `lockstep` with these arguments.
    pub fn start(&self, arguments: &[&str]) -> Program {
        let mut command = self.other(program());
        command.args(arguments);
        Program::start(command)
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait(RUN_LIMIT)
    }

    /// Runs it to its end, which must be a good one; returns what it printed.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "lockstep {}: {ended}", arguments.join(" "));
        ended.stdout
    }
}

/// The program, by a name of ours: a build beside the tests would take it away, and `lockstep demo` runs itself again.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_lockstep"));
        let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("lockstep-for-", env!("CARGO_CRATE_NAME")));
        let unfinished = ours.with_extension(std::process::id().to_string());
        let linked = fs::hard_link(built, &unfinished).and_then(|()| fs::rename(&unfinished, &ours));
        // Where the link is there already, the renaming leaves both.
        let _ = fs::remove_file(&unfinished);
        if linked.is_ok() { ours } else { built.to_owned() }
    })
}
