//! A link to a runtime: what each of them does, and how it is doing.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;

use super::backoff::GOOD_STRETCH;
use super::{Names, Runtime};
use crate::units::Timestamp;

/// A runtime that can be asked and followed.
pub trait Link: Send {
    /// Whose link it is.
    fn runtime(&self) -> Runtime;

    /// Where it goes: the socket's path.
    fn endpoint(&self) -> String;

    /// Connects, tells `names` all that the runtime knows, calls [`LinkStatus::connected`], and then
    /// follows the runtime's events for as long as the connection lasts. Called again, after a
    /// pause, when it has failed.
    ///
    /// # Errors
    /// It ends in no other way.
    fn follow(
        &mut self,
        names: &Names,
        status: &LinkStatus,
    ) -> impl Future<Output = Result<Infallible, LinkError>> + Send;
}

/// Why a link ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// There is nobody at the endpoint.
    #[error(
        "cannot connect to {endpoint}: {cause}; is the runtime running, and may this user open its socket?"
    )]
    Connect {
        /// The socket's path.
        endpoint: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// The runtime took too long.
    #[error("{endpoint} did not answer {question} within {seconds} s")]
    Timeout {
        /// The socket's path.
        endpoint: String,
        /// What was asked.
        question: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The runtime answered something that makes no sense, or too much.
    #[error("{endpoint} answered {question} with what cannot be used: {what}")]
    Answer {
        /// The socket's path.
        endpoint: String,
        /// What was asked.
        question: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// Somebody else is at the endpoint, or the runtime is not set up to answer there.
    #[error("{endpoint} does not serve {what}")]
    NotServed {
        /// The socket's path.
        endpoint: String,
        /// What was asked for, and what to do if it should be there.
        what: String,
    },
    /// The runtime closed the connection: it stops or restarts.
    #[error("{endpoint} closed the connection")]
    Closed {
        /// The socket's path.
        endpoint: String,
    },
    /// The link itself failed: a defect of this program.
    #[error("the link to {endpoint} failed by a defect of its own; please report it")]
    Defect {
        /// The socket's path.
        endpoint: String,
    },
}

/// How a link is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// It has not answered yet.
    Connecting,
    /// Nothing is at its usual place: the runtime is not installed, has not been started, or does not
    /// serve this there. It is looked for again every few seconds.
    Absent,
    /// It answers, and its events are followed.
    Connected {
        /// The runtime's own version.
        version: String,
    },
    /// It failed and will be tried again.
    Failed {
        /// Why, and what to do.
        why: String,
    },
}

/// How a link is doing, and what it cost: shared by the link and whoever reports on it.
#[derive(Debug)]
pub struct LinkStatus {
    /// Whose link it is.
    pub runtime: Runtime,
    /// Where it goes.
    pub endpoint: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: LinkState,
    since: Timestamp,
    counts: LinkCounts,
    /// The last failure that was said in the log.
    said_failure: Option<String>,
    /// Whether the log's last word is that it is connected.
    said_connected: bool,
}

/// What a link has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounts {
    /// How often it connected.
    pub connects: u64,
    /// How often it failed.
    pub failures: u64,
    /// Questions it asked.
    pub requests: u64,
    /// Events of the runtime that it took.
    pub events: u64,
}

impl LinkStatus {
    /// The status of a link that has not answered yet.
    pub fn new(runtime: Runtime, endpoint: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            endpoint: endpoint.into(),
            inner: Mutex::new(Inner {
                state: LinkState::Connecting,
                since: Timestamp::now(),
                counts: LinkCounts::default(),
                said_failure: None,
                said_connected: false,
            }),
        })
    }

    /// How it is doing, and since when.
    pub fn state(&self) -> (LinkState, Timestamp) {
        let inner = self.inner.lock();
        (inner.state.clone(), inner.since)
    }

    /// What it has done.
    pub fn counts(&self) -> LinkCounts {
        self.inner.lock().counts
    }

    /// Whether the runtime is there and answers; `None` where none is, nor has to be.
    pub fn is_up(&self) -> Option<bool> {
        match self.inner.lock().state {
            LinkState::Connecting | LinkState::Absent => None,
            LinkState::Connected { .. } => Some(true),
            LinkState::Failed { .. } => Some(false),
        }
    }

    /// There is no socket, and none is needed.
    pub fn absent(&self) {
        self.inner.lock().turn(LinkState::Absent);
    }

    /// The runtime has answered, and all that it knows has been told.
    pub fn connected(&self, version: impl Into<String>) {
        let version = version.into();
        let news = {
            let mut inner = self.inner.lock();
            inner.counts.connects += 1;
            inner.turn(LinkState::Connected {
                version: version.clone(),
            });
            !std::mem::replace(&mut inner.said_connected, true)
        };
        if news {
            tracing::info!(runtime = %self.runtime, "connected to {} ({version})", self.endpoint);
        }
    }

    /// The link has ended. Said in the log if the reason is a new one, or the link had been good.
    pub fn failed(&self, error: &LinkError) {
        let why = error.to_string();
        let news = {
            let mut inner = self.inner.lock();
            inner.counts.failures += 1;
            let was_good = matches!(inner.state, LinkState::Connected { .. })
                && Timestamp::now().since(inner.since) >= GOOD_STRETCH;
            let news = was_good || inner.said_failure.as_ref() != Some(&why);
            if news {
                inner.said_failure = Some(why.clone());
                inner.said_connected = false;
            }
            inner.turn(LinkState::Failed { why: why.clone() });
            news
        };
        if news {
            tracing::warn!(
                runtime = %self.runtime,
                "{why}; it will be tried again, and names stay as they are"
            );
        }
    }

    /// A question was asked.
    pub fn asked(&self) {
        self.inner.lock().counts.requests += 1;
    }

    /// An event of the runtime was taken.
    pub fn event(&self) {
        self.inner.lock().counts.events += 1;
    }
}

impl Inner {
    /// Changes the state; a link that fails again for the same reason has failed since the first time.
    fn turn(&mut self, state: LinkState) {
        if self.state != state {
            self.state = state;
            self.since = Timestamp::now();
        }
    }
}
