//! Publishing events: into the journal, the history, and to whoever listens, in this order.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::restore::Past;
use super::subscription::{Reading, Subscription};
use super::{Event, EventKind, EventLimits, EventRequest, EventType, History, Position, stored};
use crate::cgroup::ContainerName;
use crate::journal::{Epoch, Journal, Kind, Unsettled};
use crate::self_metrics::SelfMetrics;
use crate::units::Timestamp;

/// Events that a reader may lag behind before it is given them from the history. One buffer for all
/// readers.
pub const READER_BACKLOG: usize = 8_192;

/// The history and the readers. Shared by all who publish or listen.
#[derive(Debug)]
pub struct EventBus {
    inner: Arc<Inner>,
    /// Not in `inner`: a thread of the journal holds that for a moment, and must not be the one that
    /// drops the journal.
    journal: Option<Arc<Journal>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    /// That of the events published now.
    epoch: Epoch,
    /// Those whose numbers are known.
    epochs: Vec<Epoch>,
    /// The last number of earlier lives, and what it belongs to.
    earlier: Option<(u64, Epoch)>,
    pub(super) metrics: Arc<SelfMetrics>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) history: History,
    /// Published, and not on disk yet: to be shown then.
    unsettled: Unsettled<Event>,
    next_id: u64,
    /// The number of the last event that was shown, or of the last of an earlier life.
    pub(super) shown: u64,
    /// Gone once the bus is closed.
    pub(super) readers: Option<broadcast::Sender<Arc<Event>>>,
}

impl EventBus {
    /// A bus without past, and without journal.
    pub fn new(limits: EventLimits, metrics: Arc<SelfMetrics>) -> Self {
        Self::build(Past::new(limits), None, Vec::new(), metrics)
    }

    /// A bus that goes on where the journal ends. `past` is what the journal was read into, `epochs`
    /// what its [`ReadBack`](crate::journal::ReadBack) says.
    pub fn with_journal(
        past: Past,
        journal: Arc<Journal>,
        epochs: Vec<Epoch>,
        metrics: Arc<SelfMetrics>,
    ) -> Self {
        let bus = Self::build(past, Some(Arc::clone(&journal)), epochs, metrics);
        // Weak: the bus is to end when its owners drop it.
        let inner = Arc::downgrade(&bus.inner);
        journal.on_settled(move |settled| {
            if let Some(inner) = inner.upgrade() {
                inner.state.lock().show(settled);
            }
        });
        bus
    }

    fn build(
        mut past: Past,
        journal: Option<Arc<Journal>>,
        mut epochs: Vec<Epoch>,
        metrics: Arc<SelfMetrics>,
    ) -> Self {
        let epoch = journal
            .as_ref()
            .map_or_else(Epoch::random, |journal| journal.epoch());
        let earlier = epochs.last().map(|epoch| (past.last_id(), *epoch));
        epochs.push(epoch);
        let next_id = past.next_id();
        let state = State {
            history: past.history,
            unsettled: Unsettled::default(),
            next_id,
            shown: next_id - 1,
            readers: Some(broadcast::Sender::new(READER_BACKLOG)),
        };
        let inner = Inner {
            state: Mutex::new(state),
            epoch,
            epochs,
            earlier,
            metrics,
        };
        Self {
            inner: Arc::new(inner),
            journal,
        }
    }

    /// Publishes an event. Waits neither for a reader nor for a disk: with a journal, it is shown once
    /// it is written, on another thread.
    pub fn publish(&self, timestamp: Timestamp, container: ContainerName, kind: EventKind) {
        let inner = &self.inner;
        let mut state = inner.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let event = Event {
            id,
            timestamp,
            noticed: Timestamp::now(),
            container,
            kind,
        };
        inner.metrics.events[event.kind.event_type().index()].inc();
        let Some(journal) = &self.journal else {
            return state.show_one(event);
        };
        match stored::encode(&event) {
            Ok(payload) => {
                // Under the lock, so that the journal has events in the order of their numbers.
                let sequence = journal.append(Kind::EVENT, &payload);
                state.unsettled.push(sequence, event);
                state.show(journal.settled());
            }
            Err(error) => {
                tracing::warn!(%error, "an event cannot be written to the journal");
                state.show_one(event);
            }
        }
    }

    /// Ends all subscriptions, present and future, behind the last event.
    pub fn close(&self) {
        self.inner.state.lock().readers = None;
    }

    /// Waits until all that was published is shown; at `deadline` it is, written or not.
    pub fn flush(&self, deadline: Instant) {
        if let Some(journal) = &self.journal {
            journal.flush(deadline);
        }
    }

    /// Past events.
    pub fn past(&self, request: &EventRequest) -> Vec<Event> {
        let excerpt = self.inner.state.lock().history.excerpt(request);
        excerpt.events()
    }

    /// The series of event numbers that is being continued.
    pub fn epoch(&self) -> Epoch {
        self.inner.epoch
    }

    /// The place behind this event.
    pub fn position(&self, id: u64) -> Position {
        let earlier = self.inner.earlier.filter(|(last, _)| id <= *last);
        let epoch = earlier.map_or(self.inner.epoch, |(_, epoch)| epoch);
        Position {
            epoch: Some(epoch),
            id,
        }
    }

    /// Events from now on.
    pub fn subscribe(&self, request: EventRequest) -> Subscription {
        let state = self.inner.state.lock();
        let shown = state.shown;
        Subscription::new(&self.inner, &state, request, Reading::after(shown))
    }

    /// Events behind a position: those that are past and then those to come, without loss or repeats
    /// as far as the history goes. Of what is not there any more the first item tells.
    pub fn resume(&self, request: EventRequest, position: Position) -> Subscription {
        let inner = &self.inner;
        let state = inner.state.lock();
        let known = position
            .epoch
            .is_none_or(|epoch| inner.epochs.contains(&epoch));
        let reading = if known && position.id <= state.shown {
            Reading {
                unknown: state.history.is_beyond_what_is_known(position.id),
                ..Reading::after(position.id)
            }
        } else {
            Reading {
                unknown: true,
                ..Reading::after(0)
            }
        };
        Subscription::new(inner, &state, request, reading)
    }

    /// The events behind a position that are past, a page at a time; as [`resume`](Self::resume),
    /// but it ends.
    pub fn read(&self, request: EventRequest, position: Position) -> Subscription {
        self.resume(request, position).until_now()
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.inner
            .state
            .lock()
            .readers
            .as_ref()
            .map_or(0, broadcast::Sender::receiver_count)
    }

    /// How many past events of a type are kept.
    pub fn kept(&self, kind: EventType) -> usize {
        self.inner.state.lock().history.count(kind)
    }
}

impl State {
    /// Shows all events whose records are settled up to this one.
    fn show(&mut self, settled: u64) {
        while let Some(event) = self.unsettled.pop(settled) {
            self.show_one(event);
        }
    }

    fn show_one(&mut self, event: Event) {
        self.shown = event.id;
        self.history.push(event.clone());
        // Under the lock, so that readers see events in the order of their numbers. It does not wait:
        // a full buffer drops its oldest event. An error only says that nobody listens.
        if let Some(readers) = &self.readers {
            let _ = readers.send(Arc::new(event));
        }
    }
}
