//! What may be said of an error of Redis. A server repeats the arguments of a command that it does not know, and the client
//! an answer that it did not expect: both may hold an entry.

use std::fmt;

use redis::{ErrorKind, RedisError as Raw};

/// An error of Redis that can be shown. It has no source: that would be the error as the client tells it.
pub struct RedisError(Raw);

impl RedisError {
    /// The client's error, to be told from others, not to be shown.
    pub(crate) fn raw(&self) -> &Raw {
        &self.0
    }
}

impl From<Raw> for RedisError {
    fn from(error: Raw) -> Self {
        RedisError(error)
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for RedisError {}

/// The text of an error, without what was sent or answered.
pub fn shown(error: &Raw) -> String {
    match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => "an answer of another form than was expected".to_owned(),
        ErrorKind::Server(_) | ErrorKind::Extension => {
            let code = error.code().unwrap_or("an error of the server");
            error.detail().map_or_else(|| code.to_owned(), |detail| format!("{code}: {}", without_arguments(detail)))
        }
        _ => error.to_string(),
    }
}

/// `unknown command 'FCALL', with args beginning with: 'lockstep1_fill' ...`
fn without_arguments(detail: &str) -> &str {
    detail.split(", with args").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_answers_are_left_out() {
        let unknown = "unknown command 'FCALL', with args beginning with: 'lockstep1_fill' 'user:a@b' ";
        let server = redis::ServerErrorKind::ResponseError;
        let error = Raw::from((ErrorKind::Server(server), "An error was signalled by the server", unknown.to_owned()));
        assert_eq!(shown(&error), "ERR: unknown command 'FCALL'");
        let answer = redis::Value::BulkString(b"a@b".to_vec());
        let error = redis::from_redis_value::<Vec<i64>>(answer).map_err(Raw::from).expect_err("no list of numbers");
        assert!(error.to_string().contains("a@b"), "the client quotes the answer: {error}");
        assert!(!shown(&error).contains("a@b"), "{}", shown(&error));
    }
}
