//! The function library: one file of Lua, its names carrying the protocol's version. Where a server refuses functions, the
//! same text goes as scripts, one a function.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use redis::{Arg, Cmd, ErrorKind, RedisError, Script, ServerErrorKind};

/// Its text.
const TEXT: &str = include_str!("lockstep.lua");
/// What all versions are called, before their number.
pub(crate) const FAMILY: &str = "lockstep";
/// The version that this process speaks.
pub(crate) const VERSION: u32 = 1;
/// What it is called.
const FUNCTIONS: [&str; 7] = [
    "lockstep1_read",
    "lockstep1_fill",
    "lockstep1_claim",
    "lockstep1_settle",
    "lockstep1_apply",
    "lockstep1_own",
    "lockstep1_sweep",
];

/// The text once more for each function, as a script that ends by calling it: scripts know no registered functions.
static SCRIPTS: LazyLock<BTreeMap<&str, Script>> =
    LazyLock::new(|| FUNCTIONS.into_iter().map(|name| (name, Script::new(&script(name)))).collect());

/// Whether a node said that it does not have the library.
pub(crate) fn is_missing(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}

/// Whether a node said that it does not know the script. It then wants its text.
pub(crate) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether a node said that it refuses functions to us: by its ACL, or because the commands are called otherwise there.
pub(crate) fn is_refused(error: &RedisError) -> bool {
    let ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError) = error.kind() else {
        return false;
    };
    let said = error.detail().unwrap_or_default().to_lowercase();
    let said = said.split(", with args").next().unwrap_or_default();
    let about_functions = said.contains("'fcall'") || said.contains("'function");
    about_functions && (said.contains("no permissions to run") || said.starts_with("unknown command"))
}

/// The command that loads it.
pub(crate) fn load() -> Cmd {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg("REPLACE").arg(TEXT);
    command
}

/// A function's call as one of its script: by its hash, or with its whole text. `None`: it is no function's call.
pub(crate) fn as_script(call: &Cmd, whole: bool) -> Option<Cmd> {
    let mut words = call.args_iter().filter_map(|argument| match argument {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    let name = words.next().filter(|word| *word == b"FCALL").and_then(|_| words.next())?;
    let name = FUNCTIONS.into_iter().find(|known| known.as_bytes() == name)?;
    let mut command = redis::cmd(if whole { "EVAL" } else { "EVALSHA" });
    if whole {
        command.arg(script(name));
    } else {
        command.arg(SCRIPTS.get(name)?.get_hash());
    }
    for word in words {
        command.arg(word);
    }
    Some(command)
}

/// The first key that a function's call declares.
pub(crate) fn first_key(call: &Cmd) -> Option<&str> {
    match call.args_iter().nth(3) {
        Some(Arg::Simple(key)) => std::str::from_utf8(key).ok(),
        _ => None,
    }
}

/// The version of a library of ours; `None`: it is somebody else's.
pub(crate) fn version_of(library: &str) -> Option<u32> {
    library.strip_prefix(FAMILY)?.parse().ok()
}

fn script(name: &str) -> String {
    let (_, rules) = TEXT.split_once('\n').unwrap_or_default();
    format!(
        "local rules = {{}}\n\
         local redis = setmetatable({{ register_function = function(name, rule) rules[name] = rule end }}, \
         {{ __index = redis }})\n{rules}\nreturn rules.{name}(KEYS, ARGV)\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_text_has_a_script() {
        assert!(TEXT.starts_with(&format!("#!lua name={FAMILY}{VERSION}\n")), "the version that we speak");
        let registered = TEXT.lines().filter_map(|line| line.strip_prefix("redis.register_function('"));
        let registered: Vec<&str> = registered.filter_map(|rest| rest.split('\'').next()).collect();
        assert_eq!(registered, FUNCTIONS);
    }

    #[test]
    fn a_call_keeps_its_keys_and_arguments_as_a_script() {
        let mut call = redis::cmd("FCALL");
        call.arg("lockstep1_own").arg(1).arg("{a}:_w").arg("x");
        assert_eq!(first_key(&call), Some("{a}:_w"));
        let words = |command: Cmd| {
            let texts = command.args_iter().map(|word| match word {
                Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
                _ => String::new(),
            });
            texts.collect::<Vec<_>>()
        };
        let short = words(as_script(&call, false).expect("a call"));
        assert_eq!((&*short[0], short[1].len()), ("EVALSHA", 40));
        let whole = words(as_script(&call, true).expect("a call"));
        assert!(whole[0] == "EVAL" && whole[1].ends_with("return rules.lockstep1_own(KEYS, ARGV)\n"));
        assert_eq!(short[2..], ["1", "{a}:_w", "x"]);
        assert_eq!(whole[2..], short[2..]);
        assert!(as_script(&redis::cmd("HGETALL"), true).is_none());
    }

    #[test]
    fn libraries_of_ours_have_a_version() {
        let cases = [("lockstep1", Some(1)), ("lockstep12", Some(12)), ("lockstep", None), ("shop1", None)];
        for (name, expected) in cases {
            assert_eq!(version_of(name), expected, "{name}");
        }
    }

    #[test]
    fn refusals_are_told_from_other_errors() {
        let kinds = [ServerErrorKind::NoPerm, ServerErrorKind::ResponseError];
        let cases = [
            (0, "this user has no permissions to run the 'fcall' command", true),
            (0, "User shop has no permissions to run the 'function|load' command", true),
            (1, "unknown command 'FUNCTION', with args beginning with: 'LOAD' ", true),
            (0, "this user has no permissions to run the 'hset' command", false),
            (0, "this user has no permissions to access one of the keys used as arguments", false),
            (1, "unknown command 'GTE', with args beginning with: 'fcall' ", false),
            (1, "Function not found", false),
        ];
        for (kind, said, expected) in cases {
            let error = RedisError::from((ErrorKind::Server(kinds[kind]), "refused", said.to_owned()));
            assert_eq!(is_refused(&error), expected, "{said}");
        }
    }
}
