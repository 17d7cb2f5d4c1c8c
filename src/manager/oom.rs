//! Pure: two witnesses of OOM kills become one account.
//!
//! The kernel log says who was killed; the counter of the victim's cgroup says that somebody was.
//! Either may come first, and either may be silent: the log when records were overwritten or may not
//! be read, the counter when the cgroup was removed before it was looked at. So a kill from the log
//! is told at once, and its counter is expected; a kill from the counter waits a moment for the log,
//! is told without it if need be, and still takes up what the log says later.
//!
//! Time tells what belongs together: a counter that was read before a kill cannot have counted it.
//! What is told has a number, so that whoever keeps it can be told when the other witness confirms.
//!
//! The log does not always say where the victim was: for further victims of a group kill it names the
//! cgroup that has `memory.oom.group`, and past ten reports in five seconds it names none. Such a kill
//! waits for the counter that it belongs to.
//!
//! What the kernel counts twice is told once: see `oom_group`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::oom_group::{Groups, Of};
use crate::cgroup::{ContainerName, OomCounters};
use crate::event::OomKill;
use crate::units::Timestamp;

/// How long a kill of which too little is known waits for the other witness.
pub const WAIT: Duration = Duration::from_secs(1);

/// How long a kill that was told may be confirmed afterwards: longer than the longest housekeeping
/// interval by default.
pub(super) const WAIT_FOR_CONFIRMATION: Duration = Duration::from_secs(150);

/// As long for a container that is not known yet, or no more: one on its way here is polled at once,
/// and the next of the same name must not be taken for it.
const WAIT_FOR_UNKNOWN: Duration = Duration::from_secs(5);

/// The kernel counts a kill before it logs it, and consoles are slow: a counter of the same container
/// that was read so little before may have counted it.
const COUNTED_BEFORE_LOGGED: Duration = Duration::from_millis(100);

/// By how much the time of a record may be before its kill, when two containers of a name come into
/// question. The kernel's log has a clock of its own, which an emulated machine lets run slow.
const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// The most kills that one look at a counter tells one by one.
const MAX_AT_ONCE: usize = 1_000;

/// The most kills that are held either way; the oldest give way.
pub(super) const MAX_HELD: usize = 10_000;

/// The number of a kill that is none.
const NOBODY: u64 = u64::MAX;

/// Where the log says that the victim was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this container; which of that name, if it is known.
    In(ContainerName, Option<u64>),
    /// In this container or below it.
    Within(ContainerName),
    /// It does not say.
    Unknown,
}

/// What the log told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its account.
    pub kill: Arc<OomKill>,
    /// When it happened.
    pub when: Timestamp,
    /// Not before this: the log's clock is not ours.
    pub earliest: Timestamp,
    /// Where the victim was.
    pub place: Place,
    /// The container whose limit was hit.
    pub limit_of: ContainerName,
}

/// What a look at the kernel's counters of a container told.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// The container.
    pub name: &'a ContainerName,
    /// Which of that name.
    pub incarnation: u64,
    /// By how much they have grown.
    pub counters: OomCounters,
    /// Tasks in it before.
    pub tasks: Option<u64>,
    /// Memory used before.
    pub memory_bytes: Option<u64>,
    /// Whether it may have happened before the monitor was there.
    pub while_down: bool,
    /// When they were read.
    pub read: Timestamp,
    /// When the container was made.
    pub started: Timestamp,
}

/// A kill to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Its number.
    pub number: u64,
    /// When it happened, or when it was noticed if only a counter told.
    pub when: Timestamp,
    /// The container of the process.
    pub victim: ContainerName,
    /// Which of the containers of that name, if it is known.
    pub incarnation: Option<u64>,
    /// The container whose limit was hit, and the log's account; `None` if only a counter told.
    pub told: Option<(ContainerName, Arc<OomKill>)>,
    /// Whether a counter told.
    pub counted: bool,
    /// Whether it may have happened before the monitor was there.
    pub while_down: bool,
}

/// What follows from what a witness said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Tell of a kill.
    New(Kill),
    /// The kill of this number has been told; the other witness says the same. With the log's words,
    /// if it is the log.
    Confirmed(u64, Option<Logged>),
    /// The counters of this container have this, too, and it is no further kill.
    Beside(ContainerName, u64, OomCounters),
}

impl Verdict {
    fn twice((name, incarnation): Of) -> Self {
        let groups = None;
        Self::Beside(name, incarnation, OomCounters { kills: 1, groups })
    }

