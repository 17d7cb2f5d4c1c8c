//! Pure: events by type, bounded by number and age.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use super::log::{PackedLog, Part};
use super::{Event, EventRequest, EventType};
use crate::pack::Opener;
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

/// Events that are looked at for a page, of each type: whoever publishes waits meanwhile.
const PAGE_LOOKED_AT: usize = 1_024;

/// Stretches of numbers that are told apart; of more, the oldest are taken for one.
const MAX_STRETCHES: usize = 64;

/// Past events.
#[derive(Debug, Default)]
pub struct History {
    limits: EventLimits,
    by_type: [Events; EventType::ALL.len()],
    /// Numbers of events that were lost on disk, of whatever type.
    lost: Stretches,
    /// Numbers that were not given, or that were shown and never written: nobody knows.
    skipped: Stretches,
}

/// Numbers from the first to the second, in order.
#[derive(Debug, Default)]
struct Stretches(VecDeque<(u64, u64)>);

/// A part of the history, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events, by number.
    pub events: Vec<Event>,
    /// All up to this number have been looked at.
    pub reached: u64,
}

/// A part of the history that holds no lock: see [`History::excerpt`].
#[derive(Debug)]
pub struct Excerpt {
    request: EventRequest,
    /// Of each type the newest first.
    parts: Vec<Part>,
    plain: Vec<Event>,
}

/// The events of one type, oldest first.
#[derive(Debug, Default)]
struct Events {
    /// The highest number that was dropped.
    dropped: u64,
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
            ..Self::default()
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

