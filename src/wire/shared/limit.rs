//! Limits on the wire: 64 bits, where "no limit" is the largest number.

use crate::units::Limit;

/// What stands for "no limit". cgroup v1 kernels spell it 9223372036854771712; inside it is a type,
/// so that spelling is not kept: clients compare with 2^62 and take either for unlimited.
pub const UNLIMITED: u64 = u64::MAX;

/// A limit as a number.
pub fn number(limit: Limit) -> u64 {
    limit.value().unwrap_or(UNLIMITED)
}
