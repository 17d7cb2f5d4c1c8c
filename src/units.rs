//! Units: the one place where a kernel figure becomes the unit that cgauge uses inside.
//!
//! Inside, every duration is in nanoseconds (`_ns`), every size in bytes (`_bytes`), everything
//! else is a plain count. What leaves the process is converted in `wire` and `serve`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds in a microsecond: cgroup v2 and PSI count time in microseconds.
pub const NS_PER_US: u64 = 1_000;

/// Nanoseconds in a second.
pub const NS_PER_SEC: u64 = 1_000_000_000;

/// Nanoseconds in a clock tick as procfs and cgroup v1 show it (`USER_HZ` is 100 on every
/// architecture that Linux still supports).
pub const NS_PER_TICK: u64 = 10_000_000;

/// Bytes in a kibibyte: procfs says `kB` and means this.
pub const BYTES_PER_KB: u64 = 1_024;

/// A point in wall-clock time: nanoseconds since the Unix epoch.
///
/// Signed, so that a clock set before 1970 is odd but not a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The current wall-clock time.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// Whole seconds since the Unix epoch, as a fraction where there is one.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NS_PER_SEC as f64
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time `earlier` before this one.
    pub fn saturating_sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(earlier)))
    }

    /// The time `later` after this one.
    pub fn saturating_add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(nanos(later)))
    }

    /// How long after `earlier` this time is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(nanos(after)),
            Err(before) => Self(-nanos(before.duration())),
        }
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A limit that the kernel enforces: a number, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// At most this much.
    Max(u64),
    /// The kernel says `max`, `-1`, or (cgroup v1 memory) the largest number of pages it can count.
    Unlimited,
}

impl Limit {
    /// The number, if there is one.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Max(value) => Some(value),
            Self::Unlimited => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_before_and_after_the_epoch_round_down() {
        assert_eq!(Timestamp(1_999_999).as_millis(), 1);
        assert_eq!(Timestamp(-1).as_millis(), -1);
        let before = UNIX_EPOCH - Duration::from_secs(2);
        assert_eq!(Timestamp::from(before), Timestamp(-2_000_000_000));
    }

    #[test]
    fn differences_never_go_negative() {
        assert_eq!(Timestamp(5).since(Timestamp(2)), Duration::from_nanos(3));
        assert_eq!(Timestamp(2).since(Timestamp(5)), Duration::ZERO);
    }
}
