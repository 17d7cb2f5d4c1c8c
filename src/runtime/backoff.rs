//! When a link that failed is tried again. Pure.

use std::time::Duration;

/// The shortest pause.
pub const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The longest.
pub const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A link that held this long was a good one: its next failure is its first.
pub const GOOD_STRETCH: Duration = Duration::from_secs(30);

/// Pauses that double from failure to failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after a failure of a link that was connected for `held`. `dice` is anything random:
    /// it takes away up to a half, so that links that failed together do not come back together.
    pub fn after(&mut self, held: Duration, dice: u64) -> Duration {
        if held >= GOOD_STRETCH {
            self.failures = 0;
        }
        let whole = MIN_PAUSE
            .saturating_mul(1 << self.failures.min(16))
            .min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let part = u32::try_from(dice % 1_000).unwrap_or(0);
        (whole - whole / 2_000 * part).max(MIN_PAUSE)
    }

    /// The next failure is the first.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(backoff: &mut Backoff, dice: u64) -> f64 {
        backoff.after(Duration::ZERO, dice).as_secs_f64()
    }

    #[test]
    fn doubles_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..7).map(|_| seconds(&mut backoff, 0)).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        for _ in 0..100 {
            assert_eq!(seconds(&mut backoff, 0), 30.0);
        }
        backoff.reset();
        assert_eq!(seconds(&mut backoff, 0), 1.0);
    }

    #[test]
    fn dice_take_away_up_to_a_half_but_never_the_first_second() {
        let mut backoff = Backoff { failures: 3 };
        let (mut least, mut most) = (f64::MAX, 0.0_f64);
        for dice in 0..2_000 {
            let mut this = backoff;
            let pause = seconds(&mut this, dice);
            (least, most) = (least.min(pause), most.max(pause));
        }
        assert!((4.0..4.1).contains(&least) && most == 8.0, "{least} {most}");
        backoff.reset();
        assert_eq!(seconds(&mut backoff, 999), 1.0);
        assert!(backoff.after(Duration::ZERO, u64::MAX) >= MIN_PAUSE);
    }

    #[test]
    fn a_good_stretch_forgives() {
        let mut backoff = Backoff { failures: 9 };
        assert_eq!(backoff.after(GOOD_STRETCH, 0), MIN_PAUSE);
        let mut backoff = Backoff { failures: 9 };
        assert_eq!(backoff.after(GOOD_STRETCH / 2, 0), MAX_PAUSE);
    }
}
