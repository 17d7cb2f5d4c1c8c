//! Why a kernel file gave nothing, sorted once, by errno.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

/// A failed operation on one kernel file or directory.
#[derive(Debug, Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct ReadError {
    /// What was tried: `open`, `read`, `list`, `watch`.
    pub operation: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the kernel answered.
    #[source]
    pub source: io::Error,
}

impl ReadError {
    /// An error of `operation` on `path`.
    pub fn new(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self {
            operation,
            path: path.into(),
            source: source.into(),
        }
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> Failure {
        Failure::from(
            self.source
                .raw_os_error()
                .map_or(Errno::UnknownErrno, Errno::from_raw),
        )
    }
}

/// What a failure means for the figure that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The file or cgroup is not there: the host or cgroup lacks it, or it has just been removed.
    /// `ENOENT`; `ENODEV` from a handle that outlived its cgroup; `ESRCH` from procfs; `ENOTDIR`.
    Absent,
    /// The kernel has the file but not the figure. `EOPNOTSUPP`: pressure accounting is switched off.
    Unsupported,
    /// Not for us. `EACCES`, `EPERM`.
    Denied,
    /// Out of descriptors. `EMFILE`, `ENFILE`.
    Exhausted,
    /// Anything else.
    Broken,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENODEV | Errno::ESRCH | Errno::ENOTDIR => Self::Absent,
            Errno::EOPNOTSUPP => Self::Unsupported,
            Errno::EACCES | Errno::EPERM => Self::Denied,
            Errno::EMFILE | Errno::ENFILE => Self::Exhausted,
            _ => Self::Broken,
        }
    }
}
