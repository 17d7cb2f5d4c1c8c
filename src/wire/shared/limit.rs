//! Limits: on the wire 64 bits, where "no limit" is the largest number.

use crate::cgroup::ContainerName;
use crate::cgroup::spec::MemorySpec;
use crate::node::MachineInfo;
use crate::units::Limit;

/// What stands for "no limit". cgroup v1 kernels spell it 9223372036854771712; inside it is a type,
/// so that spelling is not kept: clients compare with 2^62 and take either for unlimited.
pub const UNLIMITED: u64 = u64::MAX;

/// A limit as a number.
pub fn number(limit: Limit) -> u64 {
    limit.value().unwrap_or(UNLIMITED)
}

/// The memory limit of a container. The root has none in the kernel; it is bounded by the machine.
pub fn memory(name: &ContainerName, spec: &MemorySpec, machine: &MachineInfo) -> Option<Limit> {
    match machine.memory.memory_bytes {
        Some(bytes) if name.is_root() => Some(Limit::Max(bytes)),
        _ => spec.limit,
    }
}

/// The swap limit of a container: with memory on v1, without on v2. Of the root: the machine's swap.
pub fn swap(name: &ContainerName, spec: &MemorySpec, machine: &MachineInfo) -> Option<Limit> {
    match machine.memory.swap_bytes {
        Some(bytes) if name.is_root() => Some(Limit::Max(bytes)),
        _ => spec.memory_and_swap_limit.or(spec.swap_limit),
    }
}
