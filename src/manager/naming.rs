//! Tells the ledger what runtimes call containers, and how they say that they ended: whenever they
//! tell, also when the container has gone by then.
//!
//! Pure but for what it is handed. Looks only when a runtime has told something, or a container has come
//! or gone, since the last look.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::cgroup::{CgroupPath, ContainerName};
use crate::ledger::{Exit, Identity, Ledger, Life, Which};
use crate::runtime::{self, End, Names, Runtime};
use crate::units::Timestamp;

/// How long after its end a container may still be named: its runtime may be down meanwhile.
const NAMED_WITHIN: Duration = Duration::from_secs(600);

/// Containers that have ended and wait for that; past it, those go that ended first.
const MAX_OVER: usize = 4_096;

/// How long an end that a runtime told waits for the container's cgroup to go, and how many may.
const END_WITHIN: Duration = Duration::from_secs(60);
const MAX_ENDS: usize = 4_096;

/// By how much a process may have ended before its cgroup is known to have begun, by our clock: far less
/// than runtimes take to start a container again.
const BEGUN_LATE: Duration = Duration::from_millis(50);

/// How long after a cgroup its runtime may say that the container ended.
const SAME_END: Duration = Duration::from_secs(10);

/// The containers that may be named, and what was told of them.
#[derive(Debug, Default)]
pub(super) struct Namer {
    lives: HashMap<Which, Told>,
    /// Those that have ended, in that order.
    over: VecDeque<(Timestamp, Which)>,
    /// Ends that runtimes told, of containers that are not known to have ended.
    ends: VecDeque<(Timestamp, End)>,
    /// The names at the last look.
    seen: Option<u64>,
    /// Whether a container has come or gone since.
    is_new: bool,
}

/// What was told of a container.
#[derive(Debug)]
struct Told {
    started: Timestamp,
    ended: Option<Timestamp>,
    /// Whether it ended while the monitor did not run.
    end_unseen: bool,
    identity: Option<Arc<Identity>>,
    exit: Option<(Runtime, Exit)>,
}

impl Told {
    fn new(started: Timestamp) -> Self {
        Self {
            started,
            ended: None,
            end_unseen: false,
            identity: None,
            exit: None,
        }
    }

    /// Whether a container that finished then is this one.
    fn finished(&self, finished: Timestamp) -> bool {
        let Some(ended) = self.ended else {
            return false;
        };
        let slack = match self.end_unseen {
            true => Duration::ZERO,
            false => SAME_END,
        };
        self.started.since(finished) <= BEGUN_LATE && finished.since(ended) <= slack
    }
}

impl Namer {
    /// A container is there.
    pub(super) fn begin(&mut self, which: Which, started: Timestamp) {
        if !which.name.is_root() {
            self.lives.insert(which, Told::new(started));
            self.is_new = true;
        }
    }

    /// It has gone.
    pub(super) fn end(&mut self, which: &Which, ended: Timestamp) {
        let Some(told) = self.lives.get_mut(which) else {
            return;
        };
        told.ended = Some(ended);
        self.over.push_back((ended, which.clone()));
        self.is_new = true;
        self.forget(ended);
    }

    /// One that was there in an earlier run, and was gone by now.
    pub(super) fn ended_unseen(&mut self, life: &Life) {
        let Some(ended) = life.ended else { return };
        let told = Told {
            ended: Some(ended),
            end_unseen: true,
            ..Told::new(life.started)
        };
        self.lives.insert(life.which.clone(), told);
        self.over.push_back((ended, life.which.clone()));
        self.is_new = true;
        self.forget(ended);
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((ended, which)) = self.over.front() {
            if self.over.len() <= MAX_OVER && now.since(*ended) <= NAMED_WITHIN {
                break;
            }
            self.lives.remove(which);
            self.over.pop_front();
        }
        while let Some((told, _)) = self.ends.front() {
            if self.ends.len() <= MAX_ENDS && now.since(*told) <= END_WITHIN {
                break;
            }
            self.ends.pop_front();
        }
    }

    /// Tells the ledger what is new. To be called a few times a second.
    pub(super) fn tick(&mut self, names: &Names, ledger: &Ledger, now: Timestamp) {
        let ends = names.take_ends().into_iter().map(|end| (now, end));
        self.ends.extend(ends);
        self.forget(now);
        // Before looking: what changes meanwhile is seen the next time.
        let generation = names.generation();
        let is_new = std::mem::take(&mut self.is_new);
        if self.seen.replace(generation) == Some(generation) && !is_new {
            return;
        }
        if self.lives.is_empty() || names.is_empty() {
            return;
        }
        let found = self.find(names);
        for (which, end) in self.ends_of(&found) {
            self.tell_end(&which, &end, ledger);
        }
        let mut names_of = HashMap::new();
        for one in &found {
            names_of.extend(one.lives.iter().map(|which| (which, &one.identity)));
        }
        for (which, identity) in names_of {
            self.tell_name(which, identity, ledger);
        }
    }

