//! One connection: how long it may be silent, and what each request passes before the service.
//!
//! Three clocks watch a client. *Silent*: no whole request within the header timeout of
//! connecting, whether it sent nothing, half an HTTP/2 preface or half a header (hyper's own
//! timer starts only after it has told the versions apart). *Idle*: no request in progress for
//! the idle timeout. *Stalled*: takes no byte of an answer (see `socket`). A client that plays
//! HTTP/2 flow control (a zero window, while it answers pings) is caught by none of them; it
//! costs one connection of the limit and at most the answers it asked for.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::body::{self, Body, BoxError, Endless, RequestBody};
use super::listen::Peer;
use super::server::Limits;
use super::socket::{Guarded, Socket};
use crate::self_metrics::SelfMetrics;

/// What all connections of a server share.
pub(super) struct Shared<S> {
    pub service: S,
    pub limits: Limits,
    pub metrics: Arc<SelfMetrics>,
    /// No more requests; finish those in progress.
    pub stop: CancellationToken,
    /// The deadline has passed: close now.
    pub kill: CancellationToken,
    /// Every task of the server.
    pub tasks: TaskTracker,
}

/// Spawns hyper's HTTP/2 stream tasks where the drain can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Serves one connection to its end. Returns whether it was cut off at shutdown.
pub(super) async fn run<S, B>(shared: Arc<Shared<S>>, socket: Socket, peer: Peer) -> bool
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let limits = &shared.limits;
    let activity = Arc::new(Activity::new(shared.metrics.clone()));
    let io = TokioIo::new(Guarded::new(
        socket,
        limits.write_deadline,
        activity.clone(),
    ));

    let mut http = Builder::new(Tracked(shared.tasks.clone()));
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(H2_SEND_BUFFER)
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.header_timeout);

    let service = service_fn(|request| {
        let shared = shared.clone();
        let activity = activity.clone();
        async move { Ok::<_, Infallible>(answer(shared, activity, peer, request).await) }
    });
    let mut conn = pin!(http.serve_connection(io, service));
    let (mut stopping, mut closing) = (false, false);
    loop {
        tokio::select! {
            ended = conn.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(?peer, %error, "connection ended badly");
                }
                return false;
            }
            () = shared.kill.cancelled() => return true,
            () = shared.stop.cancelled(), if !stopping => {
                stopping = true;
                conn.as_mut().graceful_shutdown();
            }
            () = activity.quiet(limits, closing) => {
                if closing {
                    return false; // it did not even take the goodbye
                }
                closing = true;
                if !activity.served.load(SeqCst) {
                    shared.metrics.http.timeouts.inc();
                }
                activity.touch();
                conn.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Bytes of an answer that HTTP/2 may hold per stream before the client takes them.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// One request, from its head to the start of its answer.
async fn answer<S, B>(
    shared: Arc<Shared<S>>,
    activity: Arc<Activity>,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Response<Answer>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let http = &shared.metrics.http;
    let mut in_flight = InFlight::new(activity);
    http.requests.inc();
    let head = request.method() == Method::HEAD;

    let mut response = match refusal(&request, &shared.limits) {
        Some((status, why)) => {
            http.requests_refused.inc();
            let mut response = plain(status, why);
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            }
            // What is left of the request is not worth reading (HTTP/2 resets the stream).
            if request.version() <= Version::HTTP_11 {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
        None => {
            request.extensions_mut().insert(peer);
            let request = request.map(|b| Limited::new(b, shared.limits.request_body));
            let mut service = shared.service.clone();
            let call = async move {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            };
            // Nothing of a handler that panicked is used again: the service is a clone.
            match AssertUnwindSafe(call).catch_unwind().await {
                Ok(Ok(response)) => response.map(|b| b.map_err(Into::into).boxed_unsync()),
                Ok(Err(error)) => {
                    http.panics.inc();
                    tracing::error!(error = %Into::<BoxError>::into(error), "a request handler failed");
                    plain(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "internal error; see the log\n",
                    )
                }
                Err(_) => {
                    http.panics.inc();
                    tracing::error!("a request handler panicked: please report it");
                    plain(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "internal error; see the log\n",
                    )
                }
            }
        }
    };

    let end = response.extensions_mut().remove::<Endless>().map(|_| {
        in_flight.set_endless();
        Box::pin(shared.stop.clone().cancelled_owned())
    });
    if head {
        // The length of what GET would send, and none of it: hyper drops the body of HTTP/1
        // only, and an endless one would be produced for nobody.
        if let Some(n) = response.body().size_hint().exact() {
            response
                .headers_mut()
                .entry(CONTENT_LENGTH)
                .or_insert_with(|| n.into());
        }
        *response.body_mut() = body::empty();
    }
    response.map(|inner| Answer {
        inner: Some(inner),
        end,
        _in_flight: in_flight,
    })
}

/// Why a request does not reach the service.
fn refusal(request: &Request<Incoming>, limits: &Limits) -> Option<(StatusCode, &'static str)> {
    let Some(target) = request.uri().path_and_query() else {
        // `CONNECT host:port` (or a bare host): no path, on which warp's path filters panic.
        return Some(if request.method() == Method::CONNECT {
            (
                StatusCode::METHOD_NOT_ALLOWED,
                "not a proxy: ask for a path\n",
            )
        } else {
            (
                StatusCode::BAD_REQUEST,
                "the request target must be a path\n",
            )
        });
    };
    if !target.path().starts_with('/') {
        return Some((
            StatusCode::BAD_REQUEST,
            "the request target must be a path\n",
        ));
    }
    if target.as_str().len() > limits.uri_bytes {
        return Some((StatusCode::URI_TOO_LONG, "the request target is too long\n"));
    }
    if request.body().size_hint().lower() > limits.request_body as u64 {
        return Some((
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request body is too large\n",
        ));
    }
    None
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// The body of an answer; while it lives, the request is in flight.
struct Answer {
    inner: Option<Body>,
    /// For an endless answer: the server's stop.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _in_flight: InFlight,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            self.end = None;
            self.inner = None; // tells the writer
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        // A panic in here would take the whole connection, with HTTP/2 the requests beside it.
        let frame = std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        match frame {
            Ok(frame) => Poll::Ready(ready!(frame)),
            Err(_) => {
                self.inner = None;
                self._in_flight.activity.metrics.http.panics.inc();
                Poll::Ready(Some(Err("the answer's body panicked".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// What happens on one connection, for its clocks.
#[derive(Debug)]
pub(super) struct Activity {
    metrics: Arc<SelfMetrics>,
    in_flight: AtomicUsize,
    endless: AtomicUsize,
    /// A first request has arrived.
    served: AtomicBool,
    /// When the connection was accepted, a request began or ended.
    last: Mutex<Instant>,
    /// A request ended.
    ended: Notify,
}

impl Activity {
    fn new(metrics: Arc<SelfMetrics>) -> Self {
        Self {
            metrics,
            in_flight: AtomicUsize::new(0),
            endless: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
            ended: Notify::new(),
        }
    }

    fn touch(&self) {
        *self.last.lock() = Instant::now();
    }

    /// Whether an endless answer is being sent.
    pub(super) fn sends_endless(&self) -> bool {
        self.endless.load(SeqCst) > 0
    }

    /// The peer took no byte for the whole write deadline.
    pub(super) fn note_stalled(&self) {
        self.metrics.http.timeouts.inc();
    }

    /// Waits until the client has been silent for too long. Wakes once per timeout, not per request.
    async fn quiet(&self, limits: &Limits, closing: bool) {
        loop {
            let limit = if closing || !self.served.load(SeqCst) {
                limits.header_timeout
            } else {
                limits.idle_timeout
            };
            let until = *self.last.lock() + limit;
            if self.in_flight.load(SeqCst) > 0 {
                self.ended.notified().await;
            } else if until > Instant::now() {
                sleep_until(until).await;
            } else {
                return;
            }
        }
    }
}

/// A request in progress, from its head to the last byte of its answer.
struct InFlight {
    activity: Arc<Activity>,
    endless: bool,
}

impl InFlight {
    fn new(activity: Arc<Activity>) -> Self {
        activity.served.store(true, SeqCst);
        activity.in_flight.fetch_add(1, SeqCst);
        activity.touch();
        Self {
            activity,
            endless: false,
        }
    }

    fn set_endless(&mut self) {
        self.endless = true;
        self.activity.endless.fetch_add(1, SeqCst);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.endless {
            self.activity.endless.fetch_sub(1, SeqCst);
        }
        self.activity.touch();
        self.activity.in_flight.fetch_sub(1, SeqCst);
        self.activity.ended.notify_one();
    }
}
