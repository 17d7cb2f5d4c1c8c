//! gRPC to a runtime: one HTTP/2 connection on which everything is bounded, in time and in size.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{StreamExt, TryFutureExt};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status, Streaming};
use tower_service::Service;

use super::{Endpoint, LinkError, LinkStatus};

/// The largest message that is taken. 2,000 containers with all their labels are a quarter of it.
pub const MAX_MESSAGE: usize = 16 << 20;

/// How much of a stream, and of all, may be under way without having been read.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Events that wait to be looked at; beyond these the runtime keeps them.
const EVENT_BACKLOG: usize = 256;

/// How many questions about one container may time out in a row before the runtime counts as hung.
const MAX_TIMEOUTS: u32 = 3;

/// How much of a runtime's own words is repeated.
const MAX_WORDS: usize = 300;

/// What goes into the URI: a runtime asks for nothing else.
const ORIGIN: &str = "http://localhost";

/// The header that names a namespace of containerd.
const NAMESPACE: &str = "containerd-namespace";

/// One connection to a runtime. Ends when it is dropped.
#[derive(Debug)]
pub struct Connection<'a> {
    endpoint: String,
    limit: Duration,
    sender: SendRequest<Body>,
    timeouts: AtomicU32,
    status: &'a LinkStatus,
    _driver: Task,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What generated clients send their requests through.
#[derive(Debug, Clone)]
pub struct Channel {
    sender: SendRequest<Body>,
    namespace: Option<HeaderValue>,
}

