//! Pure: how long the text of a file has stood still, and when to read it again.
//!
//! Most files of a busy container do not change from one poll to the next: it does no I/O, is not
//! throttled, does not meet its limit. Such a file is left out for as long as it had stood still when
//! it was last read, so that a figure is never older than it had been constant before, and never older
//! than a bound.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

/// Polls come a little early or late.
const SLACK_MS: u32 = 100;

/// How long a file must have stood still to be closed: reading it once in so long, opening it costs
/// less than keeping it open does.
const CLOSE_AFTER: Duration = Duration::from_secs(8);

/// The longest stillness that is told apart: far below the time after which milliseconds wrap around.
const LONGEST_MS: u32 = 24 * 60 * 60 * 1_000;

/// What is known of one file's text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stillness {
    /// A hash of the text.
    text: u64,
    /// When the text was first as it is, and when it was last read: milliseconds of [`Clock`].
    since_ms: u32,
    read_ms: u32,
    /// Whether there was a text at all.
    known: bool,
}

/// Milliseconds since some moment. They wrap around after 49 days: only differences mean something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    /// One by which it is `by` later.
    #[cfg(test)]
    pub(super) fn set_forward(&mut self, by: Duration) {
        self.0 -= by;
    }

    pub(super) fn ms(self, now: Instant) -> u32 {
        now.saturating_duration_since(self.0).as_millis() as u32
    }
}

impl Stillness {
    /// Takes note of a text that has just been read.
    pub(super) fn note(&mut self, text: u64, now_ms: u32) {
        if !self.known || self.text != text {
            self.since_ms = now_ms;
        } else if now_ms.wrapping_sub(self.since_ms) > LONGEST_MS {
            self.since_ms = now_ms.wrapping_sub(LONGEST_MS);
        }
        self.text = text;
        self.read_ms = now_ms;
        self.known = true;
    }

    /// There is no text any more.
    pub(super) fn forget(&mut self) {
        self.known = false;
    }

    /// Whether there was a text, and it was not this one.
    pub(super) fn is_another(self, text: u64) -> bool {
        self.known && self.text != text
    }

    /// Whether there was a text when it was last looked for.
    pub(super) fn is_known(self) -> bool {
        self.known
    }

    /// Whether it is time to read the file again, at most `bound` after it was last read.
    pub(super) fn is_due(self, now_ms: u32, bound: Duration) -> bool {
        let unread = now_ms.wrapping_sub(self.read_ms).saturating_add(SLACK_MS);
        let unread = Duration::from_millis(u64::from(unread));
        !self.known || unread >= self.stood().min(bound)
    }

    /// Whether it changes so rarely that it need not stay open.
    pub(super) fn is_cold(self) -> bool {
        self.known && self.stood() >= CLOSE_AFTER
    }

    /// For how long the text had been the same when it was last read.
    fn stood(self) -> Duration {
        Duration::from_millis(u64::from(self.read_ms.wrapping_sub(self.since_ms)))
    }
}

/// What stands for a text. Two texts have the same once in 2⁶⁴, and then until the next full reading.
pub(super) fn hash(text: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(text);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    /// The seconds at which a file is read in two minutes of polls, its text by second.
    fn reads(text: impl Fn(u32) -> u64) -> Vec<u32> {
        let mut still = Stillness::default();
        let due = |second: &u32| {
            let now = second * 1_000;
            let due = still.is_due(now, BOUND);
            if due {
                still.note(text(*second), now);
            }
            due
        };
        (0..120).filter(due).collect()
    }

    #[test]
    fn what_changes_is_read_each_time_and_what_does_not_ever_less() {
        assert_eq!(reads(u64::from), (0..120).collect::<Vec<_>>());
        assert_eq!(reads(|_| 7), [0, 1, 2, 4, 8, 16, 32, 62, 92]);
        // A change is seen, and from then on it is read as one that moves.
        let changed = reads(|second| u64::from(second >= 10));
        assert_eq!(
            changed,
            [0, 1, 2, 4, 8, 16, 17, 18, 20, 24, 32, 48, 78, 108]
        );
    }

    #[test]
    fn a_file_that_went_away_is_looked_for_and_not_cold() {
        let mut still = Stillness::default();
        still.note(1, 0);
        still.note(1, 60_000);
        assert!(still.is_cold() && !still.is_due(60_500, BOUND));
        still.forget();
        assert!(!still.is_cold() && still.is_due(60_500, BOUND));
        still.note(1, 61_000);
        assert!(!still.is_cold(), "it may have been another in between");
    }

    #[test]
    fn milliseconds_may_wrap_around() {
        let mut still = Stillness::default();
        still.note(1, u32::MAX - 999);
        still.note(1, 9_000);
        assert!(still.is_cold());
        assert!(!still.is_due(18_000, BOUND) && still.is_due(19_000, BOUND));
        for day in 1..100_u32 {
            still.note(1, day.wrapping_mul(24 * 60 * 60 * 1_000));
        }
        assert!(still.is_cold(), "after 99 days of the same");
    }

    #[test]
    fn texts_that_differ_in_one_digit_differ() {
        assert_eq!(hash(b"cache 4096\n"), hash(b"cache 4096\n"));
        assert_ne!(hash(b"cache 4096\n"), hash(b"cache 4097\n"));
        assert_ne!(hash(b""), hash(b"\n"));
    }
}
