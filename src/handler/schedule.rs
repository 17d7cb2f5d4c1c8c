//! Pure: when a container is polled next.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

/// A young container is polled again after this part of its age.
const AGE_BETWEEN_POLLS: u32 = 4;

/// But not sooner than this.
const YOUNGEST: Duration = Duration::from_millis(10);

/// The housekeeping settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Housekeeping {
    /// Between two polls of a container that does something.
    pub interval: Duration,
    /// The most that this is stretched to for one that does nothing.
    pub max_interval: Duration,
    /// Whether to stretch at all.
    pub dynamic: bool,
    /// For how long a container that does nothing (its CPU time, memory and number of tasks stand still)
    /// is known by these alone before everything is read of it again. Who asks for a sample no older
    /// than some age has everything read whenever that was longer ago. Zero: always everything.
    pub full_interval: Duration,
}

impl Default for Housekeeping {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
            dynamic: true,
            full_interval: Duration::from_secs(30),
        }
    }
}

impl Housekeeping {
    /// The interval after one of `interval`: twice as long while nothing changes, the base interval
    /// as soon as something does.
    pub fn next(&self, interval: Duration, changed: bool) -> Duration {
        if changed || !self.dynamic {
            return self.interval;
        }
        interval
            .saturating_mul(2)
            .min(self.max_interval)
            .max(self.interval)
    }

    /// When a container that was made so long ago is polled next, if that is sooner than it would be: the
    /// younger it is, the sooner. Of one that works steadily the polls then miss no more than a fifth,
    /// however soon it goes, and half of that on average.
    pub fn young(&self, age: Duration) -> Option<Duration> {
        let next = (age / AGE_BETWEEN_POLLS).max(YOUNGEST);
        (next < self.interval).then_some(next)
    }

    /// When within its first interval a container is polled a second time: spread by a hash of its
    /// name, so that containers that were found together are not polled together ever after.
    pub fn splay(&self, name: &[u8]) -> Duration {
        let mut hasher = DefaultHasher::new();
        hasher.write(name);
        self.interval
            .mul_f64((hasher.finish() >> 32) as f64 / (1_u64 << 32) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_containers_are_polled_less_and_stay_so_until_they_move() {
        let housekeeping = Housekeeping::default();
        let mut interval = housekeeping.interval;
        let mut seconds = Vec::new();
        for _ in 0..8 {
            interval = housekeeping.next(interval, false);
            seconds.push(interval.as_secs());
        }
        assert_eq!(seconds, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(housekeeping.next(interval, true), housekeeping.interval);
        let fixed = Housekeeping {
            dynamic: false,
            ..housekeeping
        };
        assert_eq!(fixed.next(fixed.interval, false), fixed.interval);
        let odd = Housekeeping {
            max_interval: Duration::from_millis(1),
            ..housekeeping
        };
        assert_eq!(
            odd.next(odd.interval, false),
            odd.interval,
            "never below the base interval"
        );
    }

    #[test]
    fn the_young_are_polled_the_more_often_the_younger_they_are() {
        let housekeeping = Housekeeping::default();
        let (mut age, mut polls) = (Duration::from_millis(5), 1);
        while let Some(next) = housekeeping.young(age) {
            assert!(next <= YOUNGEST || next <= age / 4, "{age:?}: {next:?}");
            (age, polls) = (age + next, polls + 1);
        }
        assert!((Duration::from_secs(4)..Duration::from_secs(5)).contains(&age));
        assert_eq!(polls, 26);
        let fast = Housekeeping {
            interval: Duration::from_millis(10),
            ..housekeeping
        };
        assert_eq!(
            fast.young(Duration::ZERO),
            None,
            "never more often than that"
        );
    }

    #[test]
    fn containers_are_spread_over_the_first_interval() {
        let housekeeping = Housekeeping::default();
        let offsets: Vec<Duration> = (0..1000)
            .map(|number| housekeeping.splay(format!("/pod{number}").as_bytes()))
            .collect();
        for tenth in 0..10 {
            let bounds =
                Duration::from_millis(tenth * 100)..Duration::from_millis(tenth * 100 + 100);
            let inside = offsets
                .iter()
                .filter(|offset| bounds.contains(offset))
                .count();
            assert!(
                (50..200).contains(&inside),
                "{inside} of 1000 in tenth {tenth}"
            );
        }
    }
}
