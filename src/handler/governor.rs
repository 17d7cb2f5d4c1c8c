//! Pure: what cgauge gives up to stay within the CPU time that it may use.
//!
//! In this order, each only when the one before it is used up:
//!
//! 1. containers that stand still are polled less often, down to a sixteenth;
//! 2. all containers are polled less often, down to a sixty-fourth, and a scrape that says nothing
//!    else takes samples that are older by as much.
//!
//! Events, OOM kills and answers to who asks for fresh samples are never given up.

use std::time::Duration;

/// Steps are powers of two: so many for containers that stand still, then so many for all.
const IDLE_STEPS: f64 = 4.0;
const BUSY_STEPS: f64 = 6.0;

/// What is aimed at, as a part of the budget: a little below, so that it is kept.
const AIM: f64 = 0.9;

/// Use below this part of the budget gives back what was given up. Between this and the budget
/// nothing changes.
const EASY: f64 = 0.7;

/// The most that one window takes away, and gives back, in steps. Back slowly: a node that is at the
/// edge would swing to and fro.
const MOST_DOWN: f64 = 3.0;
const MOST_BACK: f64 = 0.5;

/// By how much intervals are longer than the settings say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Those of containers that stand still.
    pub idle: f64,
    /// Those of all others.
    pub busy: f64,
}

impl Stretch {
    /// As the settings say.
    pub const NONE: Self = Self {
        idle: 1.0,
        busy: 1.0,
    };
}

/// Watches what cgauge uses, one window after another.
#[derive(Debug)]
pub struct Governor {
    /// CPU seconds per second.
    budget: f64,
    /// How many steps have been taken.
    steps: f64,
}

impl Governor {
    /// One that keeps to `budget` CPU seconds per second.
    pub fn new(budget: f64) -> Self {
        Self { budget, steps: 0.0 }
    }

    /// What it keeps to, CPU seconds per second.
    pub fn budget(&self) -> f64 {
        self.budget
    }

    /// Takes note of the CPU time `used` over `window`, and says how far intervals are to be stretched
    /// from now on.
    pub fn observe(&mut self, used: Duration, window: Duration) -> Stretch {
        let part = used.as_secs_f64() / (window.as_secs_f64() * self.budget);
        // Half the polls is half the cost, near enough: a step for each doubling. What does not come
        // from polls only means that it takes another window.
        let wanted = (part / AIM).log2();
        if part > 1.0 {
            self.steps += wanted.clamp(0.0, MOST_DOWN);
        } else if part < EASY {
            self.steps += wanted.clamp(-MOST_BACK, 0.0);
        }
        self.steps = self.steps.clamp(0.0, IDLE_STEPS + BUSY_STEPS);
        self.stretch()
    }

    /// How far intervals are stretched now.
    pub fn stretch(&self) -> Stretch {
        let busy = (self.steps - IDLE_STEPS).max(0.0).exp2();
        Stretch {
            idle: self.steps.min(IDLE_STEPS).exp2() * busy,
            busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(5);

    /// A node whose idle and busy containers cost so many cores when nothing is stretched, after some
    /// windows.
    fn settle(governor: &mut Governor, idle: f64, busy: f64, other: f64) -> (Stretch, f64) {
        let mut used = 0.0;
        for _ in 0..60 {
            let stretch = governor.stretch();
            used = idle / stretch.idle + busy / stretch.busy + other;
            governor.observe(WINDOW.mul_f64(used), WINDOW);
        }
        (governor.stretch(), used)
    }

    #[test]
    fn nothing_is_given_up_within_the_budget() {
        let mut governor = Governor::new(0.1);
        assert_eq!(settle(&mut governor, 0.05, 0.04, 0.0).0, Stretch::NONE);
    }

    #[test]
    fn idle_containers_first_and_then_all() {
        let mut governor = Governor::new(0.02);
        let (stretch, used) = settle(&mut governor, 0.06, 0.005, 0.001);
        assert!(stretch.idle > 3.0 && stretch.busy == 1.0, "{stretch:?}");
        assert!(used <= 0.02, "{used}");
        let (stretch, used) = settle(&mut governor, 0.06, 0.2, 0.001);
        assert!(stretch.busy > 8.0, "{stretch:?}");
        assert!(stretch.idle >= stretch.busy * 15.9, "{stretch:?}");
        assert!(used <= 0.02, "{used}");
    }

    #[test]
    fn what_was_given_up_comes_back() {
        let mut governor = Governor::new(0.02);
        settle(&mut governor, 0.1, 0.5, 0.0);
        assert_eq!(settle(&mut governor, 0.001, 0.001, 0.0).0, Stretch::NONE);
    }

    #[test]
    fn an_impossible_budget_ends_at_a_bound() {
        let mut governor = Governor::new(1e-9);
        let (stretch, _) = settle(&mut governor, 1.0, 1.0, 1.0);
        assert_eq!(
            stretch,
            Stretch {
                idle: 1024.0,
                busy: 64.0
            }
        );
        governor.observe(Duration::ZERO, WINDOW);
        governor.observe(Duration::MAX, Duration::from_nanos(1));
        assert!(governor.stretch().idle.is_finite());
    }
}