    fn group((name, incarnation): Of, number: u64) -> Self {
        let (kills, groups) = (0, Some(number));
        Self::Beside(name, incarnation, OomCounters { kills, groups })
    }
}

/// A kill of which the log told, and no counter yet.
#[derive(Debug)]
struct FromLog {
    logged: Logged,
    /// Its number, once it has been told.
    told: Option<u64>,
    until: Instant,
}

/// A kill of which a counter told, and the log has not yet.
#[derive(Debug)]
struct FromCounter {
    name: ContainerName,
    incarnation: u64,
    /// When the counter was read, and the container made.
    read: Timestamp,
    started: Timestamp,
    told: Option<u64>,
    while_down: bool,
    until: Instant,
}

/// The account of all kills that one witness has told of.
#[derive(Debug, Default)]
pub struct OomMatcher {
    from_log: Vec<FromLog>,
    from_counters: Vec<FromCounter>,
    groups: Groups,
    last_number: u64,
}

impl OomMatcher {
    /// One that gives numbers after `last_number`.
    pub fn after(last_number: u64) -> Self {
        Self {
            last_number,
            ..Self::default()
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The log told of a kill.
    pub fn logged(&mut self, logged: Logged, now: Instant) -> Option<Verdict> {
        let fits = |from: &FromCounter| match &logged.place {
            Place::In(name, Some(which)) if from.incarnation == *which => {
                from.name == *name
                    && logged.earliest <= from.read.saturating_add(COUNTED_BEFORE_LOGGED)
            }
            Place::In(name, _) => from.name == *name && logged.when <= from.read,
            Place::Within(name) => {
                from.name.is_within(name)
                    && logged.earliest <= from.read.saturating_add(COUNTED_BEFORE_LOGGED)
            }
            Place::Unknown => false,
        };
        if let Some(at) = self.from_counters.iter().position(fits) {
            let from = self.from_counters.remove(at);
            return Some(match from.told {
                Some(number) => Verdict::Confirmed(number, Some(logged)),
                None => Verdict::New(self.both(from.name, Some(from.incarnation), logged)),
            });
        }
        let (told, wait, verdict) = match &logged.place {
            Place::In(name, incarnation) => {
                let (name, incarnation) = (name.clone(), *incarnation);
                let kill = self.only_logged(name, incarnation, &logged);
                let wait = match incarnation {
                    Some(_) => WAIT_FOR_CONFIRMATION,
                    None => WAIT_FOR_UNKNOWN,
                };
                (Some(kill.number), wait, Some(Verdict::New(kill)))
            }
            Place::Within(_) | Place::Unknown => (None, WAIT, None),
        };
        make_room(&mut self.from_log);
        self.from_log.push(FromLog {
            logged,
            told,
            until: now + wait,
        });
        verdict
    }

    /// The log told of the chosen process of a group kill once more: the kernel has counted it twice.
    pub fn again(&mut self, logged: Logged, now: Instant) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let (Place::In(name, _) | Place::Within(name)) = &logged.place else {
            return verdicts;
        };
        match self.groups.again(name, now) {
            Ok(group) => verdicts.extend(group.map(|group| Verdict::group(group, 1))),
            Err(()) => return verdicts,
        }
        let counted = self.from_counters.iter().position(|from| {
            let same = matches!(&logged.place, Place::In(name, _) if from.name == *name);
            same && from.told.is_none()
        });
        if let Some(at) = counted {
            let from = self.from_counters.remove(at);
            verdicts.push(Verdict::twice((from.name, from.incarnation)));
            return verdicts;
        }
        make_room(&mut self.from_log);
        self.from_log.push(FromLog {
            logged,
            told: Some(NOBODY),
            until: now + WAIT_FOR_CONFIRMATION,
        });
        verdicts
    }

    /// The counters of a container were read and have grown. If the kernel log is not `followed`, there
    /// is nothing to wait for, unless the kernel tells of groups that went down: see [`Verdict::Beside`].
    pub fn counted(&mut self, counted: &Counted<'_>, followed: bool, now: Instant) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let Counted {
            name,
            incarnation,
            counters,
            while_down,
            read,
            started,
            ..
        } = *counted;
        let settled = self.groups.counted(counted, now);
        if settled > 0 {
            verdicts.push(Verdict::group((name.clone(), incarnation), settled));
        }
        let wait = followed || counters.groups.is_some();
        let number = usize::try_from(counters.kills).unwrap_or(MAX_AT_ONCE);
        for _ in 0..number.min(MAX_AT_ONCE) {
            let at = self.log_of(name, incarnation, read, now);
            if let Some(from) = at.map(|at| self.from_log.remove(at)) {
                verdicts.push(match from.told {
                    Some(NOBODY) => Verdict::twice((name.clone(), incarnation)),
                    Some(number) => Verdict::Confirmed(number, None),
                    None => Verdict::New(self.both(name.clone(), Some(incarnation), from.logged)),
                });
                continue;
            }
            let mut from = FromCounter {
                name: name.clone(),
                incarnation,
                read,
                started,
                told: None,
                while_down,
                until: now + WAIT,
            };
            if !wait {
                if let Some(number) = self.take_misplaced(&from) {
                    let twice = Verdict::twice((from.name, incarnation));
                    verdicts.extend([Verdict::Confirmed(number, None), twice]);
                    continue;
                }
                verdicts.push(Verdict::New(self.only_counted(&mut from, now)));
            }
            make_room(&mut self.from_counters);
            self.from_counters.push(from);
        }
        verdicts
    }

