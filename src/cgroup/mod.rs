//! READ: kernel bytes become plain structs. No tasks, no clock but the one that stamps a sample.
//!
//! In: cgroup directories of either hierarchy version, found by [`hierarchy`]. Out: [`Sample`]
//! (what a container used) and [`Spec`] (what it may use), in the same units for both versions.
//!
//! Formats: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/` and
//! `Documentation/accounting/psi.rst` of the kernel. Which files are read is a table: [`v1::files`]
//! and [`v2::files`]. This module knows nothing of events, handlers or HTTP, and is usable alone
//! (`examples/read_cgroup.rs`).

pub mod mountinfo;
pub mod name;
pub mod error;
pub mod format;
pub mod columns;
pub mod kind;
pub mod sockets;
pub mod load;
pub mod stats;
pub mod oom;
pub mod spec;
pub mod hierarchy;
pub mod file;
pub mod v1;
pub mod v2;
pub mod plan;
pub mod path;
pub mod network;
pub mod members;
pub mod container;

pub use container::{Cgroup, ReadContext};
pub use error::ReadError;
pub use hierarchy::{Hierarchies, HierarchyId, Mode};
pub use name::ContainerName;
pub use oom::OomCounters;
pub use path::{CgroupKind, CgroupPath};
pub use spec::Spec;
pub use stats::Sample;
