//! Why a question has no answer.

use thiserror::Error;

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueryError {
    /// There is no such container now.
    #[error("unknown container {0:?}")]
    UnknownContainer(String),
    /// The monitor has been shut down.
    #[error("the monitor has stopped")]
    Stopped,
}
