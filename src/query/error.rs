//! Why a question has no answer.

use thiserror::Error;

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueryError {
    /// There is no such container now.
    #[error("unknown container {0:?}")]
    UnknownContainer(String),
    /// No container of a runtime has this name, alias or id.
    #[error("unable to find container {name:?} in {namespace:?} namespace")]
    NotInNamespace {
        /// What was asked for.
        name: String,
        /// The runtime's namespace.
        namespace: String,
    },
    /// Several containers have this name, or one that begins so.
    #[error(
        "unable to find container in {namespace:?} namespace. Container {name:?} is not unique"
    )]
    NotUnique {
        /// What was asked for.
        name: String,
        /// The runtime's namespace.
        namespace: String,
    },
    /// The runtime knows a container of this name, but it has no cgroup.
    #[error("container {name:?} in {namespace:?} namespace {how}")]
    Ended {
        /// What was asked for.
        name: String,
        /// The runtime's namespace.
        namespace: String,
        /// What became of it, as the end of a sentence.
        how: String,
    },
    /// The monitor has been shut down.
    #[error("the monitor has stopped")]
    Stopped,
}
