//! Which containers are to be asked about, when, and what is expected of the answer.
//!
//! An event is told before the runtime's own record has changed, or just after: so the question
//! waits a moment, gathers what else happens to the same container, and is asked again until the
//! answer fits the event.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::runtime::State;

/// How long after an event it is asked, and asked again.
const DELAYS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Containers that wait at most; a listing finds the others.
const MAX_WAITING: usize = 4_096;

/// The exit status of a process that SIGKILL ended: why may be known a moment later.
const SIGKILLED: i32 = 128 + 9;

/// What an event said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It was made, or something about it changed.
    Present,
    /// It was started.
    Running,
    /// It ended.
    Exited,
    /// The kernel killed something in it.
    Killed,
    /// It was removed.
    Gone,
}

/// A question that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The container or sandbox.
    pub id: String,
    /// What the last event said.
    pub expect: Expect,
    /// How often it was asked before.
    pub asked: usize,
}

/// The containers that wait to be asked about.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: HashMap<String, (Expect, usize, Instant)>,
}

impl Expect {
    /// Whether the answer, `None` if there is no such container, fits the event.
    pub fn is_met(self, answer: Option<&Option<State>>, asked: usize) -> bool {
        let Some(state) = answer else {
            return self == Self::Gone;
        };
        match (self, state) {
            (Self::Present, _) | (Self::Running, Some(State::Running | State::Paused)) => true,
            (Self::Gone, _) => false,
            (Self::Exited, Some(State::Exited { code, reason, .. })) => {
                let killed = *code == Some(SIGKILLED) && reason.as_deref() != Some("OOMKilled");
                !killed || asked > 0
            }
            (Self::Killed, Some(State::Exited { reason, .. })) => {
                reason.as_deref() == Some("OOMKilled")
            }
            // Started, and ended since.
            (Self::Running, Some(State::Exited { .. })) => true,
            (Self::Running | Self::Exited | Self::Killed, _) => false,
        }
    }
}

impl Pending {
    /// Something happened to a container. One to which things keep happening does not wait longer.
    pub fn add(&mut self, id: String, expect: Expect, now: Instant) {
        let soon = now + DELAYS[0];
        let before = self.waiting.get(&id).map(|(_, _, due)| *due);
        if before.is_some() || self.waiting.len() < MAX_WAITING {
            let due = before.map_or(soon, |before| before.min(soon));
            self.waiting.insert(id, (expect, 0, due));
        }
    }

    /// The answer did not fit: it is asked again, unless it was asked often enough or something else
    /// has happened since.
    pub fn again(&mut self, due: Due, now: Instant) {
        let asked = due.asked + 1;
        if let Some(delay) = DELAYS.get(asked) {
            let wait = (due.expect, asked, now + *delay);
            self.waiting.entry(due.id).or_insert(wait);
        }
    }

    /// When the next question is due.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.values().map(|(_, _, due)| *due).min()
    }

    /// Takes a question that is due.
    pub fn take(&mut self, now: Instant) -> Option<Due> {
        let first = self.waiting.iter().min_by_key(|(_, (_, _, due))| *due);
        let id = first.filter(|(_, (_, _, due))| *due <= now)?.0.clone();
        let (expect, asked, _) = self.waiting.remove(&id)?;
        Some(Due { id, expect, asked })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn exited(code: i32, reason: &str) -> Option<State> {
        Some(State::Exited {
            code: Some(code),
            reason: Some(reason.to_owned()),
            finished: None,
        })
    }

    #[test]
    fn questions_wait_gather_and_are_repeated() {
        let now = Instant::now();
        let mut pending = Pending::default();
        pending.add("a".to_owned(), Expect::Present, now);
        pending.add("a".to_owned(), Expect::Running, now);
        pending.add("b".to_owned(), Expect::Gone, now + DELAYS[0]);
        assert_eq!(pending.take(now), None);
        let due = pending.take(now + DELAYS[0]).unwrap();
        assert_eq!(
            (due.id.as_str(), due.expect, due.asked),
            ("a", Expect::Running, 0)
        );
        pending.again(due.clone(), now);
        assert_eq!(pending.next(), Some(now + DELAYS[0] * 2));
        let _ = pending.take(now + DELAYS[0] * 2).unwrap();
        assert_eq!(pending.next(), Some(now + DELAYS[1]));
        // A newer event counts, not the old question; and events do not put it off.
        pending.add("a".to_owned(), Expect::Running, now);
        pending.add("a".to_owned(), Expect::Gone, now + DELAYS[1]);
        pending.again(due, now);
        let due = pending.take(now + DELAYS[0]).unwrap();
        assert_eq!((due.expect, due.asked), (Expect::Gone, 0));
        pending.again(Due { asked: 3, ..due }, now);
        assert_eq!(pending.next(), None);
    }

    #[test]
    fn bounded() {
        let mut pending = Pending::default();
        for number in 0..MAX_WAITING + 9 {
            pending.add(number.to_string(), Expect::Gone, Instant::now());
        }
        assert_eq!(pending.waiting.len(), MAX_WAITING);
    }

    #[test]
    fn which_answer_fits() {
        let running = Some(State::Running);
        assert!(Expect::Running.is_met(Some(&running), 0));
        assert!(!Expect::Running.is_met(Some(&Some(State::Created)), 0));
        assert!(!Expect::Running.is_met(None, 0));
        assert!(!Expect::Exited.is_met(Some(&running), 0));
        assert!(Expect::Exited.is_met(Some(&exited(1, "Error")), 0));
        assert!(!Expect::Exited.is_met(Some(&exited(137, "Error")), 0));
        assert!(Expect::Exited.is_met(Some(&exited(137, "Error")), 1));
        assert!(Expect::Exited.is_met(Some(&exited(137, "OOMKilled")), 0));
        assert!(!Expect::Killed.is_met(Some(&exited(137, "Error")), 3));
        assert!(Expect::Killed.is_met(Some(&exited(137, "OOMKilled")), 0));
        assert!(Expect::Gone.is_met(None, 0));
        assert!(!Expect::Gone.is_met(Some(&running), 0));
    }
}
