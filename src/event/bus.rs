//! Publishing events: into the history, and to whoever listens.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Event, EventKind, EventLimits, EventRequest, EventType, History};
use crate::cgroup::ContainerName;
use crate::self_metrics::SelfMetrics;
use crate::units::Timestamp;

/// Events that a reader may lag behind before it loses the oldest of them. One buffer for all readers.
pub const READER_BACKLOG: usize = 8_192;

/// The history and the readers. Shared by all who publish or listen.
#[derive(Debug)]
pub struct EventBus {
    state: Mutex<State>,
    metrics: Arc<SelfMetrics>,
}

#[derive(Debug)]
struct State {
    history: History,
    next_id: u64,
    /// Gone once the bus is closed.
    readers: Option<broadcast::Sender<Arc<Event>>>,
}

impl EventBus {
    /// A bus without past.
    pub fn new(limits: EventLimits, metrics: Arc<SelfMetrics>) -> Self {
        let readers = Some(broadcast::Sender::new(READER_BACKLOG));
        let state = State {
            history: History::new(limits),
            next_id: 1,
            readers,
        };
        Self {
            state: Mutex::new(state),
            metrics,
        }
    }

    /// Publishes an event. Never waits for a reader.
    pub fn publish(&self, timestamp: Timestamp, container: ContainerName, kind: EventKind) {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let event = Event {
            id,
            timestamp,
            noticed: Timestamp::now(),
            container,
            kind,
        };
        self.metrics.events[event.kind.event_type().index()].inc();
        state.history.push(event.clone());
        // Under the lock, so that readers see events in the order of their numbers. It does not wait:
        // a full buffer drops its oldest event. An error only says that nobody listens.
        if let Some(readers) = &state.readers {
            let _ = readers.send(Arc::new(event));
        }
    }

    /// Ends all subscriptions, present and future, behind the last event.
    pub fn close(&self) {
        self.state.lock().readers = None;
    }

    /// Past events.
    pub fn past(&self, request: &EventRequest) -> Vec<Event> {
        self.state.lock().history.past(request)
    }

    /// Events from now on.
    pub fn subscribe(&self, request: EventRequest) -> Subscription {
        let receiver = match &self.state.lock().readers {
            Some(readers) => readers.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        Subscription {
            receiver,
            request,
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.state
            .lock()
            .readers
            .as_ref()
            .map_or(0, broadcast::Sender::receiver_count)
    }

    /// How many past events of a type are kept.
    pub fn kept(&self, kind: EventType) -> usize {
        self.state.lock().history.count(kind)
    }
}

/// Events that a reader was too slow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} events were lost because they were not read in time")]
pub struct Missed(pub u64);

/// The future events that a request wants.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Event>>,
    request: EventRequest,
    metrics: Arc<SelfMetrics>,
}

impl Subscription {
    /// The next event. `None` once the monitor has stopped.
    ///
    /// # Errors
    /// [`Missed`] says how many events (of any kind) were dropped since the last call because they
    /// were not asked for in time. The next call goes on behind them.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, Missed>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if self.request.wants(&event) => return Some(Ok(event)),
                Ok(_) => {}
                Err(RecvError::Lagged(number)) => {
                    self.metrics.events_missed_by_readers.add(number);
                    return Some(Err(Missed(number)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// As a `Stream`, for combinators.
    pub fn into_stream(
        self,
    ) -> impl futures_util::Stream<Item = Result<Arc<Event>, Missed>> + Send {
        futures_util::stream::unfold(self, |mut subscription| async move {
            subscription.next().await.map(|item| (item, subscription))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bus() -> EventBus {
        EventBus::new(EventLimits::default(), Arc::default())
    }

    fn publish(bus: &EventBus, name: &str) {
        bus.publish(
            Timestamp::now(),
            ContainerName::from_request(name),
            EventKind::ContainerCreation,
        );
    }

    #[tokio::test]
    async fn a_reader_sees_what_it_asked_for_in_order() {
        let bus = bus();
        publish(&bus, "/before");
        let request = EventRequest {
            container: ContainerName::from_request("/a"),
            ..EventRequest::everything()
        };
        let mut reader = bus.subscribe(request);
        for name in ["/a/1", "/b", "/a/2"] {
            publish(&bus, name);
        }
        drop(bus);
        let mut names = Vec::new();
        while let Some(event) = reader.next().await {
            names.push(event.unwrap().container.to_string());
        }
        assert_eq!(names, ["/a/1", "/a/2"]);
    }

    #[tokio::test]
    async fn a_reader_that_sleeps_loses_events_and_is_told_how_many() {
        let bus = bus();
        let mut asleep = bus.subscribe(EventRequest::everything());
        let extra = 100;
        for _ in 0..READER_BACKLOG + extra {
            publish(&bus, "/a");
        }
        assert_eq!(asleep.next().await, Some(Err(Missed(extra as u64))));
        let first = asleep.next().await.unwrap().unwrap();
        assert_eq!(first.id, extra as u64 + 1);
        assert_eq!(bus.metrics.events_missed_by_readers.get(), extra as u64);
        assert_eq!(
            bus.past(&EventRequest::everything()).len(),
            READER_BACKLOG + extra
        );
    }
}