impl<'a> Connection<'a> {
    /// Connects. Each question may take as long as `limit`.
    ///
    /// # Errors
    /// [`LinkError::Connect`], [`LinkError::Timeout`] or [`LinkError::Closed`].
    pub async fn open(
        endpoint: &Endpoint,
        limit: Duration,
        status: &'a LinkStatus,
    ) -> Result<Self, LinkError> {
        let name = endpoint.to_string();
        let late = || LinkError::Timeout {
            endpoint: name.clone(),
            question: "a connection".to_owned(),
            seconds: limit.as_secs(),
        };
        let stream = timeout(limit, endpoint.connect())
            .await
            .map_err(|_| late())?
            .map_err(|cause| LinkError::Connect {
                endpoint: name.clone(),
                cause,
            })?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream));
        let (sender, driver) = timeout(limit, handshake)
            .await
            .map_err(|_| late())?
            .map_err(|_| LinkError::Closed {
                endpoint: name.clone(),
            })?;
        // Why it ended, the questions that are under way say.
        let driver = Task(tokio::spawn(async move { drop(driver.await) }));
        Ok(Self {
            endpoint: name,
            limit,
            sender,
            timeouts: AtomicU32::new(0),
            status,
            _driver: driver,
        })
    }

    /// For a client's `with_origin`.
    pub fn channel(&self) -> Channel {
        Channel {
            sender: self.sender.clone(),
            namespace: None,
        }
    }

    /// As [`channel`](Self::channel), in a namespace of containerd. A name that cannot be sent is
    /// none of its own either.
    pub fn channel_in(&self, namespace: &str) -> Option<Channel> {
        Some(Channel {
            sender: self.sender.clone(),
            namespace: Some(HeaderValue::from_str(namespace).ok()?),
        })
    }

    /// For a client's `with_origin`.
    pub fn origin() -> Uri {
        Uri::from_static(ORIGIN)
    }

    /// Asks for what the link cannot do without.
    ///
    /// # Errors
    /// When there is no answer in time, or none that can be used.
    pub async fn ask<T>(
        &self,
        question: &str,
        answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, LinkError> {
        self.status.asked();
        match timeout(self.limit, answer).await {
            Ok(Ok(answer)) => {
                self.timeouts.store(0, Ordering::Relaxed);
                Ok(answer.into_inner())
            }
            Ok(Err(status)) => Err(self.error(question, &status)),
            Err(_) => Err(self.late(question)),
        }
    }

    /// As [`ask`](Self::ask), of a service that the runtime may not have: `what` says which.
    ///
    /// # Errors
    /// [`LinkError::NotServed`] if it has not.
    pub async fn ask_for_service<T>(
        &self,
        question: &str,
        answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
        what: &str,
    ) -> Result<T, LinkError> {
        let mut missing = false;
        let noted = answer.inspect_err(|status| missing = status.code() == Code::Unimplemented);
        match self.ask(question, noted).await {
            Err(_) if missing => Err(LinkError::NotServed {
                endpoint: self.endpoint.clone(),
                what: what.to_owned(),
            }),
            other => other,
        }
    }

    /// Asks about one container: that it is gone, or that its shim hangs, is `None`.
    ///
    /// # Errors
    /// When the connection is lost, or several such questions in a row had no answer in time.
    pub async fn ask_about<T>(
        &self,
        question: &str,
        answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<Option<T>, LinkError> {
        self.status.asked();
        match timeout(self.limit, answer).await {
            Ok(Ok(answer)) => {
                self.timeouts.store(0, Ordering::Relaxed);
                Ok(Some(answer.into_inner()))
            }
            Ok(Err(status)) if status.source().is_some() => Err(self.error(question, &status)),
            Ok(Err(status)) => {
                tracing::debug!(endpoint = %self.endpoint, question, %status, "no answer");
                Ok(None)
            }
            Err(_) if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 < MAX_TIMEOUTS => {
                tracing::debug!(endpoint = %self.endpoint, question, "no answer in time");
                Ok(None)
            }
            Err(_) => Err(self.late(question)),
        }
    }

    /// Takes the next message of a list that comes in pieces.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn next<T>(
        &self,
        question: &str,
        stream: &mut Streaming<T>,
    ) -> Result<Option<T>, LinkError> {
        match timeout(self.limit, stream.message()).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(status)) => Err(self.error(question, &status)),
            Err(_) => Err(self.late(question)),
        }
    }

    /// Subscribes to events. The request is on its way when this returns; a runtime does not answer
    /// it before the first event.
    pub async fn subscribe<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<tonic::Response<Streaming<T>>, Status>> + Send + 'static,
    ) -> Events<T> {
        self.status.asked();
        let (sender, receiver) = mpsc::channel(EVENT_BACKLOG);
        let mut request = Box::pin(request);
        let first = futures_util::poll!(&mut request);
        let pump = async move {
            let answer = match first {
                Poll::Ready(answer) => answer,
                Poll::Pending => request.await,
            };
            let mut stream = match answer {
                Ok(answer) => answer.into_inner(),
                Err(status) => return drop(sender.send(Err(status)).await),
            };
            while let Some(event) = stream.next().await {
                if sender.send(event).await.is_err() {
                    break;
                }
            }
        };
        Events {
            receiver,
            _pump: Task(tokio::spawn(pump)),
        }
    }

    /// The link's error for an answer that says no.
    pub fn error(&self, question: &str, status: &Status) -> LinkError {
        let mut cause = status.source();
        let mut last = None;
        while let Some(error) = cause {
            let hyper = error.downcast_ref::<hyper::Error>();
            let io = error.downcast_ref::<std::io::Error>().is_some();
            if io || hyper.is_some_and(|e| e.is_closed() || e.is_canceled()) {
                return LinkError::Closed {
                    endpoint: self.endpoint.clone(),
                };
            }
            last = Some(error.to_string());
            cause = error.source();
        }
        let words = match (last, status.message()) {
            (Some(cause), _) => cause,
            (None, "") => format!("{:?}", status.code()),
            (None, message) => message.to_owned(),
        };
        LinkError::Answer {
            endpoint: self.endpoint.clone(),
            question: question.to_owned(),
            what: words.chars().take(MAX_WORDS).collect(),
        }
    }

    fn late(&self, question: &str) -> LinkError {
        LinkError::Timeout {
            endpoint: self.endpoint.clone(),
            question: question.to_owned(),
            seconds: self.limit.as_secs(),
        }
    }
}

/// Events that a runtime sends. The subscription ends when it is dropped.
#[derive(Debug)]
pub struct Events<T> {
    receiver: mpsc::Receiver<Result<T, Status>>,
    _pump: Task,
}

impl<T> Events<T> {
    /// The next event. Safe to cancel.
    ///
    /// # Errors
    /// Why there are no more; `OK` if the runtime ended them without a reason.
    pub async fn next(&mut self) -> Result<T, Status> {
        match self.receiver.recv().await {
            Some(event) => event,
            None => Err(Status::new(Code::Ok, "the events ended")),
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(namespace) = &self.namespace {
            request.headers_mut().insert(NAMESPACE, namespace.clone());
        }
        Box::pin(self.sender.send_request(request))
    }
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
