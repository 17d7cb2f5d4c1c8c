//! A reader of events: from the history as long as it is behind, then as they come.
//!
//! Readers have one bounded buffer between them and the bus. One that is too slow for it is given
//! from the history what it has not seen, a page at a time; only what is not even there any more is
//! lost to it, and it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tokio::sync::broadcast::{self, error::RecvError};

use super::bus::{Inner, State};
use super::{Event, EventRequest, History};
use crate::self_metrics::SelfMetrics;

/// Events that are taken from the history at once.
const PAGE: usize = 256;

/// Events that a reader did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// They are not remembered any more.
    #[error("{number} events, or fewer, are not remembered any more")]
    Forgotten {
        /// At most so many, of the wanted types and, where not even that is known, of others.
        number: u64,
    },
    /// The position to go on behind is of another life of cgauge, or from the future. What follows is
    /// all that is remembered behind it, as far as that can be told.
    #[error("the position is none that is known here: events may be missing, or come again")]
    UnknownPosition,
}

impl Missed {
    /// How many at most, if that is known.
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Forgotten { number } => Some(number),
            Self::UnknownPosition => None,
        }
    }
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Behind this number.
    pub after: u64,
    /// Whether it is to be told that nobody knows what it has seen.
    pub unknown: bool,
}

impl Reading {
    pub fn after(after: u64) -> Self {
        Self {
            after,
            unknown: false,
        }
    }
}

/// The events that a request wants, one after the other.
#[derive(Debug)]
pub struct Subscription {
    /// Weak: a reader keeps no bus alive.
    bus: Weak<Inner>,
    receiver: broadcast::Receiver<Arc<Event>>,
    request: EventRequest,
    /// All up to this number have been given, or are not wanted.
    seen: u64,
    /// Up to here they are in the history.
    catch_up_to: u64,
    /// Up to here it has been told what was dropped from the history,
    told_dropped: u64,
    /// and what was lost on disk.
    told_lost: u64,
    page: VecDeque<Event>,
    unknown: bool,
    follow: bool,
    metrics: Arc<SelfMetrics>,
}

impl Subscription {
    pub(super) fn new(
        bus: &Arc<Inner>,
        state: &State,
        request: EventRequest,
        reading: Reading,
    ) -> Self {
        let receiver = match &state.readers {
            Some(readers) => readers.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        // To whoever begins at the beginning nothing is missing that has gone before.
        let told = |gone: Option<(u64, u64)>| {
            let gone = gone.filter(|_| reading.after == 0);
            gone.map_or(0, |(_, last)| last)
        };
        let (types, history) = (&request.types, &state.history);
        let told_dropped = told(history.dropped(types, 0, state.shown));
        let told_lost = told(history.lost(types, 0, state.shown));
        Self {
            bus: Arc::downgrade(bus),
            receiver,
            request,
            seen: reading.after,
            catch_up_to: state.shown,
            told_dropped,
            told_lost,
            page: VecDeque::new(),
            unknown: reading.unknown,
            follow: true,
            metrics: Arc::clone(&bus.metrics),
        }
    }

    /// Ends behind what is past by now.
    #[must_use]
    pub(super) fn until_now(mut self) -> Self {
        self.follow = false;
        self
    }

    /// All up to this number have been given, or are not wanted: to go on behind it repeats nothing
    /// and leaves nothing out.
    pub fn seen(&self) -> u64 {
        self.page.front().map_or(self.seen, |next| next.id - 1)
    }

    /// The next event. `None` once the monitor has stopped. Nothing is lost if the future is
    /// dropped before it is done.
    ///
    /// # Errors
    /// [`Missed`] tells of events that are not remembered any more. The next call goes on behind
    /// them.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, Missed>> {
        loop {
            if std::mem::take(&mut self.unknown) {
                return Some(Err(Missed::UnknownPosition));
            }
            if let Some(event) = self.page.pop_front() {
                return Some(Ok(Arc::new(event)));
            }
            if self.seen < self.catch_up_to {
                match self.turn_page() {
                    Some(missed) => return Some(Err(missed)),
                    None => continue,
                }
            }
            if !self.follow {
                return None;
            }
            match self.receiver.recv().await {
                Ok(event) => {
                    let is_new = event.id > self.seen;
                    self.seen = self.seen.max(event.id);
                    if is_new && self.request.wants(&event) {
                        return Some(Ok(event));
                    }
                }
                // Numbers have no holes within a life.
                Err(RecvError::Lagged(number)) => self.catch_up_to = self.seen + number,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Takes the next events from the history, or tells what it does not have.
    fn turn_page(&mut self) -> Option<Missed> {
        let Some(bus) = self.bus.upgrade() else {
            self.seen = self.catch_up_to;
            return None;
        };
        let state = bus.state.lock();
        let number = self.count_missing(&state.history);
        if number > 0 {
            self.metrics.events_missed_by_readers.add(number);
            return Some(Missed::Forgotten { number });
        }
        let page = state
            .history
            .page(&self.request, self.seen, self.catch_up_to, PAGE);
        drop(state);
        self.seen = page.reached;
        self.page = page.events.into();
        None
    }

    /// How many events that it is to be given are in the history no more, of which it has not been
    /// told.
    fn count_missing(&mut self, history: &History) -> u64 {
        let (types, until) = (&self.request.types, self.catch_up_to);
        let mut missing = 0;
        let from = self.seen.max(self.told_dropped);
        if let Some((number, last)) = history.dropped(types, from, until) {
            self.told_dropped = last;
            missing += number;
        }
        let from = self.seen.max(self.told_lost).max(self.told_dropped);
        if let Some((number, last)) = history.lost(types, from, until) {
            self.told_lost = last;
            missing += number;
        }
        missing
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