    /// The events that `request` wants with a number above `after` and not above `until`, by number:
    /// not more than `most`, and looking at not much more than `PAGE_LOOKED_AT`.
    pub fn page(&self, request: &EventRequest, after: u64, until: u64, most: usize) -> Page {
        let mut events = Vec::new();
        let mut reached = until;
        for kind in &request.types {
            let held = &self.by_type[kind.index()];
            let (mut looked_at, mut found) = (0, 0);
            let mut look = |id: u64, event: Option<Event>| {
                found += usize::from(event.is_some());
                events.extend(event);
                looked_at += 1;
                if looked_at >= PAGE_LOOKED_AT || found >= most {
                    reached = reached.min(id);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            };
            held.packed.after(after, |event| {
                if event.id > until {
                    return ControlFlow::Break(());
                }
                let wanted = request.wants_of(event.name, event.timestamp);
                look(event.id, wanted.then(|| event.unpack()))
            });
            let first = held.plain.partition_point(|event| event.id <= after);
            let plain = held.plain.range(first..);
            for event in plain.take_while(|event| event.id <= until) {
                let wanted = request.wants(event).then(|| event.clone());
                if look(event.id, wanted).is_break() {
                    break;
                }
            }
        }
        events.retain(|event| event.id <= reached);
        events.sort_by_key(|event| event.id);
        // A type that is named twice.
        events.dedup_by_key(|event| event.id);
        if let Some(first_beyond) = events.get(most) {
            reached = first_beyond.id - 1;
            events.truncate(most);
        }
        Page { events, reached }
    }

    /// How many events of these types, at most, had a number above `after` and not above `until` and
    /// were dropped for their number or age, and the highest such number.
    pub fn dropped(&self, types: &[EventType], after: u64, until: u64) -> Option<(u64, u64)> {
        let dropped = types.iter().map(|kind| self.by_type[kind.index()].dropped);
        let last = dropped.max().unwrap_or(0).min(until);
        let skipped = self.skipped.within(after.saturating_add(1), last);
        let number = last.saturating_sub(after).saturating_sub(skipped);
        (number > 0).then_some((number, last))
    }

    /// The same for events that were lost on disk; of what type they were is not known.
    pub fn lost(&self, types: &[EventType], after: u64, until: u64) -> Option<(u64, u64)> {
        let number = self.lost.within(after.saturating_add(1), until);
        (number > 0 && !types.is_empty()).then(|| (number, self.lost.last_within(until)))
    }

    /// Whether a reader that has seen `id` may have seen events of which nothing is known here.
    pub fn is_beyond_what_is_known(&self, id: u64) -> bool {
        self.skipped
            .0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// Notes that events up to this number have been dropped.
    pub(super) fn forget_until(&mut self, id: u64) {
        for events in &mut self.by_type {
            events.dropped = events.dropped.max(id);
        }
    }

    /// Notes that the events with these numbers were lost.
    pub(super) fn lose(&mut self, first: u64, last: u64) {
        self.lost.add(first, last);
    }

    /// Notes that there are no events with these numbers, as far as is known.
    pub(super) fn skip(&mut self, first: u64, last: u64) {
        self.skipped.add(first, last);
    }

    /// The events that `request` wants, by time; among equals in the order of publication.
    pub fn past(&self, request: &EventRequest) -> Vec<Event> {
        self.excerpt(request).events()
    }

    /// What [`past`](Self::past) gives, to be taken out of its packing without the history: whoever
    /// publishes need not wait for that.
    pub fn excerpt(&self, request: &EventRequest) -> Excerpt {
        let mut types = request.types.clone();
        types.sort_unstable();
        // A type that is named twice.
        types.dedup();
        let held = types.iter().map(|kind| &self.by_type[kind.index()]);
        let parts = held.clone().flat_map(|events| events.packed.parts());
        let plain = held.flat_map(|events| events.plain.iter());
        Excerpt {
            request: request.clone(),
            parts: parts
                .filter(|part| part.is_within(request.start, request.end))
                .collect(),
            plain: plain
                .filter(|event| request.wants(event))
                .cloned()
                .collect(),
        }
    }

    /// How many events of a type are kept.
    pub fn count(&self, kind: EventType) -> usize {
        self.by_type[kind.index()].len()
    }
}

impl Excerpt {
    /// The events, by time; among equals in the order of publication.
    pub fn events(self) -> Vec<Event> {
        let (request, mut found) = (self.request, self.plain);
        let most = request.max.unwrap_or(usize::MAX);
        let mut opener = Opener::default();
        newest(&mut found, most);
        for part in self.parts {
            // By then `found` is in order.
            let full_from = match found.first() {
                Some(first) if found.len() >= most => Some(first.timestamp),
                _ => None,
            };
            if most == 0 || !part.is_within(full_from, None) {
                continue;
            }
            part.each(&mut opener, |event| {
                if request.wants_of(event.name, event.timestamp) {
                    found.push(event.unpack());
                }
            });
            if found.len() > most {
                newest(&mut found, most);
            }
        }
        newest(&mut found, most);
        found
    }
}

/// Leaves the newest, in order.
fn newest(found: &mut Vec<Event>, most: usize) {
    found.sort_by_key(|event| (event.timestamp, event.id));
    let skip = found.len().saturating_sub(most);
    found.drain(..skip);
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
        if let Some(first) = self.packed.first() {
            self.dropped = first.id;
            self.packed.pop_front();
        } else if let Some(first) = self.plain.pop_front() {
            self.dropped = first.id;
        }
    }
}

impl Stretches {
    fn add(&mut self, first: u64, last: u64) {
        if self.0.len() >= MAX_STRETCHES
            && let (Some((oldest, _)), Some((_, end))) = (self.0.pop_front(), self.0.pop_front())
        {
            self.0.push_front((oldest, end));
        }
        self.0.push_back((first, last));
    }

    /// How many of the numbers from `first` to `last` are in them.
    fn within(&self, first: u64, last: u64) -> u64 {
        let both = |(from, to): &(u64, u64)| {
            (*to)
                .min(last)
                .saturating_add(1)
                .saturating_sub((*from).max(first))
        };
        self.0.iter().map(both).sum()
    }

    /// The highest number that is in them and not above `until`; 0 if there is none.
    fn last_within(&self, until: u64) -> u64 {
        let ends = self.0.iter().filter(|(from, _)| *from <= until);
        ends.map(|(_, to)| (*to).min(until)).max().unwrap_or(0)
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
            EventKind::ContainerDeletion {
                exit_code: None,
                while_down: false,
            },
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
