//! OOM kills whose container the watcher has yet to tell of.
//!
//! The kernel's log and the tree are read by two threads. The log can be ahead: of a container that was made a
//! moment ago, or that was removed and made again since the manager last heard of it. Its kill would be
//! taken for one of the container that had the name before. What is on disk tells; such a kill waits
//! until the manager has heard of it, too, and for a second at most.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::registry::Registry;
use crate::cgroup::hierarchy::Controller;
use crate::cgroup::{ContainerName, Hierarchies};
use crate::event::OomKill;

/// How long a kill waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How many may wait. More are told at once, of the container that is known.
const MAX_HELD: usize = 64;

/// A kill, as the log tells of it.
#[derive(Debug)]
pub(super) struct HeldKill {
    pub(super) kill: Box<OomKill>,
    /// Where procfs still showed the victim.
    pub(super) seen_in: Option<ContainerName>,
    until: Instant,
}

/// Those that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<HeldKill>);

impl Held {
    /// Adds a kill that has just been read.
    pub(super) fn push(
        &mut self,
        kill: Box<OomKill>,
        seen_in: Option<ContainerName>,
        now: Instant,
    ) {
        let until = match self.0.len() < MAX_HELD {
            true => now + PATIENCE,
            false => now,
        };
        self.0.push_back(HeldKill {
            kill,
            seen_in,
            until,
        });
    }

    /// Takes out those that need not wait any longer.
    pub(super) fn release(
        &mut self,
        now: Instant,
        is_behind: impl Fn(&HeldKill) -> bool,
    ) -> Vec<HeldKill> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (waiting, ready): (VecDeque<_>, Vec<_>) = {
            let all = std::mem::take(&mut self.0).into_iter();
            let (ready, waiting): (Vec<_>, Vec<_>) =
                all.partition(|held| held.until <= now || !is_behind(held));
            (waiting.into(), ready)
        };
        self.0 = waiting;
        ready
    }
}

impl HeldKill {
    /// The container of the victim, as the log or procfs name it.
    pub(super) fn container(&self, hierarchies: &Hierarchies) -> Option<ContainerName> {
        let path = self.kill.task_memcg.as_ref();
        path.map(|path| hierarchies.container_of_memcg(path))
            .or_else(|| self.seen_in.clone())
    }
}

/// Whether the container that is known as `name` is another than the one whose directory is there: one of
/// them has come or gone, and the watcher has yet to say so.
pub(super) fn is_behind(
    name: &ContainerName,
    registry: &Registry,
    hierarchies: &Hierarchies,
) -> bool {
    let memory = hierarchies.of(Controller::Memory);
    let Some(hierarchy) = memory.or(hierarchies.unified()) else {
        return false;
    };
    let path = name.below(&hierarchies.get(hierarchy).root);
    let there = std::fs::metadata(path).ok().map(|metadata| metadata.ino());
    let known = registry.get(name);
    match (there, known) {
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
        (Some(inode), Some(handler)) => !handler.is_at(Some(hierarchy), Some(inode)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_waits_until_its_container_is_known_and_no_longer_than_a_second() {
        let (mut held, start) = (Held::default(), Instant::now());
        let known = ContainerName::from_request("/known");
        let unknown = ContainerName::from_request("/unknown");
        for name in [&known, &unknown] {
            held.push(Box::default(), Some(name.clone()), start);
        }
        let of = |ready: Vec<HeldKill>| -> Vec<_> {
            ready
                .into_iter()
                .map(|held| held.seen_in.unwrap())
                .collect()
        };
        let is_behind = |held: &HeldKill| held.seen_in.as_ref() == Some(&unknown);
        assert_eq!(of(held.release(start, is_behind)), [known]);
        assert_eq!(of(held.release(start, is_behind)), []);
        assert_eq!(of(held.release(start + PATIENCE, is_behind)), [unknown]);
        for _ in 0..=MAX_HELD {
            held.push(Box::default(), None, start);
        }
        assert_eq!(held.release(start, |_| true).len(), 1, "there are too many");
        assert_eq!(held.release(start, |_| false).len(), MAX_HELD);
    }
}
