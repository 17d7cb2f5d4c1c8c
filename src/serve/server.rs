//! The accept loop: takes connections, counts them, turns away those over the limit, and stops
//! within a deadline.
//!
//! | too long or too much | answer |
//! |---|---|
//! | request target over [`Limits::uri_bytes`] | 414 (over [`Limits::head_bytes`]: 431) |
//! | more than [`Limits::headers`] headers, or a head over [`Limits::head_bytes`] | 431 |
//! | declared body over [`Limits::request_body`] | 413 (undeclared: reading it fails, see [`body::read`](super::body::read)) |
//! | `CONNECT` | 405 |
//! | a target that is no path | 400 |
//! | connections over [`Limits::connections`] | 503, `Retry-After: 1` |

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::body::{BoxError, REQUEST_BODY_MAX, RequestBody, WRITE_DEADLINE};
use super::connection::{self, Shared};
use super::listen::Listener;
use super::socket::Socket;
use crate::self_metrics::SelfMetrics;

/// Connections served at once, over all listeners. Each costs a file descriptor, which the
/// cgroup readers need, too.
pub const CONNECTIONS_MAX: usize = 512;

/// Headers in one request.
pub const HEADERS_MAX: usize = 100;

/// Bytes in a request's head, and in hyper's write buffer.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Bytes in a request target. A path has at most 4096, and the rest is query.
pub const URI_BYTES_MAX: usize = 8 * 1024;

/// Requests at once on one HTTP/2 connection.
pub const H2_STREAMS_MAX: u32 = 64;

/// From the connection to the end of its first request's head.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Without a request in progress. Longer than the scrape interval that is usual.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Connections being turned away at once; those beyond are closed without a word.
const REFUSALS_MAX: usize = 64;

/// How long a connection that is turned away may take to read why.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

/// The pause after a failed `accept`, doubled each time in a row up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause after a failed `accept`.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long tasks may take to end once they have been told to drop everything. Only a handler
/// that blocks its thread takes any time.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// What one server allows; no time is longer than a day. The defaults are the constants of this module and of
/// [`body`](super::body); tests scale them down.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Bytes of a request body.
    pub request_body: usize,
    /// Bytes of a request target.
    pub uri_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a request's head (at least 8192).
    pub head_bytes: usize,
    /// HTTP/2 streams at once on one connection.
    pub h2_streams: u32,
    /// From the connection to the end of its first request's head.
    pub header_timeout: Duration,
    /// Without a request in progress.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of a finite answer.
    pub write_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            request_body: REQUEST_BODY_MAX,
            uri_bytes: URI_BYTES_MAX,
            headers: HEADERS_MAX,
            head_bytes: HEAD_BYTES_MAX,
            h2_streams: H2_STREAMS_MAX,
            header_timeout: HEADER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            write_deadline: WRITE_DEADLINE,
        }
    }
}

impl Limits {
    /// Within what hyper and tokio take without a panic: they are configuration.
    fn sane(self) -> Self {
        let day = Duration::from_secs(86_400);
        Self {
            connections: self.connections.min(Semaphore::MAX_PERMITS),
            head_bytes: self.head_bytes.max(8192),
            header_timeout: self.header_timeout.min(day),
            idle_timeout: self.idle_timeout.min(day),
            write_deadline: self.write_deadline.min(day),
            ..self
        }
    }
}

/// A running server. Dropping it changes nothing: it runs until its token is cancelled; only
/// [`drain`](Self::drain) puts a deadline on what is then still in progress.
#[derive(Debug)]
#[must_use = "drain() it, or nothing bounds how long a stop takes"]
pub struct Server {
    tasks: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
    cut_off: Arc<AtomicUsize>,
}

/// Serves `service` on every listener until `stop` is cancelled. Must run inside a tokio runtime.
///
/// The service is cloned for each request, gets a body that fails beyond the limit and a
/// [`Peer`](super::listen::Peer) extension, and may panic: that is a 500 and a count, and the
/// connection goes on. `warp::service(filter)` is such a service.
pub fn serve<S, B>(
    listeners: Vec<Listener>,
    service: S,
    limits: Limits,
    stop: CancellationToken,
    metrics: Arc<SelfMetrics>,
) -> Server
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let limits = limits.sane();
    let server = Server {
        tasks: TaskTracker::new(),
        stop,
        kill: CancellationToken::new(),
        cut_off: Arc::default(),
    };
    let places = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let shared = Arc::new(Shared {
        service,
        limits,
        metrics,
        stop: server.stop.clone(),
        kill: server.kill.clone(),
        tasks: server.tasks.clone(),
    });
    for listener in listeners {
        let (shared, places, refusals) = (shared.clone(), places.clone(), refusals.clone());
        server.tasks.spawn(accept_all(
            listener,
            shared,
            places,
            refusals,
            server.cut_off.clone(),
        ));
    }
    server
}

impl Server {
    /// Stops: no new connections at once, requests in progress until `deadline`, endless answers
    /// ended cleanly, then the rest is cut off. Returns how many connections that were. The
    /// files of Unix sockets are removed.
    pub async fn drain(self, deadline: Duration) -> usize {
        self.stop.cancel();
        self.tasks.close();
        if timeout(deadline, self.tasks.wait()).await.is_err() {
            self.kill.cancel();
            if timeout(KILL_GRACE, self.tasks.wait()).await.is_err() {
                tracing::warn!(
                    tasks = self.tasks.len(),
                    "request handlers block their threads; leaving them behind"
                );
            }
        }
        self.cut_off.load(SeqCst)
    }
}

async fn accept_all<S, B>(
    listener: Listener,
    shared: Arc<Shared<S>>,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    cut_off: Arc<AtomicUsize>,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let http = &shared.metrics.http;
    let mut pause = ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if died_in_queue(&error) => continue,
            Err(error) => {
                http.accept_errors.inc();
                if pause == ACCEPT_PAUSE {
                    tracing::warn!(%error, "cannot accept connections; trying again (out of file descriptors? raise LimitNOFILE)");
                }
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = ACCEPT_PAUSE;
        let Ok(place) = places.clone().try_acquire_owned() else {
            http.connections_refused.inc();
            if let Ok(place) = refusals.clone().try_acquire_owned() {
                shared.tasks.spawn(async move {
                    let _ = timeout(REFUSAL_DEADLINE, turn_away(socket)).await;
                    drop(place);
                });
            }
            continue;
        };
        http.connections_accepted.inc();
        let open = Open::new(shared.metrics.clone());
        let (shared, cut_off) = (shared.clone(), cut_off.clone());
        shared.tasks.clone().spawn(async move {
            if connection::run(shared.clone(), socket, peer).await {
                cut_off.fetch_add(1, SeqCst);
                shared.metrics.http.cut_off.inc();
            }
            drop((open, place));
        });
    }
}

/// Errors of the connection, not of the listener: the client left before it was accepted.
fn died_in_queue(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

/// Says why, then reads what the client had sent: closing with bytes unread would reset the
/// connection, and the client would never see the answer.
async fn turn_away(mut socket: Socket) -> io::Result<()> {
    socket
        .write_all(
            b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
              content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\ntoo many connections\n",
        )
        .await?;
    socket.shutdown().await?;
    let mut scratch = [0; 1024];
    while socket.read(&mut scratch).await? > 0 {}
    Ok(())
}

/// Counts a connection as open while it lives, however it ends.
struct Open(Arc<SelfMetrics>);

impl Open {
    fn new(metrics: Arc<SelfMetrics>) -> Self {
        metrics.http.connections_open.add(1);
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.http.connections_open.sub(1);
    }
}
