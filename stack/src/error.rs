//! What can go wrong with a stack, each with its remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::options::Service;

const TAIL_LINES_MAX: usize = 20;

/// Why a stack could not be started, changed or found.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A server's program is not installed.
    #[error("the program `{program}` is missing; remedy: run `scripts/bootstrap`, which installs it")]
    MissingProgram {
        /// The program, by name or path.
        program: String,
    },
    /// PostgreSQL 18 is not where it should be.
    #[error("there is no PostgreSQL 18 in {}; remedy: run `scripts/bootstrap`, which fetches it", folder.display())]
    MissingPostgres {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Valkey 9 is not where it should be.
    #[error("there is no {}; remedy: run `scripts/bootstrap`, which fetches it", program.display())]
    MissingValkey {
        /// Where it was looked for.
        program: PathBuf,
    },
    /// The broker's jars are not where they should be.
    #[error("there is no kafka broker in {}; remedy: run `scripts/bootstrap`, which fetches it", folder.display())]
    MissingJars {
        /// Where the jars were looked for.
        folder: PathBuf,
    },
    /// PostgreSQL refuses root, and the user that it should run as does not exist.
    #[error("there is no user `{account}` to run a server as; remedy: run `scripts/bootstrap`, which makes it")]
    MissingAccount {
        /// The user's name.
        account: &'static str,
    },
    /// A stack starts in an empty folder only.
    #[error("the folder {} is not empty; remedy: name a new one, or none for a temporary one", folder.display())]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A server that runs as another user could not reach its files.
    #[error("other users may not enter {}; remedy: `chmod o+x` it, or name another folder", folder.display())]
    FolderClosed {
        /// The closed folder, perhaps one above that of the stack.
        folder: PathBuf,
    },
    /// The state folder is someone else's.
    #[error("{} belongs to another user; remedy: set XDG_RUNTIME_DIR to a folder of your own", folder.display())]
    FolderForeign {
        /// The state folder.
        folder: PathBuf,
    },
    /// No free port was found.
    #[error("no free port on 127.0.0.1 from {first} on; remedy: stop what listens there")]
    NoPort {
        /// The least port that was tried.
        first: u16,
    },
    /// A server, or a program that prepares one, did not do what it was started for.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// The service was not asked for when this stack was started.
    #[error("{service} is not part of this stack; remedy: start it with that service")]
    NotPart {
        /// The service.
        service: Service,
    },
    /// Only one detached stack to a state folder.
    #[error("a stack runs already (its state is in {}); remedy: `lockstep stack down`", state.display())]
    AlreadyRunning {
        /// The state folder.
        state: PathBuf,
    },
    /// The holder of a detached stack ended before the stack was up.
    #[error("the stack did not start: {text}")]
    Holder {
        /// What the holder said.
        text: String,
    },
    /// The operating system refused something.
    #[error("could not {action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// A program that ended or stayed silent where it should have served, and what it said last.
#[derive(Debug)]
pub struct Failed {
    /// The program's name in the stack.
    pub name: String,
    /// What happened, for instance `ended with exit status: 1`.
    pub what: String,
    /// Its log. Goes with the stack's folder where that is temporary.
    pub log: PathBuf,
    /// The last lines of the log.
    pub tail: String,
    /// Another process took one of the stack's ports between their choice and their use.
    pub port_lost: bool,
}

impl Failed {
    pub(crate) fn new(name: &str, what: String, log: &Path) -> Self {
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Self {
            name: name.to_owned(),
            what,
            log: log.to_owned(),
            tail: tail(&text),
            port_lost: text.contains("Address already in use"),
        }
    }
}

impl std::error::Error for Failed {}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, what, tail, .. } = self;
        write!(f, "{name} {what}; ")?;
        if tail.is_empty() {
            write!(f, "it said nothing")?;
        } else {
            write!(f, "it said last:\n{tail}")?;
        }
        write!(f, "\nremedy: run `scripts/bootstrap` for the versions that are known to work")
    }
}

impl StackError {
    /// Shorthand for `map_err` on input and output.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(crate) fn is_port_lost(&self) -> bool {
        matches!(self, Self::Failed(failed) if failed.port_lost)
    }

    /// The message with those of its sources, for where only text can be handed on.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }
}

/// The last lines of a text, indented. The places of a Java exception are left out: they would push its text away.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("\tat ")).collect();
    let from = lines.len().saturating_sub(TAIL_LINES_MAX);
    let indented: Vec<_> = lines[from..].iter().map(|line| format!("  {line}")).collect();
    indented.join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_tail_keeps_what_a_java_exception_says() {
        let places = "\tat kafka.Kafka.main(Kafka.scala)\n".repeat(40);
        let tail = super::tail(&format!("early\n{}Address in use\n{places}end", "more\n".repeat(18)));
        assert!(tail.starts_with("  more\n") && tail.ends_with("  Address in use\n  end"), "{tail}");
    }
}
