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
    /// is known by these alone before everything is read of it again; and the longest for which a file that
    /// stands still is left out of the polls of one that does something. Who asks for a sample no older
    /// than some age has everything read whenever that was longer ago. Zero: always everything.
    pub full_interval: Duration,
    /// Whether all are polled at the same multiples of the interval, one after the other, instead of
    /// spread over it. On v2 reading a cgroup makes the kernel sum up (`rstat`) whatever has changed below it
    /// since: in one pass that is done once for all, and else by each level of the tree anew.
    pub in_step: bool,
}

impl Default for Housekeeping {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
            dynamic: true,
            full_interval: Duration::from_secs(30),
            in_step: false,
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
    /// name, so that containers that were found together are not polled together ever after, unless
    /// they are to be.
    pub fn splay(&self, name: &[u8]) -> Duration {
        if self.in_step {
            return self.interval / 2;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(name);
        self.interval
            .mul_f64((hasher.finish() >> 32) as f64 / (1_u64 << 32) as f64)
    }

    /// When, since polling began, a poll is due that is wanted `after` the time `now`, both counted
    /// from then: in step at the nearest multiple of the interval that is still to come.
    pub fn due(&self, now: Duration, after: Duration) -> Duration {
        let wanted = now.saturating_add(after);
        let step = self.interval.as_nanos();
        // What is wanted sooner has a reason of its own.
        if !self.in_step || step == 0 || after < self.interval / 2 {
            return wanted;
        }
        let steps = (wanted.as_nanos() + step / 2) / step;
        let next = now.as_nanos() / step + 1;
        let due = u64::try_from(steps.max(next).saturating_mul(step));
        due.map_or(wanted, Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_step_all_are_polled_at_multiples_of_the_interval() {
        let ms = Duration::from_millis;
        let spread = Housekeeping::default();
        let in_step = Housekeeping {
            in_step: true,
            ..spread
        };
        assert_eq!(spread.due(ms(10_340), ms(1_000)), ms(11_340));
        assert_eq!(
            in_step.due(ms(10_040), ms(1_000)),
            ms(11_000),
            "after a pass"
        );
        assert_eq!(in_step.due(ms(10_340), ms(1_000)), ms(11_000));
        assert_eq!(
            in_step.due(ms(10_740), ms(1_000)),
            ms(12_000),
            "just before one"
        );
        assert_eq!(in_step.due(ms(10_999), ms(500)), ms(11_000), "a new one");
        assert_eq!(in_step.due(ms(11_000), ms(500)), ms(12_000));
        assert_eq!(
            in_step.due(ms(10_040), ms(60_000)),
            ms(70_000),
            "backed off"
        );
        assert_eq!(in_step.due(ms(10_040), ms(5)), ms(10_045), "its first poll");
        assert_eq!(in_step.due(Duration::MAX, Duration::MAX), Duration::MAX);
        assert_eq!(in_step.splay(b"/a"), in_step.splay(b"/b"));
    }

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
