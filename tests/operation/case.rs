//! A command that must fail, and how it says so.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::harness::Lockstep;
use crate::harness::program::Ended;

/// No refusal may take longer, whatever it waits for before it gives up.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

/// A word that is in passwords only, and so in no output. Its tail has to be encoded in a URL.
pub const SECRET: &str = "tr0ub4dor";
pub const PASSWORD: &str = "tr0ub4dor/&3";

pub const CALLED_WRONGLY: i32 = 64;
pub const SERVICE_AWAY: i32 = 69;
pub const NOT_YET: i32 = 75;
pub const CONFIGURED_WRONGLY: i32 = 78;

/// One command, its circumstances, and what must come of it.
pub struct Case<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    environment: Vec<(&'a str, Option<&'a str>)>,
    file: Option<(&'a str, &'a str)>,
    code: i32,
    says: &'a [&'a str],
}

impl<'a> Case<'a> {
    /// `lockstep` with these arguments, in a folder of its own.
    pub fn new(name: &'a str, arguments: &'a str) -> Self {
        let arguments = arguments.split_whitespace().collect();
        Case { name, arguments, environment: Vec::new(), file: None, code: 0, says: &[] }
    }

    pub fn set(mut self, name: &'a str, value: &'a str) -> Self {
        self.environment.push((name, Some(value)));
        self
    }

    pub fn unset(mut self, name: &'a str) -> Self {
        self.environment.push((name, None));
        self
    }

    /// With a file in its folder.
    pub fn file(mut self, name: &'a str, text: &'a str) -> Self {
        self.file = Some((name, text));
        self
    }

    /// Ends with this exit code, and its one line holds all of these.
    pub fn fails(mut self, code: i32, says: &'a [&'a str]) -> Self {
        (self.code, self.says) = (code, says);
        self
    }
}

/// Runs all cases side by side: most of them wait for what does not come.
pub fn check(lockstep: &Lockstep, cases: &[Case<'_>]) {
    let failures: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| (case, scope.spawn(|| check_one(lockstep, case)))).collect();
        let panicked = |case: &Case<'_>| Some(format!("{}: it went on; see above", case.name));
        running.into_iter().filter_map(|(case, ended)| ended.join().unwrap_or_else(|_| panicked(case))).collect()
    });
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// What is wrong with it.
fn check_one(lockstep: &Lockstep, case: &Case<'_>) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    if let Some((name, text)) = case.file {
        fs::write(folder.path().join(name), text).expect("a written file");
    }
    let within = lockstep.clone().within(folder.path());
    let lockstep = case.environment.iter().fold(within, |lockstep, (name, value)| match value {
        Some(value) => lockstep.set(name, value),
        None => lockstep.unset(name),
    });
    let ended = lockstep.start(&case.arguments).wait(REFUSAL_LIMIT);
    let wrong = judge(case, &ended)?;
    Some(format!("{} (lockstep {}): {wrong}\n{ended}", case.name, case.arguments.join(" ")))
}

fn judge(case: &Case<'_>, ended: &Ended) -> Option<String> {
    if ended.code != Some(case.code) {
        return Some(format!("the exit code should be {}", case.code));
    }
    if !ended.stdout.is_empty() {
        return Some("a failure has no result".to_owned());
    }
    if ended.stderr.contains(SECRET) {
        return Some("a password is shown".to_owned());
    }
    let Some(said) = complaint(ended) else {
        return Some("one line should end it, and nothing but logs come before".to_owned());
    };
    let unsaid: Vec<&str> = case.says.iter().copied().filter(|text| !said.contains(text)).collect();
    (!unsaid.is_empty()).then(|| format!("does not say {unsaid:?}"))
}

/// The one line that is no log. To what is called wrongly, tips and the usage are added.
fn complaint(ended: &Ended) -> Option<String> {
    let is_last = |line: &str| ended.stderr.lines().next_back() == Some(line);
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !is_log(line)).collect();
    match lines[..] {
        [line] if line.starts_with("lockstep: ") && is_last(line) => Some(line.to_owned()),
        [first, ..] if first.starts_with("error: ") && ended.code == Some(CALLED_WRONGLY) => Some(lines.join("\n")),
        _ => None,
    }
}

/// Logs begin with their time: `2026-01-31T`.
fn is_log(line: &str) -> bool {
    let form = line.bytes().take(11).map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    form.eq(*b"0000-00-00T")
}
