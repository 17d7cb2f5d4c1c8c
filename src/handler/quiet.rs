//! Pure: how much of a container a poll has to read, by what it was seen doing.

use std::time::{Duration, Instant};

use crate::cgroup::container::Pulse;

/// After how many polls without a change a container gives back the files that are not its pulse.
const QUIET_POLLS: u32 = 3;

/// A container wakes if it uses so many times the CPU that it used before, and at least this part of
/// one: what stood still so far may move now.
const WAKES: f64 = 2.0;
const WAKES_ABOVE: f64 = 0.01;

/// What is known of a container's doing nothing, or always the same.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// The pulse at the last poll, and when that was.
    last: Option<(Pulse, Instant)>,
    /// CPU seconds per second between the two last polls.
    rate: Option<f64>,
    /// The working set when memory was last read.
    pub(super) working_set_bytes: Option<u64>,
    /// When everything was last read.
    read_in_full: Option<Instant>,
    /// Polls in a row that found the same pulse.
    polls: u32,
}

/// What a poll has to read beyond the pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing: the container stands still.
    Nothing,
    /// What changes, and what has not been read for a while.
    Moving,
    /// Everything.
    Everything,
}

impl Quiet {
    /// Whether it is time to read everything, whatever the pulse says.
    pub(super) fn is_over(&self, now: Instant, full_interval: Duration) -> bool {
        self.read_in_full
            .is_none_or(|read| now.saturating_duration_since(read) >= full_interval)
    }

    /// Takes note of the pulse, and says what else to read.
    pub(super) fn feel(&mut self, pulse: Option<Pulse>, now: Instant) -> Reading {
        let Some(pulse) = pulse else {
            self.forget();
            return Reading::Everything;
        };
        let before = self.last.replace((pulse, now));
        let Some((before, then)) = before else {
            return Reading::Everything;
        };
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        let used = pulse.cpu_seconds_since(&before);
        // Too close to tell: the last rate stays.
        let rate = used.filter(|_| seconds > 0.0).map(|used| used / seconds);
        let rate_before = self.rate;
        self.rate = rate.or(rate_before);
        if pulse == before {
            self.polls = self.polls.saturating_add(1);
            return Reading::Nothing;
        }
        self.polls = 0;
        let wakes = |rate: f64| {
            rate > WAKES_ABOVE && rate_before.is_none_or(|before| rate > before * WAKES)
        };
        match self.rate.is_some_and(wakes) {
            true => Reading::Everything,
            false => Reading::Moving,
        }
    }

    /// Everything has been read.
    pub(super) fn read_in_full(&mut self, at: Instant) {
        self.read_in_full = Some(at);
    }

    /// The cgroup gave nothing: what was known of it says nothing about the next poll.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.rate = None;
        self.polls = 0;
    }

    /// Whether it has stood still for long enough to keep only its pulse open.
    pub(super) fn is_settled(&self) -> bool {
        self.polls >= QUIET_POLLS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feel(quiet: &mut Quiet, start: Instant, ms: u64, cpu_ms: u64, memory: u64) -> Reading {
        let pulse = Pulse::new(cpu_ms * 1_000_000, Some(memory), Some(1));
        quiet.feel(Some(pulse), start + Duration::from_millis(ms))
    }

    #[test]
    fn what_stands_still_moves_or_wakes_is_read_accordingly() {
        let (mut quiet, start) = (Quiet::default(), Instant::now());
        assert_eq!(feel(&mut quiet, start, 0, 100, 1), Reading::Everything);
        assert_eq!(feel(&mut quiet, start, 1_000, 100, 1), Reading::Nothing);
        // Nine thousandths of a CPU from nothing, or memory alone: nothing to speak of.
        assert_eq!(feel(&mut quiet, start, 2_000, 109, 1), Reading::Moving);
        assert_eq!(feel(&mut quiet, start, 3_000, 118, 2), Reading::Moving);
        assert_eq!(feel(&mut quiet, start, 4_000, 118, 3), Reading::Moving);
        // From none to a fifth of a CPU, then no more than twice that, then more.
        assert_eq!(feel(&mut quiet, start, 5_000, 318, 3), Reading::Everything);
        assert_eq!(feel(&mut quiet, start, 6_000, 708, 3), Reading::Moving);
        assert_eq!(
            feel(&mut quiet, start, 7_000, 1_700, 3),
            Reading::Everything
        );
        assert_eq!(quiet.feel(None, start), Reading::Everything);
        assert_eq!(
            feel(&mut quiet, start, 9_000, 1_700, 3),
            Reading::Everything,
            "nothing to compare with"
        );
    }

    #[test]
    fn it_has_settled_after_a_few_polls_of_the_same() {
        let (mut quiet, start) = (Quiet::default(), Instant::now());
        let mut settled = Vec::new();
        for ms in (0..6_000).step_by(1_000) {
            feel(&mut quiet, start, ms, 5, 1);
            settled.push(quiet.is_settled());
        }
        assert_eq!(settled, [false, false, false, true, true, true]);
        feel(&mut quiet, start, 6_000, 6, 1);
        assert!(!quiet.is_settled());
    }

    #[test]
    fn everything_is_read_when_that_was_long_ago() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        let interval = Duration::from_secs(30);
        assert!(quiet.is_over(now, interval), "never");
        quiet.read_in_full(now);
        assert!(!quiet.is_over(now + Duration::from_secs(29), interval));
        assert!(quiet.is_over(now + interval, interval));
        assert!(quiet.is_over(now, Duration::ZERO));
    }
}
