//! Pure: whose turn it is, and how much of the machine all of it may take.

use std::time::{Duration, Instant};

/// The shortest time between two measurements of a container.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Between two measurements of a container lies at least so many times what the last has cost.
pub const OWN_COST: u32 = 100;

/// Between two measurements of a container lies at least so many times what a measurement of all
/// containers costs: however many there are, all walks together take a fiftieth of a processor.
pub const ALL_COST: u32 = 50;

/// After a part of a walk, so many times as long is left to others.
pub const REST: u32 = 4;

/// The longest time between two tries of what has failed.
pub const MAX_RETRY: Duration = Duration::from_secs(3600);

/// How long to wait after a container was measured for `own` of work, while a measurement of all
/// containers takes `all`.
pub fn interval(own: Duration, all: Duration) -> Duration {
    INTERVAL
        .max(own.saturating_mul(OWN_COST))
        .max(all.saturating_mul(ALL_COST))
}

/// How long to wait after the `failures`-th failure in a row, the last of which has cost `own`.
pub fn retry(failures: u32, own: Duration) -> Duration {
    let doubled = 1_u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    INTERVAL
        .saturating_mul(doubled)
        .min(MAX_RETRY)
        .max(own.saturating_mul(OWN_COST))
}

/// When to look again for a layer where the `looks`-th look found none: soon at first, since what was
/// seen may have been the runtime at work, then seldom, since most cgroups are of the node's own.
pub fn look_again(looks: u32) -> Duration {
    match looks {
        0 | 1 => Duration::from_secs(2),
        2 => Duration::from_secs(10),
        3 => Duration::from_secs(60),
        _ => Duration::from_secs(600),
    }
}

/// How long to rest after `worked`.
pub fn rest(worked: Duration) -> Duration {
    worked.saturating_mul(REST).max(Duration::from_millis(1))
}

/// When one container is measured, and what that has cost.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// When next.
    pub due: Instant,
    /// What the last measurement has cost.
    pub cost: Duration,
    /// Failures in a row.
    pub failures: u32,
}

impl Turn {
    /// At once.
    pub fn now(now: Instant) -> Self {
        Self {
            due: now,
            cost: Duration::ZERO,
            failures: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_dear_is_measured_seldom() {
        let ms = Duration::from_millis;
        assert_eq!(interval(ms(5), ms(5)), INTERVAL);
        assert_eq!(interval(ms(900), ms(900)), 90 * SECOND);
        assert_eq!(
            interval(ms(5), 10 * SECOND),
            500 * SECOND,
            "many containers"
        );
        assert_eq!(rest(ms(10)), ms(40));
        assert_eq!(rest(Duration::ZERO), ms(1));
    }

    #[test]
    fn what_fails_is_tried_less_and_less() {
        let tries: Vec<u64> = (1..9).map(|n| retry(n, Duration::ZERO).as_secs()).collect();
        assert_eq!(tries, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(retry(u32::MAX, Duration::ZERO), MAX_RETRY);
        assert_eq!(retry(1, 100 * SECOND), 10_000 * SECOND);
        let looks: Vec<u64> = (1..6).map(|n| look_again(n).as_secs()).collect();
        assert_eq!(looks, [2, 10, 60, 600, 600]);
    }
}