    /// The kill from the log that this counter means: the oldest of this very container, or of a group
    /// that it is in.
    fn log_of(
        &self,
        name: &ContainerName,
        incarnation: u64,
        read: Timestamp,
        now: Instant,
    ) -> Option<usize> {
        let open = || {
            let open = self.from_log.iter().enumerate();
            open.filter(move |(_, from)| {
                from.until > now
                    && from.logged.earliest <= read.saturating_add(COUNTED_BEFORE_LOGGED)
            })
        };
        let exact = open().find(|(_, from)| match &from.logged.place {
            Place::In(of, None) => of == name,
            Place::In(of, Some(which)) => of == name && *which == incarnation,
            _ => false,
        });
        let group = || {
            open().find(|(_, from)| match &from.logged.place {
                Place::Within(of) => name.is_within(of),
                _ => false,
            })
        };
        exact.or_else(group).map(|(at, _)| at)
    }

    /// What has waited long enough.
    pub fn overdue(&mut self, now: Instant) -> Vec<Verdict> {
        let mut verdicts = self.settle_unplaced(now);
        self.settle_groups(now, &mut verdicts);
        let due = |until: Instant| until <= now;
        let mut counters = std::mem::take(&mut self.from_counters);
        counters.retain_mut(|from| {
            if !due(from.until) {
                return true;
            }
            if from.told.is_some() {
                return false;
            }
            if let Some(number) = self.take_misplaced(from) {
                let of = (from.name.clone(), from.incarnation);
                verdicts.extend([Verdict::Confirmed(number, None), Verdict::twice(of)]);
                return false;
            }
            verdicts.push(Verdict::New(self.only_counted(from, now)));
            true
        });
        self.from_counters = counters;
        let mut log = std::mem::take(&mut self.from_log);
        log.retain_mut(|from| {
            if !due(from.until) {
                return true;
            }
            let (None, place) = (from.told, &from.logged.place) else {
                return false;
            };
            // Nobody counted it. A kernel before 4.13 cannot; else the container has gone.
            let name = match place {
                Place::In(name, _) | Place::Within(name) => name.clone(),
                Place::Unknown => ContainerName::root(),
            };
            let kill = self.only_logged(name, None, &from.logged);
            from.told = Some(kill.number);
            from.until = now + WAIT_FOR_CONFIRMATION;
            verdicts.push(Verdict::New(kill));
            !matches!(from.logged.place, Place::Unknown)
        });
        self.from_log = log;
        verdicts
    }

    /// The number of a kill that the log told of another container of the name, about when the later of the
    /// two was made, and that nobody has counted there: it was in this one. The log's clock is not ours,
    /// and the kernel knows no better than to a tick of its timer when a directory was made.
    fn take_misplaced(&mut self, counter: &FromCounter) -> Option<u64> {
        let at = self.from_log.iter().position(|from| {
            let at_the_change = match &from.logged.place {
                Place::In(name, Some(which)) if *name == counter.name => {
                    *which > counter.incarnation
                        || *which < counter.incarnation
                            && from.logged.when.saturating_add(CLOCKS_DIFFER) >= counter.started
                }
                _ => false,
            };
            at_the_change
                && from.told.is_some_and(|number| number != NOBODY)
                && from.logged.earliest <= counter.read.saturating_add(COUNTED_BEFORE_LOGGED)
        })?;
        self.from_log.remove(at).told
    }

