//! One OOM kill, as far as it is known.

use std::sync::Arc;

use super::life::Which;
use crate::cgroup::ContainerName;
use crate::event::{Constraint, OomKill};
use crate::units::Timestamp;

/// Who told of a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillSource {
    /// The kernel's log: who, and why.
    Log,
    /// The kernel's counter of the container: that somebody was.
    Counter,
    /// Both, and they are one.
    Both,
}

impl KillSource {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Counter => "counter",
            Self::Both => "both",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Log, Self::Counter, Self::Both]
            .into_iter()
            .find(|of| of.as_str() == name)
    }
}

/// One process ended by the OOM killer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OomRecord {
    /// When: by the log's clock, else when the counter was read.
    pub when: Timestamp,
    /// The container of the process.
    pub victim: ContainerName,
    /// Which of that name; `None` if none was known at the time.
    pub incarnation: Option<u64>,
    /// The container whose limit was hit (`/` if the node's memory was); `None` if only a counter
    /// told.
    pub limit_of: Option<ContainerName>,
    /// Who told.
    pub source: KillSource,
    /// It happened while nobody looked: between two runs of the monitor.
    pub while_down: bool,
    /// The log's account.
    pub told: Option<Arc<OomKill>>,
}

impl OomRecord {
    /// Why there was not enough memory; `None` if it is not known.
    pub fn constraint(&self) -> Option<Constraint> {
        self.told.as_ref()?.constraint
    }

    /// Whether the victim went down with others because of `memory.oom.group`.
    pub fn group(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.group)
    }

    /// The container that it is counted in, if it is known which.
    pub fn which(&self) -> Option<Which> {
        Some(Which {
            name: self.victim.clone(),
            incarnation: self.incarnation?,
        })
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let told = self.told.as_ref().map_or(0, |told| {
            size_of::<OomKill>()
                + text(&told.process_name)
                + text(&told.oom_memcg)
                + text(&told.task_memcg)
                + text(&told.invoked_by)
        });
        size_of::<Self>() + told
    }
}
