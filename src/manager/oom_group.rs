//! Pure: kills that the kernel counts twice.
//!
//! With `memory.oom.group` the kernel kills the process that it chose, counts that the group goes down,
//! and then kills all processes of the group. The chosen one is among them: it is counted once more,
//! unless it has ended by then. The kernel's log says which of the two it was; the counters do not, and
//! mostly the chosen process is the one that waits for memory, and cannot have ended.
//!
//! So for each group that went down, one that was counted and that the log does not explain is none, of
//! the container in which more were counted than there were tasks, else of the largest.

use std::time::{Duration, Instant};

use super::oom::{Counted, MAX_HELD, WAIT, WAIT_FOR_CONFIRMATION, make_room};
use crate::cgroup::ContainerName;
use crate::units::Timestamp;

/// How long after a group went down what was counted in it may be of that: reads of counters that one
/// notification each brings about, on a busy machine.
const SPAN: Duration = Duration::from_secs(5);

/// A container that counted kills.
#[derive(Debug)]
struct Burst {
    name: ContainerName,
    incarnation: u64,
    number: u64,
    tasks: Option<u64>,
    memory_bytes: Option<u64>,
    first: Timestamp,
    until: Instant,
}

/// A group that went down, with one kill counted twice of which nobody knows yet.
#[derive(Debug)]
struct Down {
    name: ContainerName,
    incarnation: u64,
    until: Instant,
}

/// What is known of groups that went down.
#[derive(Debug, Default)]
pub(super) struct Groups {
    bursts: Vec<Burst>,
    down: Vec<Down>,
    /// Where the log told of a process for the second time, and nobody counted a group yet.
    told_first: Vec<(ContainerName, Instant)>,
    /// Where a counted kill was taken to be none, in case the log says so later.
    dropped: Vec<(ContainerName, Instant)>,
}

/// Which container; of the many that may have had its name.
pub(super) type Of = (ContainerName, u64);

impl Groups {
    /// Takes note of what was counted. Gives how many groups went down of which the log has told all.
    pub(super) fn counted(&mut self, counted: &Counted<'_>, now: Instant) -> u64 {
        self.expire_notes(now);
        self.note_burst(counted, now);
        let mut settled = 0;
        let down = counted.counters.groups.unwrap_or(0).min(MAX_HELD as u64);
        for _ in 0..down {
            let told = self.told_first.iter();
            let mut told = told.map(|(name, _)| name.is_within(counted.name));
            if let Some(at) = told.position(|is_told| is_told) {
                self.told_first.remove(at);
                settled += 1;
                continue;
            }
            make_room(&mut self.down);
            self.down.push(Down {
                name: counted.name.clone(),
                incarnation: counted.incarnation,
                until: now + SPAN,
            });
        }
        settled
    }

    fn note_burst(&mut self, counted: &Counted<'_>, now: Instant) {
        if counted.counters.kills == 0 {
            return;
        }
        let known = self
            .bursts
            .iter_mut()
            .find(|burst| burst.incarnation == counted.incarnation && burst.name == *counted.name);
        if let Some(burst) = known {
            burst.number = burst.number.saturating_add(counted.counters.kills);
            burst.until = now + SPAN;
            return;
        }
        make_room(&mut self.bursts);
        self.bursts.push(Burst {
            name: counted.name.clone(),
            incarnation: counted.incarnation,
            number: counted.counters.kills,
            tasks: counted.tasks,
            memory_bytes: counted.memory_bytes,
            first: counted.read,
            until: now + SPAN,
        });
    }

    /// The log told of a process in `name` for the second time. Gives the group that is settled by that;
    /// an error if its second count has been dropped already.
    pub(super) fn again(&mut self, name: &ContainerName, now: Instant) -> Result<Option<Of>, ()> {
        self.expire_notes(now);
        if let Some(at) = self.dropped.iter().position(|(of, _)| of == name) {
            self.dropped.remove(at);
            return Err(());
        }
        if let Some(at) = (self.down.iter()).position(|down| name.is_within(&down.name)) {
            let down = self.down.remove(at);
            return Ok(Some((down.name, down.incarnation)));
        }
        make_room(&mut self.told_first);
        self.told_first.push((name.clone(), now + SPAN));
        Ok(None)
    }

    /// For each group that went down, the container whose kill was counted twice, among those that have a
    /// counted kill that the log does not explain; and the group.
    pub(super) fn counted_twice(&mut self, unexplained: &[Of], now: Instant) -> Vec<(Of, Of)> {
        let mut open: Vec<&Of> = unexplained.iter().collect();
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(down) = self.down.get(at) {
            let candidates = open.iter().enumerate().filter_map(|(place, of)| {
                let burst = self.burst(of)?;
                let fits = of.0.is_within(&down.name) && burst.number > 1;
                fits.then(|| (burst.rank(), std::cmp::Reverse(place), *of))
            });
            let Some((_, place, of)) = candidates.max() else {
                at += 1;
                continue;
            };
            open.remove(place.0);
            let down = self.down.remove(at);
            make_room(&mut self.dropped);
            self.dropped
                .push((of.0.clone(), now + WAIT_FOR_CONFIRMATION));
            let burst = self.bursts.iter_mut();
            let mut burst = burst.filter(|burst| burst.is_of(of));
            if let Some(burst) = burst.next() {
                burst.number -= 1;
            }
            found.push((of.clone(), (down.name, down.incarnation)));
        }
        found
    }

    /// Groups that went down so long ago that nothing comes of it any more.
    pub(super) fn settled(&mut self, now: Instant) -> Vec<Of> {
        self.expire_notes(now);
        let (down, settled) = std::mem::take(&mut self.down)
            .into_iter()
            .partition(|down| down.until > now);
        self.down = down;
        settled
            .into_iter()
            .map(|down: Down| (down.name, down.incarnation))
            .collect()
    }

    fn burst(&self, of: &Of) -> Option<&Burst> {
        self.bursts.iter().find(|burst| burst.is_of(of))
    }

    fn expire_notes(&mut self, now: Instant) {
        self.bursts.retain(|burst| burst.until > now);
        self.told_first.retain(|(_, until)| *until > now);
        self.dropped.retain(|(_, until)| *until > now);
    }
}

impl Burst {
    fn is_of(&self, (name, incarnation): &Of) -> bool {
        self.incarnation == *incarnation && self.name == *name
    }

    /// How likely one of its kills was counted twice: more kills than tasks, then size.
    fn rank(&self) -> (bool, u64, std::cmp::Reverse<Timestamp>) {
        let too_many = self.tasks.is_some_and(|tasks| self.number > tasks);
        let size = self.memory_bytes.unwrap_or(0);
        (too_many, size, std::cmp::Reverse(self.first))
    }
}

const _: () = assert!(SPAN.as_secs() > WAIT.as_secs());
