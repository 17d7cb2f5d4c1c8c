//! REMEMBER: what happened to containers, for those who ask later and those who listen.
//!
//! In: events, from the manager; those of earlier lives, from the journal. Out: past events by
//! filter ([`History`]) and a stream of those behind a [`Position`] and to come ([`Subscription`]), for
//! `query`. A reader that is too slow for the history loses events and is told how many; it never
//! delays the writer.
//!
//! With a journal, an event is shown to nobody before its record is settled: see
//! [`journal`](crate::journal).

pub mod kill;
pub mod stored;
pub mod position;
mod log;
pub mod history;
pub mod restore;
mod subscription;
pub mod bus;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use bus::EventBus;
pub use history::{EventLimits, Excerpt, History, Page, TypeLimit};
pub use kill::{Constraint, OomKill};
pub use position::{NoPosition, Position};
pub use restore::Past;
pub use subscription::{Missed, Subscription};

use crate::cgroup::ContainerName;
use crate::units::Timestamp;

/// The kinds of events, under the names that clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// A container was noticed.
    ContainerCreation,
    /// A container has gone.
    ContainerDeletion,
    /// A memory cgroup (or the node) ran out of memory.
    Oom,
    /// A process was killed for it.
    OomKill,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ContainerCreation,
        Self::ContainerDeletion,
        Self::Oom,
        Self::OomKill,
    ];

    /// The name on the wire and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContainerCreation => "containerCreation",
            Self::ContainerDeletion => "containerDeletion",
            Self::Oom => "oom",
            Self::OomKill => "oomKill",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::ContainerCreation => 0,
            Self::ContainerDeletion => 1,
            Self::Oom => 2,
            Self::OomKill => 3,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A container was noticed. The event's time is when its cgroup was made, as far as is known.
    ContainerCreation,
    /// A container has gone.
    ContainerDeletion {
        /// Exit code of its first process, if a runtime told.
        exit_code: Option<i32>,
        /// It went while the monitor did not run. The event's time is when that was found: it went then at
        /// the latest.
        while_down: bool,
    },
    /// The event's container ran out of memory: it is the one whose limit was hit (the kernel's
    /// `oom_memcg`), or `/` if the node did.
    Oom,
    /// A process of the event's container (the kernel's `task_memcg`) was killed.
    OomKill(Arc<OomKill>),
}

impl EventKind {
    /// Its type.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::ContainerCreation => EventType::ContainerCreation,
            Self::ContainerDeletion { .. } => EventType::ContainerDeletion,
            Self::Oom => EventType::Oom,
            Self::OomKill(_) => EventType::OomKill,
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Number in the order of publication, from 1, without holes; with a journal it goes on over
    /// restarts, and leaps by [`restore::LEAP`] where a life did not end in order.
    pub id: u64,
    /// When it happened.
    pub timestamp: Timestamp,
    /// When cgauge noticed: what ages in the history.
    pub noticed: Timestamp,
    /// To which container.
    pub container: ContainerName,
    /// What.
    pub kind: EventKind,
}

/// Which events are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRequest {
    /// Of these types. None means no event at all.
    pub types: Vec<EventType>,
    /// Of this container.
    pub container: ContainerName,
    /// And of everything below it.
    pub subcontainers: bool,
    /// Not before this time.
    pub start: Option<Timestamp>,
    /// Not after this time.
    pub end: Option<Timestamp>,
    /// At most so many, the newest; all if `None`. Of no meaning for a subscription.
    pub max: Option<usize>,
}

impl EventRequest {
    /// All events of all containers.
    pub fn everything() -> Self {
        Self {
            types: EventType::ALL.to_vec(),
            container: ContainerName::root(),
            subcontainers: true,
            start: None,
            end: None,
            max: None,
        }
    }

    /// Whether `event` is wanted, but for the limit of their number.
    pub fn wants(&self, event: &Event) -> bool {
        self.types.contains(&event.kind.event_type())
            && self.wants_of(event.container.as_bytes(), event.timestamp)
    }

    /// Whether an event of this container at this time is wanted, if its type is.
    fn wants_of(&self, name: &[u8], timestamp: Timestamp) -> bool {
        let container = if self.subcontainers {
            self.container.holds(name)
        } else {
            self.container.as_bytes() == name
        };
        container
            && self.start.is_none_or(|start| timestamp >= start)
            && self.end.is_none_or(|end| timestamp <= end)
    }
}
