//! The settings of a container on cgroup v1.

use crate::cgroup::format::{limit, number};
use crate::cgroup::hierarchy::Controller::{self, Cpu, Cpuset, Memory, Pids};
use crate::cgroup::spec::{CpuSpec, MemorySpec, PidsSpec, Spec, v1_memory_limit};

/// Reads the settings through `read`, which gives the text of a file of a controller's hierarchy.
/// `has` tells which controllers govern the container.
pub fn read(
    has: impl Fn(Controller) -> bool,
    mut read: impl FnMut(Controller, &str) -> Option<Vec<u8>>,
) -> Spec {
    let mut spec = Spec {
        has_hugetlb: has(Controller::Hugetlb),
        has_io: has(Controller::Blkio),
        ..Spec::default()
    };
    if has(Cpu) || has(Cpuset) {
        spec.cpu = Some(CpuSpec {
            shares: read(Cpu, "cpu.shares").as_deref().and_then(number),
            quota_us: read(Cpu, "cpu.cfs_quota_us").as_deref().and_then(limit),
            period_us: read(Cpu, "cpu.cfs_period_us").as_deref().and_then(number),
            burst_us: read(Cpu, "cpu.cfs_burst_us").as_deref().and_then(number),
            cpus: read(Cpuset, "cpuset.cpus")
                .filter(|text| !text.trim_ascii().is_empty())
                .or_else(|| read(Cpuset, "cpuset.effective_cpus"))
                .as_deref()
                .and_then(cpu_list),
        });
    }
    if has(Memory) {
        let mut bytes = |name| {
            read(Memory, name)
                .as_deref()
                .and_then(limit)
                .map(v1_memory_limit)
        };
        spec.memory = Some(MemorySpec {
            limit: bytes("memory.limit_in_bytes"),
            reservation: bytes("memory.soft_limit_in_bytes"),
            memory_and_swap_limit: bytes("memory.memsw.limit_in_bytes"),
            ..MemorySpec::default()
        });
    }
    if has(Pids) {
        spec.pids = Some(PidsSpec {
            limit: read(Pids, "pids.max").as_deref().and_then(limit),
        });
    }
    spec
}

/// A list of CPUs as the kernel writes it; nothing if it is empty or no such list.
pub(in crate::cgroup) fn cpu_list(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let plausible = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b',' || byte == b'-');
    (plausible && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Limit;

    #[test]
    fn limits_and_their_absence() {
        let spec = read(
            |controller| controller != Controller::Blkio && controller != Controller::Hugetlb,
            |_, name| {
                let text = match name {
                    "cpu.shares" => "1025\n",
                    "cpu.cfs_quota_us" => "-1\n",
                    "cpu.cfs_period_us" => "100010\n",
                    "cpuset.cpus" => "0-5\n",
                    "memory.limit_in_bytes" => "123456789\n",
                    "memory.soft_limit_in_bytes" => "9223372036854771712\n",
                    "pids.max" => "max\n",
                    _ => return None,
                };
                Some(text.as_bytes().to_vec())
            },
        );
        let cpu = spec.cpu.unwrap_or_default();
        assert_eq!(
            (cpu.shares, cpu.quota_us),
            (Some(1025), Some(Limit::Unlimited))
        );
        assert_eq!(
            (cpu.period_us, cpu.cpus.as_deref()),
            (Some(100_010), Some("0-5"))
        );
        let memory = spec.memory.unwrap_or_default();
        assert_eq!(memory.limit, Some(Limit::Max(123_456_789)));
        assert_eq!(memory.reservation, Some(Limit::Unlimited));
        assert_eq!(memory.memory_and_swap_limit, None);
        assert_eq!(
            spec.pids,
            Some(PidsSpec {
                limit: Some(Limit::Unlimited)
            })
        );
        assert!(!spec.has_io);
    }
}
