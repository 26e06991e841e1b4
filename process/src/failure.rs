//! A failure that ends a process or a command: what happened, what to do about it, and the exit code.

use std::error::Error;
use std::fmt;

/// What kind of failure, by its exit code (BSD's sysexits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// 64: called wrongly.
    Usage,
    /// 69: a service is away.
    Unavailable,
    /// 70: our fault.
    Internal,
    /// 75: not yet; try again.
    NotYet,
    /// 78: configured wrongly.
    Configuration,
}

impl FailureKind {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            FailureKind::Usage => 64,
            FailureKind::Unavailable => 69,
            FailureKind::Internal => 70,
            FailureKind::NotYet => 75,
            FailureKind::Configuration => 78,
        }
    }
}

/// What happened, what to do about it, and the exit code. Its text is one line and never holds a secret.
#[derive(Debug)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    what: String,
    remedy: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure of a kind, without a remedy yet.
    pub fn new(kind: FailureKind, what: impl fmt::Display) -> Self {
        Failure { kind, what: what.to_string(), remedy: None, source: None }
    }

    /// Configured wrongly.
    pub fn configuration(what: impl fmt::Display) -> Self {
        Failure::new(FailureKind::Configuration, what)
    }

    /// A service is away.
    pub fn unavailable(what: impl fmt::Display) -> Self {
        Failure::new(FailureKind::Unavailable, what)
    }

    /// Our fault.
    pub fn internal(what: impl fmt::Display) -> Self {
        Failure::new(FailureKind::Internal, what)
    }

    /// What to do about it.
    pub fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// What caused it.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// What happened, and what caused it, and that: each once, since many errors tell their cause themselves.
pub fn with_causes(mut what: String, mut cause: Option<&dyn Error>) -> String {
    while let Some(error) = cause {
        let text = error.to_string();
        if !what.contains(&text) {
            what = format!("{what}: {text}");
        }
        cause = error.source();
    }
    what
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = with_causes(self.what.clone(), self.source.as_deref().map(|source| source as &dyn Error));
        if let Some(remedy) = &self.remedy {
            line = format!("{line}; {remedy}");
        }
        f.write_str(&line.replace(['\n', '\r'], " "))
    }
}

impl Error for Failure {}
