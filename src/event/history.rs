//! Pure: events by type, bounded by number and age.

use std::collections::VecDeque;
use std::time::Duration;

use super::log::PackedLog;
use super::{Event, EventRequest, EventType};
use crate::units::Timestamp;

/// How many events of one type are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeLimit {
    /// Not longer than this after they were noticed; for ever if `None`.
    pub age: Option<Duration>,
    /// Not more than this; without bound if `None`, none at all if 0.
    pub number: Option<usize>,
}

impl Default for TypeLimit {
    fn default() -> Self {
        Self {
            age: Some(Duration::from_secs(24 * 60 * 60)),
            number: Some(100_000),
        }
    }
}

/// The limits of each type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventLimits([TypeLimit; EventType::ALL.len()]);

impl EventLimits {
    /// The limit of one type.
    pub fn of(&self, kind: EventType) -> TypeLimit {
        self.0[kind.index()]
    }

    /// The limit of one type, to be set.
    pub fn of_mut(&mut self, kind: EventType) -> &mut TypeLimit {
        &mut self.0[kind.index()]
    }
}

/// Past events.
#[derive(Debug, Default)]
pub struct History {
    limits: EventLimits,
    by_type: [Events; EventType::ALL.len()],
}

/// The events of one type, oldest first.
#[derive(Debug, Default)]
struct Events {
    /// Creations and deletions.
    packed: PackedLog,
    /// Others: few, and with more to tell.
    plain: VecDeque<Event>,
}

impl History {
    /// An empty history.
    pub fn new(limits: EventLimits) -> Self {
        Self {
            limits,
            by_type: Default::default(),
        }
    }

    /// Adds an event and drops what is beyond the limits of its type.
    pub fn push(&mut self, event: Event) {
        let kind = event.kind.event_type();
        let limit = self.limits.of(kind);
        let events = &mut self.by_type[kind.index()];
        let oldest = limit.age.map(|age| event.noticed.saturating_sub(age));
        if let Err(event) = events.packed.push(event) {
            events.plain.push_back(event);
        }
        while events
            .first_noticed()
            .is_some_and(|first| Some(first) <= oldest)
            || limit.number.is_some_and(|number| events.len() > number)
        {
            events.pop_front();
        }
    }

    /// The events that `request` wants, by time; among equals in the order of publication.
    pub fn past(&self, request: &EventRequest) -> Vec<Event> {
        let mut found: Vec<Event> = Vec::new();
        for kind in &request.types {
            let events = &self.by_type[kind.index()];
            let wanted = |name: &[u8], time| request.wants_of(name, time);
            let packed = events
                .packed
                .iter()
                .filter(|event| wanted(event.name, event.timestamp));
            found.extend(packed.map(|event| event.unpack()));
            let plain = events.plain.iter().filter(|event| request.wants(event));
            found.extend(plain.cloned());
        }
        found.sort_by_key(|event| (event.timestamp, event.id));
        // A type that is named twice.
        found.dedup_by_key(|event| event.id);
        let skip = found
            .len()
            .saturating_sub(request.max.unwrap_or(usize::MAX));
        found.drain(..skip);
        found
    }

    /// How many events of a type are kept.
    pub fn count(&self, kind: EventType) -> usize {
        self.by_type[kind.index()].len()
    }
}

impl Events {
    fn len(&self) -> usize {
        self.packed.len() + self.plain.len()
    }

    fn first_noticed(&self) -> Option<Timestamp> {
        let packed = self.packed.first().map(|event| event.noticed);
        packed.or(self.plain.front().map(|event| event.noticed))
    }

    fn pop_front(&mut self) {
        if self.packed.len() > 0 {
            self.packed.pop_front();
        } else {
            self.plain.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::ContainerName;
    use crate::event::EventKind;

    fn event(id: u64, second: i64, container: &str, kind: EventKind) -> Event {
        let time = Timestamp(second * 1_000_000_000);
        Event {
            id,
            timestamp: time,
            noticed: time,
            container: ContainerName::from_request(container),
            kind,
        }
    }

    fn ids(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.id).collect()
    }

    fn history() -> History {
        let mut history = History::default();
        history.push(event(1, 10, "/a", EventKind::ContainerCreation));
        history.push(event(2, 20, "/a/b", EventKind::ContainerCreation));
        history.push(event(3, 30, "/ab", EventKind::Oom));
        history.push(event(
            4,
            40,
            "/a",
            EventKind::ContainerDeletion { exit_code: None },
        ));
        history
    }

    #[test]
    fn filters_apply_together() {
        let history = history();
        let all = EventRequest::everything();
        let ids = |request: EventRequest| ids(&history.past(&request));
        assert_eq!(ids(all.clone()), [1, 2, 3, 4]);
        assert_eq!(
            ids(EventRequest {
                max: Some(2),
                ..all.clone()
            }),
            [3, 4]
        );
        let of_a = EventRequest {
            container: ContainerName::from_request("/a"),
            ..all.clone()
        };
        assert_eq!(ids(of_a.clone()), [1, 2, 4]);
        assert_eq!(
            ids(EventRequest {
                subcontainers: false,
                ..of_a
            }),
            [1, 4]
        );
        let start = Some(Timestamp(20_000_000_000));
        let end = Some(Timestamp(30_000_000_000));
        assert_eq!(
            ids(EventRequest {
                start,
                end,
                ..all.clone()
            }),
            [2, 3]
        );
        assert_eq!(
            ids(EventRequest {
                types: vec![],
                ..all.clone()
            }),
            [0; 0]
        );
        assert_eq!(
            ids(EventRequest {
                types: vec![EventType::Oom],
                ..all
            }),
            [3]
        );
    }

    #[test]
    fn each_type_has_its_own_limits() {
        let mut limits = EventLimits::default();
        *limits.of_mut(EventType::Oom) = TypeLimit {
            age: Some(Duration::from_secs(5)),
            number: Some(3),
        };
        limits.of_mut(EventType::OomKill).number = Some(0);
        let mut history = History::new(limits);
        for id in 1..=10 {
            history.push(event(id, 1, "/a", EventKind::Oom));
            history.push(event(id, 1, "/a", EventKind::ContainerCreation));
            history.push(event(id, 1, "/a", EventKind::OomKill(Default::default())));
        }
        assert_eq!(history.count(EventType::Oom), 3);
        assert_eq!(history.count(EventType::ContainerCreation), 10);
        assert_eq!(history.count(EventType::OomKill), 0);
        history.push(event(11, 7, "/a", EventKind::Oom));
        assert_eq!(
            history.count(EventType::Oom),
            1,
            "the others are older than five seconds"
        );
    }

    #[test]
    fn events_are_given_by_the_time_they_happened() {
        let mut history = history();
        history.push(event(5, 15, "/late", EventKind::Oom));
        assert_eq!(
            ids(&history.past(&EventRequest::everything())),
            [1, 5, 2, 3, 4]
        );
    }
}
