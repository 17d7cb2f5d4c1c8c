//! NOTICE: the kernel's own signals become [`SourceEvent`]s for the manager.
//!
//! In: inotify on every directory of every hierarchy that matters ([`watcher`]), and the kernel log
//! ([`kmsg_reader`]). Out: containers that come and go, files of theirs that changed, and OOM kills,
//! into an inlet that the manager provides. Each source has a thread of its own, so that the
//! kernel's queues are emptied whatever else happens.
//!
//! Where it is asked for, and root in the initial namespaces, a fourth thread follows the exits of
//! processes ([`exits`]).
//!
//! The third signal, the kernel's own counters of OOM kills, is read where all counters are: in the
//! poll of a container (`handler`), hastened by [`FileChange::MemoryEvents`].

pub mod kmsg;
pub mod oom;
pub mod kmsg_reader;
pub mod exits;
pub mod tree;
pub mod watcher;

use crate::cgroup::ContainerName;
use crate::event::OomKill;
pub use tree::{Change, Directory};

/// What a source has noticed.
#[derive(Debug, Clone)]
pub enum SourceEvent {
    /// A container or one of its directories came or went.
    Tree(Change),
    /// The kernel or somebody wrote to a file of a container.
    File(ContainerName, FileChange),
    /// All hierarchies have been listed for the first time: what there was at start is known.
    Listed,
    /// The kernel log told of an OOM kill; with the victim's container, where the log does not say it
    /// and procfs still did.
    OomKill(Box<OomKill>, Option<ContainerName>),
}

/// Which file of a container has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// `cgroup.events` (v2): the last process has left, or the first has come.
    Populated,
    /// `memory.events` or `memory.events.local` (v2): a limit was met, perhaps a process killed.
    MemoryEvents,
    /// `cgroup.procs` or `tasks`: somebody moved a process here.
    Members,
    /// Any other: a setting was written.
    Settings,
}

impl FileChange {
    /// Which change a write to the file called `name` means.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"cgroup.events" => Self::Populated,
            b"memory.events" | b"memory.events.local" => Self::MemoryEvents,
            b"cgroup.procs" | b"cgroup.threads" | b"tasks" => Self::Members,
            _ => Self::Settings,
        }
    }
}