    /// Which containers are whose. Of cgroups that bear an id, the highest is its container's.
    fn find(&self, names: &Names) -> Vec<Found> {
        let mut by_name: HashMap<&ContainerName, Vec<&Which>> = HashMap::new();
        let mut by_id: HashMap<&str, (usize, &ContainerName)> = HashMap::new();
        for which in self.lives.keys() {
            by_name.entry(&which.name).or_default().push(which);
            if let Some(id) = CgroupPath::of(&which.name).own_container() {
                let depth = which.name.as_bytes().iter().filter(|&&byte| byte == b'/');
                let own = (depth.count(), &which.name);
                let best = by_id.entry(id).or_insert(own);
                *best = (*best).min(own);
            }
        }
        let mut found = Vec::new();
        names.for_each(|known| {
            let identity = known.identity;
            let by_id = by_id.get(&*identity.id).map(|(_, name)| (*name).clone());
            let cgroup = by_id.or_else(|| identity.own_cgroup());
            let Some(cgroup) = cgroup.filter(|name| known.may_name(name)) else {
                return;
            };
            if let Some(lives) = by_name.get(&cgroup) {
                found.push(Found {
                    identity: Arc::clone(identity),
                    is_gone: known.is_gone,
                    of_user: known.of_user,
                    lives: lives.iter().map(|&which| which.clone()).collect(),
                });
            }
        });
        // A path may have been that of several: the one that is there has the last word.
        found.sort_by(|a, b| {
            let there = b.is_gone.cmp(&a.is_gone);
            there.then_with(|| a.identity.id.cmp(&b.identity.id))
        });
        found
    }

    /// Which containers ended how: as was told at the time, and as is known still.
    fn ends_of(&mut self, found: &[Found]) -> Vec<(Which, End)> {
        let by_id: BTreeMap<&str, &Found> =
            found.iter().map(|one| (&*one.identity.id, one)).collect();
        let whose = |end: &End| {
            let one = by_id.get(&*end.id)?;
            // What a user says of what others know, too, is not to be believed.
            if end.of_user && !one.of_user {
                return None;
            }
            let lives = one.lives.iter();
            let at = lives.filter_map(|which| Some((self.lives.get(which)?, which)));
            at.filter(|(told, _)| told.finished(end.finished))
                .max_by_key(|(told, _)| told.started)
                .map(|(_, which)| which.clone())
        };
        let mut ends = Vec::new();
        self.ends.retain(|(_, end)| match whose(end) {
            Some(which) => {
                ends.push((which, end.clone()));
                false
            }
            None => true,
        });
        for one in found {
            let state = End::of(&one.identity, one.of_user);
            ends.extend(state.and_then(|end| Some((whose(&end)?, end))));
        }
        ends
    }

    fn tell_end(&mut self, which: &Which, end: &End, ledger: &Ledger) {
        let Some(told) = self.lives.get_mut(which) else {
            return;
        };
        let exit = Exit {
            code: end.code,
            signal: None,
            reason: end.reason.clone(),
        };
        let known = told.exit.as_ref();
        if known.is_some_and(|(by, known)| *by < end.runtime || *known == exit) {
            return;
        }
        told.exit = Some((end.runtime, exit.clone()));
        ledger.exited(which, exit);
    }

    fn tell_name(&mut self, which: &Which, identity: &runtime::Identity, ledger: &Ledger) {
        let Some(told) = self.lives.get_mut(which) else {
            return;
        };
        let identity = Identity::of(identity);
        let known = told.identity.as_deref();
        let is_other = known.is_some_and(|known| known.id != identity.id);
        // Of one that has gone, what was known in its time.
        if known == Some(&identity) || (is_other && told.ended.is_some()) {
            return;
        }
        let identity = Arc::new(identity);
        told.identity = Some(Arc::clone(&identity));
        ledger.identify(which, identity);
    }
}

/// A container of a runtime, and the lives of its cgroup.
#[derive(Debug)]
struct Found {
    identity: Arc<runtime::Identity>,
    is_gone: bool,
    of_user: bool,
    lives: Vec<Which>,
}

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;
