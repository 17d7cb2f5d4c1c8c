//! An OOM kill, in the kernel's own words.

use std::time::Duration;

/// What limited the allocation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Constraint {
    /// Nothing: the node is out of memory.
    None,
    /// The memory nodes of a cpuset.
    Cpuset,
    /// The memory nodes of a memory policy.
    MemoryPolicy,
    /// The limit of a memory cgroup.
    Memcg,
}

impl Constraint {
    /// The kernel's text of it, which is also that of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "CONSTRAINT_NONE",
            Self::Cpuset => "CONSTRAINT_CPUSET",
            Self::MemoryPolicy => "CONSTRAINT_MEMORY_POLICY",
            Self::Memcg => "CONSTRAINT_MEMCG",
        }
    }
}

/// One killed process. What the kernel did not say, or what was not there to be read, is absent: a
/// kill that is known from a counter alone has nothing but its container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OomKill {
    /// The process, in the kernel's (the host's) pid namespace.
    pub pid: Option<u32>,
    /// Its name (`comm`: at most 15 bytes, of any kind).
    pub process_name: Option<String>,
    /// What limited the allocation.
    pub constraint: Option<Constraint>,
    /// The memory cgroup whose limit was hit, as the kernel names it; absent if the node was out of
    /// memory.
    pub oom_memcg: Option<String>,
    /// The memory cgroup of the process.
    pub task_memcg: Option<String>,
    /// Whether it was killed along with others because of `memory.oom.group`.
    pub group: bool,
    /// The process whose allocation failed.
    pub invoked_by: Option<String>,
    /// Its address space, bytes (`total-vm`).
    pub total_vm_bytes: Option<u64>,
    /// Its anonymous memory, bytes (`anon-rss`).
    pub anon_rss_bytes: Option<u64>,
    /// Its mapped files, bytes (`file-rss`).
    pub file_rss_bytes: Option<u64>,
    /// Its shared memory, bytes (`shmem-rss`, since 4.5).
    pub shmem_rss_bytes: Option<u64>,
    /// Its page tables, bytes (`pgtables`, since 5.4).
    pub pgtables_bytes: Option<u64>,
    /// Its badness adjustment (since 5.4 in the kill line).
    pub oom_score_adj: Option<i32>,
    /// Its user (since 5.0).
    pub uid: Option<u32>,
    /// Usage of the limiting cgroup, bytes.
    pub memcg_usage_bytes: Option<u64>,
    /// Limit of the limiting cgroup, bytes.
    pub memcg_limit_bytes: Option<u64>,
    /// How often the limiting cgroup has met its limit.
    pub memcg_failcnt: Option<u64>,
    /// When, on the kernel log's clock (since boot, without suspended time).
    pub stamp: Duration,
    /// Sequence number of the kernel log record that completed it.
    pub sequence: u64,
}
