//! What a container may use: its limits, weights and placement, and when it was made.

use crate::units::{Limit, Timestamp};

/// The settings of a container. Every field is absent when its controller does not govern the
/// container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    /// When the cgroup was made: the oldest modification time among its directories and the files
    /// in them that nobody writes to. The kernel keeps no better record.
    pub created_at: Option<Timestamp>,
    /// CPU, if a CPU controller knows the container.
    pub cpu: Option<CpuSpec>,
    /// Memory, if the memory controller does.
    pub memory: Option<MemorySpec>,
    /// Tasks, if the pids controller does.
    pub pids: Option<PidsSpec>,
    /// Whether the hugetlb controller governs it.
    pub has_hugetlb: bool,
    /// Whether the block I/O controller governs it.
    pub has_io: bool,
}

/// CPU settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuSpec {
    /// Share of CPU time under contention. v1 `cpu.shares`; v2 `cpu.weight` on the same scale
    /// ([`shares_from_weight`]).
    pub shares: Option<u64>,
    /// CPU time per period, microseconds. v1 `cpu.cfs_quota_us`, v2 first word of `cpu.max`.
    pub quota_us: Option<Limit>,
    /// The period, microseconds. v1 `cpu.cfs_period_us`, v2 second word of `cpu.max`.
    pub period_us: Option<u64>,
    /// CPU time that may be saved up, microseconds. v1 `cpu.cfs_burst_us`, v2 `cpu.max.burst`.
    pub burst_us: Option<u64>,
    /// CPUs it may run on, as the kernel lists them (`0-3,8`). v1 `cpuset.cpus`, v2
    /// `cpuset.cpus.effective`.
    pub cpus: Option<String>,
}

/// Memory settings, bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemorySpec {
    /// The hard limit. v1 `memory.limit_in_bytes`, v2 `memory.max`; for `/` the node's memory.
    pub limit: Option<Limit>,
    /// What it should keep under pressure. v1 `memory.soft_limit_in_bytes`, v2 `memory.low`.
    pub reservation: Option<Limit>,
    /// What it keeps under any pressure (v2 `memory.min`).
    pub min: Option<Limit>,
    /// Where throttling starts (v2 `memory.high`).
    pub high: Option<Limit>,
    /// Swap it may use, without memory. v2 `memory.swap.max`.
    pub swap_limit: Option<Limit>,
    /// Memory and swap together. v1 `memory.memsw.limit_in_bytes`.
    pub memory_and_swap_limit: Option<Limit>,
}

/// Task settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PidsSpec {
    /// Tasks it may have. `pids.max`.
    pub limit: Option<Limit>,
}

/// The v1 shares that stand for a v2 `cpu.weight` of 1 to 10000: `2 + (weight - 1) * 262142 / 9999`,
/// the conversion that runtimes and clients know. Nothing for a weight outside of the range.
pub fn shares_from_weight(weight: u64) -> Option<u64> {
    (1..=10_000)
        .contains(&weight)
        .then(|| 2 + (weight - 1) * 262_142 / 9_999)
}

/// A v1 memory limit. The kernel counts pages in a signed long, so "no limit" reads as that maximum
/// in bytes; anything beyond an exbibyte is no limit.
pub fn v1_memory_limit(bytes: Limit) -> Limit {
    const NO_LIMIT: u64 = 1 << 60;
    match bytes {
        Limit::Max(bytes) if bytes < NO_LIMIT => Limit::Max(bytes),
        _ => Limit::Unlimited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares() {
        for (weight, shares) in [
            (1, 2),
            (50, 1286),
            (100, 2597),
            (174, 4537),
            (10_000, 262_144),
        ] {
            assert_eq!(shares_from_weight(weight), Some(shares), "{weight}");
        }
        assert_eq!(shares_from_weight(0), None);
        assert_eq!(shares_from_weight(10_001), None);
    }

    #[test]
    fn the_page_counter_maximum_means_no_limit() {
        assert_eq!(
            v1_memory_limit(Limit::Max(9_223_372_036_854_771_712)),
            Limit::Unlimited
        );
        assert_eq!(v1_memory_limit(Limit::Max(8 << 20)), Limit::Max(8 << 20));
    }
}
