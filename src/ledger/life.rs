//! The life of one container.

use std::sync::Arc;

use super::figures::{Figures, Finality};
use super::kill::OomRecord;
use super::stored::OF_EARLIER_RUN;
use crate::cgroup::{ContainerName, OomCounters};
use crate::units::Timestamp;

/// Which container: a name may have been that of many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Which {
    /// Its name.
    pub name: ContainerName,
    /// Which of that name, within one run of the monitor.
    pub incarnation: u64,
}

/// What a runtime calls a container. What it does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name under which the totals of all its lives are kept: that of the service, or
    /// `namespace/pod/container`. The cgroup's path if there is none.
    pub workload: Option<String>,
    /// The container's name.
    pub name: Option<String>,
    /// The container's id.
    pub id: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// Its pod.
    pub pod: Option<String>,
    /// The pod's namespace.
    pub namespace: Option<String>,
}

impl Identity {
    /// The names by which a person may mean it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.name, &self.workload, &self.pod, &self.id]
            .into_iter()
            .filter_map(|name| name.as_deref())
    }
}

/// How the first process of a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// The code that it gave; 128 and the signal, as shells say it, if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// What the runtime calls it: `OOMKilled`, `Error`, `Completed`.
    pub reason: Option<String>,
}

impl Exit {
    /// This, told after `known`: of the two, one that has a reason is a runtime's word. The signal is
    /// what processes alone tell.
    pub(super) fn joined(self, known: &Self) -> Self {
        let (word, other) = match (&self.reason, &known.reason) {
            (None, Some(_)) => (known, &self),
            _ => (&self, known),
        };
        let code = word.code.or(other.code);
        let fits = |signal: &u8| code == Some(EXIT_BY_SIGNAL + i32::from(*signal));
        Self {
            code,
            signal: word.signal.or(other.signal.filter(fits)),
            reason: word.reason.clone(),
        }
    }
}

/// A process that was ended by a signal exits with this and the signal, as shells say it.
pub const EXIT_BY_SIGNAL: i32 = 128;

/// What is known of one container from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Number in the ledger, in the order of beginning; never used again, also not by a later run
    /// that reads the ledger back.
    pub number: u64,
    /// Which container.
    pub which: Which,
    /// What a runtime calls it, once one has told.
    pub identity: Option<Arc<Identity>>,
    /// When its cgroup was made, as far as is known.
    pub started: Timestamp,
    /// Whether it was there before the monitor.
    pub preexisting: bool,
    /// When its end was noticed; `None` while it lives.
    pub ended: Option<Timestamp>,
    /// Whether it ended while the monitor did not run: `ended` is then when that was found.
    pub end_unseen: bool,
    /// How its first process ended.
    pub exit: Option<Exit>,
    /// What it had used; empty while it lives.
    pub figures: Figures,
    /// How final that is.
    pub finality: Finality,
    /// Its OOM kills.
    pub oom_kills: u64,
    /// The newest of them; no more than [`MAX_KILLS_TOLD`](Self::MAX_KILLS_TOLD).
    pub kills: Vec<(u64, OomRecord)>,
    /// Its directories: hierarchy and inode. By them a later run knows it again.
    pub directories: Vec<(u8, u64)>,
    /// What the kernel's counters of OOM kills in it are, as far as that is in the kills here.
    pub oom_counter: Option<OomCounters>,
}

impl Life {
    /// Kills of one life that are told one by one; all are counted.
    pub const MAX_KILLS_TOLD: usize = 64;

    pub(super) fn new(number: u64, which: Which, started: Timestamp, preexisting: bool) -> Self {
        Self {
            number,
            which,
            identity: None,
            started,
            preexisting,
            ended: None,
            end_unseen: false,
            exit: None,
            figures: Figures::default(),
            finality: Finality::default(),
            oom_kills: 0,
            kills: Vec::new(),
            directories: Vec::new(),
            oom_counter: None,
        }
    }

    /// Which of its name it is; `None` of an earlier run, and of one that was never seen.
    pub fn incarnation(&self) -> Option<u64> {
        Some(self.which.incarnation).filter(|&of| of != 0 && of < OF_EARLIER_RUN)
    }

    /// The name under which its totals are kept.
    pub fn workload(&self) -> Arc<str> {
        match self.identity.as_ref().and_then(|of| of.workload.as_deref()) {
            Some(workload) => workload.into(),
            None => self.which.name.to_string().into(),
        }
    }

    pub(super) fn add_kill(&mut self, number: u64, record: OomRecord) {
        self.oom_kills += 1;
        if self.kills.len() >= Self::MAX_KILLS_TOLD {
            self.kills.remove(0);
        }
        self.kills.push((number, record));
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let kills: usize = self.kills.iter().map(|(_, kill)| kill.bytes()).sum();
        let identity = self.identity.as_ref().map_or(0, |of| {
            size_of::<Identity>() + of.names().map(str::len).sum::<usize>()
        });
        size_of::<Self>() + self.which.name.as_bytes().len() + identity + kills
    }
}

/// Which lives are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRequest {
    /// Of this container and of everything below it.
    pub within: ContainerName,
    /// And of containers that are called so: by a runtime (name, id or its beginning, pod, workload), or
    /// whose path begins so, or its last element, be it behind a prefix such as `docker-`.
    pub called: Option<String>,
    /// That had not ended before this time.
    pub since: Option<Timestamp>,
    /// Only those with an OOM kill.
    pub only_oom: bool,
    /// Whether those that have not ended are wanted, too.
    pub living: bool,
    /// At most so many, the newest.
    pub max: Option<usize>,
}

impl Default for LedgerRequest {
    fn default() -> Self {
        Self {
            within: ContainerName::root(),
            called: None,
            since: None,
            only_oom: false,
            living: true,
            max: None,
        }
    }
}

impl LedgerRequest {
    /// Whether `life` is wanted, but for the limit of their number.
    pub fn wants(&self, life: &Life) -> bool {
        life.which.name.is_within(&self.within)
            && (self.called.as_deref()).is_none_or(|called| is_called(life, called))
            && (self.living || life.ended.is_some())
            && (!self.only_oom || life.oom_kills > 0)
            && self
                .since
                .is_none_or(|since| life.ended.is_none_or(|ended| ended >= since))
    }
}

fn is_called(life: &Life, called: &str) -> bool {
    let path = life.which.name.to_string();
    if called.starts_with('/') {
        return path.starts_with(called);
    }
    let identity = life.identity.as_deref();
    let by_runtime = identity.is_some_and(|identity| {
        let id = identity.id.as_deref().unwrap_or_default();
        identity.names().any(|name| name == called) || id.starts_with(called)
    });
    let last = path.rsplit('/').next().unwrap_or_default();
    let bare = last.split_once('-').map_or(last, |(_, rest)| rest);
    by_runtime || last.starts_with(called) || bare.starts_with(called)
}
