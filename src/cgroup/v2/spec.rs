//! The settings of a container on cgroup v2.

use crate::cgroup::format::{limit, number, words};
use crate::cgroup::spec::{CpuSpec, MemorySpec, PidsSpec, Spec, shares_from_weight};
use crate::cgroup::v1::spec::cpu_list;

/// Reads the settings through `read`, which gives the text of a file of the container's directory.
/// A controller governs the container if it put its files there.
pub fn read(mut read: impl FnMut(&str) -> Option<Vec<u8>>) -> Spec {
    let mut value = |name: &str| read(name).as_deref().and_then(limit);
    let memory = MemorySpec {
        limit: value("memory.max"),
        reservation: value("memory.low"),
        min: value("memory.min"),
        high: value("memory.high"),
        swap_limit: value("memory.swap.max"),
        memory_and_swap_limit: None,
    };
    let pids = PidsSpec {
        limit: value("pids.max"),
    };
    let max = read("cpu.max");
    let mut max = max.as_deref().into_iter().flat_map(words);
    let cpu = CpuSpec {
        shares: read("cpu.weight")
            .as_deref()
            .and_then(number)
            .and_then(shares_from_weight),
        quota_us: max.next().and_then(limit),
        period_us: max.next().and_then(number),
        burst_us: read("cpu.max.burst").as_deref().and_then(number),
        cpus: read("cpuset.cpus.effective").as_deref().and_then(cpu_list),
    };
    Spec {
        created_at: None,
        // CPU time is accounted for every cgroup, whether or not a controller is in charge.
        cpu: Some(cpu),
        memory: (memory.limit.is_some() || read("memory.stat").is_some()).then_some(memory),
        pids: pids.limit.is_some().then_some(pids),
        has_hugetlb: false,
        has_io: read("io.stat").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use crate::units::Limit;

    #[test]
    fn settings_of_a_limited_container() {
        let spec = super::read(|name| {
            let text = match name {
                "cpu.weight" => "50\n",
                "cpu.max" => "20000 100010\n",
                "memory.max" => "123456789\n",
                "memory.low" => "24680\n",
                "memory.swap.max" => "max\n",
                "pids.max" => "1027\n",
                "io.stat" => "",
                _ => return None,
            };
            Some(text.as_bytes().to_vec())
        });
        let cpu = spec.cpu.unwrap_or_default();
        assert_eq!(
            (cpu.shares, cpu.quota_us),
            (Some(1286), Some(Limit::Max(20_000)))
        );
        assert_eq!((cpu.period_us, cpu.cpus), (Some(100_010), None));
        let memory = spec.memory.unwrap_or_default();
        assert_eq!(memory.limit, Some(Limit::Max(123_456_789)));
        assert_eq!(memory.reservation, Some(Limit::Max(24_680)));
        assert_eq!(memory.swap_limit, Some(Limit::Unlimited));
        assert_eq!(memory.high, None);
        assert!(spec.has_io && spec.pids.is_some());
    }

    #[test]
    fn a_cgroup_without_controllers_has_cpu_time_only() {
        let spec = super::read(|name| (name == "cpu.stat").then(Vec::new));
        assert!(spec.cpu.is_some());
        assert_eq!((spec.memory, spec.pids, spec.has_io), (None, None, false));
    }
}
