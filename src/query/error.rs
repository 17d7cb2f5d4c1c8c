//! Why a question has no answer.

use thiserror::Error;

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueryError {
    /// There is no such container now.
    #[error("unknown container {0:?}")]
    UnknownContainer(String),
    /// The container is known, but nothing could be read of it yet.
    #[error(
        "no data yet for container {0:?}: it has just been made, or none of its files may be read"
    )]
    NoData(String),
    /// The monitor has been shut down.
    #[error("the monitor has stopped")]
    Stopped,
}