    /// Drops what was counted twice of groups that went down, once it has waited long enough for the log
    /// to say so. What was counted somewhat later may be of the same group.
    fn settle_groups(&mut self, now: Instant, verdicts: &mut Vec<Verdict>) {
        let is_open = |from: &FromCounter| from.told.is_none() && from.until <= now + WAIT / 2;
        let is_due = |from: &FromCounter| from.told.is_none() && from.until <= now;
        if self.from_counters.iter().any(is_due) {
            let open = self.from_counters.iter().filter(|from| is_open(from));
            let open: Vec<Of> = open
                .map(|from| (from.name.clone(), from.incarnation))
                .collect();
            for (of, group) in self.groups.counted_twice(&open, now) {
                // The newest: the chosen process was counted among the others.
                let same = |from: &FromCounter| (&from.name, from.incarnation) == (&of.0, of.1);
                let last =
                    (self.from_counters.iter()).rposition(|from| is_open(from) && same(from));
                last.map(|at| self.from_counters.remove(at));
                verdicts.extend([Verdict::twice(of), Verdict::group(group, 1)]);
            }
        }
        let settled = self.groups.settled(now).into_iter();
        verdicts.extend(settled.map(|group| Verdict::group(group, 1)));
    }

    /// Brings together kills that the log did not place and kills that only counters told, once one of
    /// either has waited long enough. If all of the latter are of one container, the log's are; else
    /// who was where is not known, and all that is certain is that each was counted.
    fn settle_unplaced(&mut self, now: Instant) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let is_unplaced =
            |from: &FromLog| from.told.is_none() && from.logged.place == Place::Unknown;
        let is_open = |from: &FromCounter| from.told.is_none();
        let mut unplaced = self.from_log.iter().filter(|from| is_unplaced(from));
        let Some(oldest) = unplaced.next() else {
            return verdicts;
        };
        let mut counters = self.from_counters.iter().filter(|from| is_open(from));
        let Some(first) = counters.next() else {
            return verdicts;
        };
        if oldest.until > now && first.until > now {
            return verdicts;
        }
        let is_one =
            counters.all(|from| (&from.name, from.incarnation) == (&first.name, first.incarnation));
        let mut at = 0;
        while let Some(from) = self.from_log.get(at) {
            let when = from.logged.earliest;
            let fits = |of: &FromCounter| {
                is_open(of) && when <= of.read.saturating_add(COUNTED_BEFORE_LOGGED)
            };
            let counter = (self.from_counters.iter().position(fits)).filter(|_| is_unplaced(from));
            let Some(counter) = counter else {
                at += 1;
                continue;
            };
            let from = self.from_log.remove(at);
            let mut counted = self.from_counters.remove(counter);
            verdicts.push(Verdict::New(if is_one {
                self.both(counted.name, Some(counted.incarnation), from.logged)
            } else {
                self.only_counted(&mut counted, now)
            }));
        }
        verdicts
    }

    fn both(&mut self, victim: ContainerName, incarnation: Option<u64>, logged: Logged) -> Kill {
        Kill {
            counted: true,
            ..self.only_logged(victim, incarnation, &logged)
        }
    }

    fn only_logged(
        &mut self,
        victim: ContainerName,
        incarnation: Option<u64>,
        logged: &Logged,
    ) -> Kill {
        Kill {
            number: self.number(),
            when: logged.when,
            victim,
            incarnation,
            told: Some((logged.limit_of.clone(), Arc::clone(&logged.kill))),
            counted: false,
            while_down: false,
        }
    }

    /// A kill that only a counter told; from now on the log may confirm it.
    fn only_counted(&mut self, from: &mut FromCounter, now: Instant) -> Kill {
        let number = self.number();
        from.told = Some(number);
        from.until = now + WAIT_FOR_CONFIRMATION;
        Kill {
            number,
            when: from.read,
            victim: from.name.clone(),
            incarnation: Some(from.incarnation),
            told: None,
            counted: true,
            while_down: from.while_down,
        }
    }
}

pub(super) fn make_room<T>(held: &mut Vec<T>) {
    if held.len() >= MAX_HELD {
        // The oldest, and some more, so that this is not done each time.
        held.drain(..MAX_HELD / 10);
    }
}

#[cfg(test)]
#[path = "oom_tests.rs"]
mod tests;
