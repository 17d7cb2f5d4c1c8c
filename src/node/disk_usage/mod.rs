//! How much of a disk each container has written: the size of its writable layer.
//!
//! In: the containers that there are ([`Container`]), the mount table of one process of each, and
//! what runtimes may say ([`Location`]). Out: a few [`LayerUsage`]s of each container, for `query`.
//! Nothing here runs on the poll path, no answer waits for it, and no directory is walked unless
//! [`Mode::Walk`] says so.
//!
//! | file | holds |
//! |---|---|
//! | `layer` | pure: where the writable layer of a process is, and whose it is |
//! | `layer_dir` | opening it below the node's root, whatever links say |
//! | `walk` | adding up a directory, step by step |
//! | `quota` | what the file system itself counts |
//! | `schedule` | pure: whose turn it is, and how long that may take |
//! | `store` | the results |
//! | `idle` | the lowest priority that there is |
//! | `walker` | the thread |

use std::path::PathBuf;
use std::time::Duration;

use crate::cgroup::ContainerName;
use crate::units::Timestamp;

pub mod layer;
pub mod layer_dir;
pub mod walk;
pub mod quota;
pub mod schedule;
pub mod store;
mod idle;
pub mod walker;

pub use store::LayerUsages;
pub use walker::Walker;

/// What may be done to know the usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing.
    Off,
    /// Ask the file system where it counts by itself: a project quota with a limit. Costs a system
    /// call for each container in a minute.
    #[default]
    Quota,
    /// That, and walk the layers of all others in the background.
    Walk,
}

/// A container that may have a writable layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: ContainerName,
    /// Which of the containers of that name.
    pub incarnation: u64,
}

/// Where a container's files are, as its runtime says: paths as the node names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The directory of the writable layer.
    pub layer: PathBuf,
    /// A directory or file that belongs to the container too, such as its logs. Counted in the usage,
    /// not in the base.
    pub extra: Option<PathBuf>,
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The file system counts it: a project quota.
    Quota,
    /// A walk over all files.
    Walk,
}

/// What a container's writable layer takes, as measured once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUsage {
    /// When the measurement was complete: the figures are as old as this.
    pub measured: Timestamp,
    /// How long it took; what other work the walk gave way to is not counted.
    pub took: Duration,
    /// Where the figures come from.
    pub source: Source,
    /// Bytes allocated to the layer and to what else belongs to the container (`st_blocks`).
    pub usage_bytes: u64,
    /// Bytes allocated to the layer alone.
    pub base_bytes: u64,
    /// Inodes of the layer, its root among them. Absent if a quota counts bytes alone.
    pub inodes: Option<u64>,
    /// How large the layer may become, if it has a limit of its own.
    pub limit_bytes: Option<u64>,
    /// The file system that it is on, by the name it has in [`FsTable`](super::FsTable). Absent if
    /// that is none that counts.
    pub device: Option<String>,
}
