//! Pure: how long news of processes may wait, so that following them costs no more than a part of one CPU.
//!
//! Each wake of the thread costs more than what it then does. On a host that makes hundreds of processes
//! a second, some of what is told is gathered for a few milliseconds: first what is made and begun, then
//! what ends, too.

use std::time::Duration;

/// The part of one CPU that is aimed at.
const SHARE: f64 = 0.05;

/// Below this part of it less is gathered again.
const EASY: f64 = 0.4;

/// For how long news waits, at first and at most.
const FIRST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_millis(8);

/// From here on ends wait, too.
const ENDS_FROM: Duration = Duration::from_millis(4);

/// How long news waits now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace(Duration);

impl Pace {
    /// Takes note of the CPU time `used` over `window`.
    pub fn observe(&mut self, used: Duration, window: Duration) {
        let part = used.as_secs_f64() / window.as_secs_f64() / SHARE;
        if part > 1.0 {
            self.0 = (self.0 * 2).clamp(FIRST, MOST);
        } else if part < EASY {
            self.0 /= 2;
            if self.0 < FIRST {
                self.0 = Duration::ZERO;
            }
        }
    }

    /// After a look, how long news of processes that are made and begin programs waits.
    pub fn hold(self) -> Duration {
        self.0
    }

    /// Whether news of ends waits as long.
    pub fn holds_ends(self) -> bool {
        self.0 >= ENDS_FROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_waits_only_where_there_is_much_and_no_longer_than_that() {
        let (second, mut pace) = (Duration::from_secs(1), Pace::default());
        pace.observe(Duration::from_millis(49), second);
        assert_eq!((pace.hold(), pace.holds_ends()), (Duration::ZERO, false));
        let held: Vec<_> = (0..6)
            .map(|_| {
                pace.observe(Duration::from_millis(100), second);
                (pace.hold().as_millis(), pace.holds_ends())
            })
            .collect();
        let most = (8, true);
        assert_eq!(held, [(1, false), (2, false), (4, true), most, most, most]);
        pace.observe(Duration::from_millis(30), second);
        assert_eq!(pace.hold(), MOST, "neither too much nor easy");
        for _ in 0..4 {
            pace.observe(Duration::from_millis(19), second);
        }
        assert_eq!(pace.hold(), Duration::ZERO);
    }
}
