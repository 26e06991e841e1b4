//! The function library: one file of Lua, its names carrying the protocol's version.

/// Its text.
pub(crate) const TEXT: &str = include_str!("lockstep.lua");

/// What a node says that does not have it.
pub(crate) fn is_missing(error: &redis::RedisError) -> bool {
    error.to_string().contains("Function not found")
}

/// The command that loads it.
pub(crate) fn load() -> redis::Cmd {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg("REPLACE").arg(TEXT);
    command
}
