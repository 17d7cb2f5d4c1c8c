//! How containers ended, one by one. One that is started again has had several ends, and by the time
//! that somebody looks at its state it may be running.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Identity, Runtime, State};
use crate::units::Timestamp;

/// Ends that wait for who wants to know of them.
const MAX_ENDS: usize = 4_096;

/// How a container ended, as a link told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The container's id.
    pub id: Arc<str>,
    /// The runtime that says so.
    pub runtime: Runtime,
    /// Whether that belongs to a user, who may say anything.
    pub of_user: bool,
    /// The exit status; 128 and the signal's number for a signal.
    pub code: Option<i32>,
    /// Why, in the runtime's words.
    pub reason: Option<String>,
    /// When.
    pub finished: Timestamp,
}

impl End {
    /// The one that its runtime describes; `None` if it has not ended, or nobody knows when.
    pub fn of(identity: &Identity, of_user: bool) -> Option<Self> {
        let Some(State::Exited {
            code,
            reason,
            finished,
        }) = &identity.state
        else {
            return None;
        };
        Some(Self {
            id: identity.id.as_str().into(),
            runtime: identity.runtime,
            of_user,
            code: *code,
            reason: reason.clone(),
            finished: (*finished)?,
        })
    }
}

/// The ends that nobody has taken yet; of too many the newest.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<VecDeque<End>>);

impl Ends {
    /// A container is described that was described so before, if it was.
    pub(super) fn note(&self, before: Option<&Identity>, identity: &Identity, of_user: bool) {
        if before.is_some_and(|before| before.state == identity.state) {
            return;
        }
        let Some(end) = End::of(identity, of_user) else {
            return;
        };
        let mut ends = self.0.lock();
        if ends.len() >= MAX_ENDS {
            ends.pop_front();
        }
        ends.push_back(end);
    }

    /// Oldest first.
    pub(super) fn take(&self) -> VecDeque<End> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::runtime::Names;

    fn run(state: State) -> Identity {
        Identity {
            state: Some(state),
            ..Identity::new(Runtime::Docker, "a")
        }
    }

    fn exited(at: i64) -> State {
        State::Exited {
            code: Some(1),
            reason: None,
            finished: Some(Timestamp(at)),
        }
    }

    #[test]
    fn each_end_is_told_once() {
        let names = Names::default();
        names.put(run(State::Running));
        for at in [10, 20] {
            names.put(run(exited(at)));
            let described = Identity {
                restart_count: Some(1),
                ..run(exited(at))
            };
            names.put(described);
            names.put(run(State::Running));
        }
        let ends = names.take_ends();
        let told: Vec<_> = ends.iter().map(|end| (&*end.id, end.finished.0)).collect();
        assert_eq!(told, [("a", 10), ("a", 20)]);
        assert!(names.take_ends().is_empty());
    }

    #[test]
    fn of_too_many_the_newest() {
        let ends = Ends::default();
        for at in 0..2 * i64::try_from(MAX_ENDS).unwrap() {
            ends.note(None, &run(exited(at)), false);
        }
        let told = ends.take();
        assert_eq!(told.len(), MAX_ENDS);
        assert_eq!(told[0].finished.0, i64::try_from(MAX_ENDS).unwrap());
    }
}
