//! What goes wrong between us and a tier.

use crate::RedisError;
use crate::link::ANSWER_WAIT_MAX;

/// A call to a tier that went wrong. What it did is not known.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    /// Redis, or the way to it.
    #[error("redis: {0}")]
    Redis(RedisError),
    /// No answer in time.
    #[error("redis: no answer within {ANSWER_WAIT_MAX:?}")]
    Silent,
    /// An answer that the function library does not give.
    #[error("redis answered {answer} to {function}")]
    Answer {
        /// The function.
        function: &'static str,
        /// What came, shortened.
        answer: String,
    },
}

impl TierError {
    /// Whether the keys' slot is on its way to another node.
    pub fn is_moving(&self) -> bool {
        matches!(self, TierError::Redis(error) if error.raw().code() == Some("TRYAGAIN"))
    }
}

impl From<RedisError> for TierError {
    fn from(error: RedisError) -> Self {
        TierError::Redis(error)
    }
}

impl From<redis::RedisError> for TierError {
    fn from(error: redis::RedisError) -> Self {
        TierError::Redis(error.into())
    }
}
