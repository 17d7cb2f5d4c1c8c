//! What is known of one OOM kill, in the kernel's own words.
//!
//! A kill that is known from a counter alone has nothing but its container.

use std::time::Duration;

/// Why there was not enough memory (kernel: `enum oom_constraint`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Constraint {
    /// The machine is out of memory.
    None,
    /// The nodes of a cpuset are.
    Cpuset,
    /// The nodes of a memory policy are.
    MemoryPolicy,
    /// A memory cgroup is at its limit.
    Memcg,
}

impl Constraint {
    /// The kernel's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "CONSTRAINT_NONE",
            Self::Cpuset => "CONSTRAINT_CPUSET",
            Self::MemoryPolicy => "CONSTRAINT_MEMORY_POLICY",
            Self::Memcg => "CONSTRAINT_MEMCG",
        }
    }

    /// From the kernel's name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Cpuset, Self::MemoryPolicy, Self::Memcg]
            .into_iter()
            .find(|constraint| constraint.as_str() == text)
    }
}

/// One process ended by the OOM killer. Fields are named as the kernel names them; what the log did
/// not say is `None`. Names and paths that are not UTF-8 have U+FFFD in place of the odd bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OomKill {
    /// Process id, in the initial pid namespace.
    pub pid: Option<u32>,
    /// `comm` of the process, at most 15 bytes.
    pub process_name: Option<String>,
    /// Why; known before 5.0 only for a memcg.
    pub constraint: Option<Constraint>,
    /// Path of the memcg that hit its limit; `None` for a global OOM (see [`Self::constraint`]).
    pub oom_memcg: Option<String>,
    /// Path of the memcg that the victim was in. For a further victim of a group kill: the memcg with
    /// `memory.oom.group`, which the victim was in or below.
    pub task_memcg: Option<String>,
    /// A further victim because of `memory.oom.group`. The process that was chosen, whose line
    /// comes before the kernel says that a group follows, is not marked.
    pub group: bool,
    /// The chosen process of a group kill, told a second time among the others: no further kill, but the
    /// kernel has counted it twice.
    pub again: bool,
    /// `comm` of the process whose allocation failed.
    pub invoked_by: Option<String>,
    /// Virtual size.
    pub total_vm_bytes: Option<u64>,
    /// Resident anonymous memory.
    pub anon_rss_bytes: Option<u64>,
    /// Resident file pages.
    pub file_rss_bytes: Option<u64>,
    /// Resident shared memory (since 4.5; before, part of [`Self::file_rss_bytes`]).
    pub shmem_rss_bytes: Option<u64>,
    /// Page tables (since 5.4).
    pub pgtables_bytes: Option<u64>,
    /// `/proc/PID/oom_score_adj` of the victim (since 5.4).
    pub oom_score_adj: Option<i32>,
    /// User id of the victim (since 5.0).
    pub uid: Option<u32>,
    /// Memory in use by [`Self::oom_memcg`].
    pub memcg_usage_bytes: Option<u64>,
    /// Its limit.
    pub memcg_limit_bytes: Option<u64>,
    /// How often it was at its limit.
    pub memcg_failcnt: Option<u64>,
    /// printk clock of the record that completed this.
    pub stamp: Duration,
    /// Sequence number of that record.
    pub sequence: u64,
}
