//! What the roles say, for what can't be seen from outside: on which way a tier was brought back.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::chain::until;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn lines() -> MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to listen.
pub fn listen() {
    // A chain after a failed one finds the first one's.
    let _ = tracing::subscriber::set_global_default(Listener);
}

/// A moment, to look at what was said since.
#[derive(Clone, Copy)]
pub struct Since(usize);

impl Since {
    pub fn now() -> Self {
        Since(lines().len())
    }

    /// The first line since that holds all of these words.
    pub fn heard(self, words: &[&str]) -> Option<String> {
        let lines = lines();
        let mut since = lines[self.0.min(lines.len())..].iter();
        since.find(|line| words.iter().all(|word| line.contains(word))).cloned()
    }

    /// Waits for such a line.
    pub async fn hear(self, words: &[&str]) -> String {
        until(&words.join(" "), async || self.heard(words)).await
    }
}

/// Shows what was said where a scenario fails.
pub struct TellOnPanic(Since);

impl TellOnPanic {
    pub fn here() -> Self {
        TellOnPanic(Since::now())
    }
}

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lines()[self.0.0..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = if metadata.target().starts_with("lockstep_coherence") { Level::DEBUG } else { Level::INFO };
        metadata.target().starts_with("lockstep") && *metadata.level() <= most
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        lines().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }
}
