//! Bodies: requests read with a bound, answers whole or streamed.
//!
//! A streamed answer is a bounded channel, [`stream`]: the writer waits while the client is slow,
//! holding nothing but the chunk in its hand, and learns when the client has gone. An answer
//! whose writer disappears before [`BodySender::finish`] is cut off, never ended cleanly: half a
//! page must not look like a page.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::Response;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request as a service gets it: it fails once it is over the limit.
pub type RequestBody = Limited<Incoming>;

/// The body of an answer, of whatever kind.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Bytes that a request body may have unless `Limits` says otherwise. The largest question that
/// is asked of cgauge has a few hundred.
pub const REQUEST_BODY_MAX: usize = 64 * 1024;

/// How long a request body may take to arrive.
pub const REQUEST_BODY_DEADLINE: Duration = Duration::from_secs(10);

/// How long the client of a finite answer may take no byte before it is cut off.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// A whole answer.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// Why a request body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    /// More than the limit; answer 413.
    #[error("the request body is larger than {limit} bytes; send less")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It did not arrive in time; answer 408.
    #[error("the request body did not arrive within {} s; send it at once", .0.as_secs_f32())]
    TooSlow(Duration),
    /// The connection broke, or the framing is wrong; answer 400.
    #[error("the request body could not be read: {0}")]
    Broken(BoxError),
}

impl ReadBodyError {
    /// The status that says so.
    pub fn status(&self) -> http::StatusCode {
        match self {
            Self::TooLarge { .. } => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => http::StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => http::StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a request body of at most `limit` bytes within `deadline`. Takes what
/// `warp::body::stream()` gives, or any body through [`BodyExt::into_data_stream`].
///
/// It counts by itself, because warp hides why a body failed.
///
/// # Errors
/// [`ReadBodyError`].
pub async fn read<S, B, E>(
    body: S,
    limit: usize,
    deadline: Duration,
) -> Result<Bytes, ReadBodyError>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
    E: Into<BoxError>,
{
    let collect = async {
        let mut body = std::pin::pin!(body);
        let mut all = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|e| broken(e.into(), limit))?;
            if chunk.remaining() > limit - all.len() {
                return Err(ReadBodyError::TooLarge { limit });
            }
            while chunk.has_remaining() {
                let piece = chunk.chunk();
                all.extend_from_slice(piece);
                let n = piece.len();
                chunk.advance(n);
            }
        }
        Ok(all.freeze())
    };
    timeout(deadline, collect)
        .await
        .unwrap_or(Err(ReadBodyError::TooSlow(deadline)))
}

/// The limit of [`RequestBody`] may strike first; it is the same news, however deep it is wrapped.
fn broken(error: BoxError, limit: usize) -> ReadBodyError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(e) = cause {
        if e.is::<http_body_util::LengthLimitError>() {
            return ReadBodyError::TooLarge { limit };
        }
        cause = e.source();
    }
    ReadBodyError::Broken(error)
}

/// Marks an answer as endless (an event stream): the write deadline does not apply to it, and at
/// shutdown the server ends it cleanly instead of waiting for it.
pub fn endless<B>(mut response: Response<B>) -> Response<B> {
    response.extensions_mut().insert(Endless);
    response
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Endless;

/// A streamed answer with room for `capacity` chunks (at least one) between writer and client.
pub fn stream(capacity: usize) -> (BodySender, ChannelBody) {
    let (tx, rx) = mpsc::channel(capacity.max(1));
    let finished = Arc::new(AtomicBool::new(false));
    let sender = BodySender {
        tx,
        finished: finished.clone(),
        deadline: Some(WRITE_DEADLINE),
    };
    (
        sender,
        ChannelBody {
            rx,
            finished,
            done: false,
        },
    )
}

/// Why a chunk could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The client went away, or the server ends the answer: stop writing.
    #[error("the client is gone")]
    Gone,
    /// The client took nothing for this long; the answer is cut off.
    #[error("the client took nothing for {} s", .0.as_secs_f32())]
    Stalled(Duration),
}

/// The writing end of a streamed answer.
#[derive(Debug)]
pub struct BodySender {
    tx: mpsc::Sender<Bytes>,
    finished: Arc<AtomicBool>,
    deadline: Option<Duration>,
}

impl BodySender {
    /// Changes how long [`send`](Self::send) waits; `None` for ever, as for [`endless`] answers.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Duration>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sends a chunk, waiting while the client is slow.
    ///
    /// # Errors
    /// [`SendError`]: there is no point in sending more.
    pub async fn send(&mut self, chunk: impl Into<Bytes>) -> Result<(), SendError> {
        let send = self.tx.send(chunk.into());
        let sent = match self.deadline {
            Some(limit) => timeout(limit, send)
                .await
                .map_err(|_| SendError::Stalled(limit))?,
            None => send.await,
        };
        sent.map_err(|_| SendError::Gone)
    }

    /// Sends a chunk from a thread that may block, which it does only while there is no room.
    ///
    /// # Errors
    /// [`SendError::Gone`].
    pub fn send_blocking(&mut self, chunk: impl Into<Bytes>) -> Result<(), SendError> {
        let sent = self.tx.blocking_send(chunk.into());
        sent.map_err(|_| SendError::Gone)
    }

    /// Whether a chunk can be sent without waiting.
    pub fn has_room(&self) -> bool {
        self.tx.capacity() > 0
    }

    /// Waits until nothing waits to be sent, as long as [`send`](Self::send) does.
    ///
    /// # Errors
    /// [`SendError`]: there is no point in sending more.
    pub async fn all_taken(&self) -> Result<(), SendError> {
        let room = self.tx.reserve_many(self.tx.max_capacity());
        let room = match self.deadline {
            Some(limit) => timeout(limit, room)
                .await
                .map_err(|_| SendError::Stalled(limit))?,
            None => room.await,
        };
        room.map(drop).map_err(|_| SendError::Gone)
    }

    /// Waits until the client is gone (or the server ends the answer), for a writer that has
    /// nothing to send for a while.
    pub async fn gone(&self) {
        self.tx.closed().await;
    }

    /// Whether the client is gone.
    pub fn is_gone(&self) -> bool {
        self.tx.is_closed()
    }

    /// Ends the answer cleanly once all is delivered. Without this it is cut off.
    pub fn finish(self) {
        self.finished.store(true, Ordering::Release);
    }
}

/// The reading end of [`stream`]: an HTTP body, and a `Stream` for `warp::reply::stream`.
#[derive(Debug)]
pub struct ChannelBody {
    rx: mpsc::Receiver<Bytes>,
    finished: Arc<AtomicBool>,
    done: bool,
}

/// The writer disappeared before it had finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut off: its writer stopped before the end")]
pub struct CutOff;

impl Stream for ChannelBody {
    type Item = Result<Bytes, CutOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        self.rx.poll_recv(cx).map(|chunk| match chunk {
            Some(chunk) => Some(Ok(chunk)),
            None => {
                self.done = true;
                // The sender is dropped after it set the flag, and we have seen it dropped.
                (!self.finished.load(Ordering::Acquire)).then_some(Err(CutOff))
            }
        })
    }
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.poll_next(cx)
            .map(|item| item.map(|chunk| chunk.map(Frame::data).map_err(Into::into)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::stream as st;

    fn chunks(parts: &[&'static str]) -> impl Stream<Item = Result<Bytes, Infallible>> {
        st::iter(
            parts
                .iter()
                .map(|p| Ok(Bytes::from_static(p.as_bytes())))
                .collect::<Vec<_>>(),
        )
    }

    #[tokio::test]
    async fn reading_is_bounded() {
        let s = Duration::from_secs(5);
        assert_eq!(read(chunks(&["ab", "", "cd"]), 4, s).await.unwrap(), "abcd");
        let error = read(chunks(&["ab", "cde"]), 4, s).await.unwrap_err();
        assert!(
            matches!(error, ReadBodyError::TooLarge { limit: 4 }),
            "{error:?}"
        );
        let limited = Limited::new(Full::new(Bytes::from_static(b"abcde")), 3).into_data_stream();
        assert!(matches!(
            read(limited, 4, s).await,
            Err(ReadBodyError::TooLarge { .. })
        ));
        let never = st::pending::<Result<Bytes, Infallible>>();
        let error = read(never, 4, Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(error.status(), 408);
    }

    #[tokio::test]
    async fn finished_streams_end_and_dropped_ones_are_cut_off() {
        let (mut tx, body) = stream(4);
        tx.send("a").await.unwrap();
        tx.send("b").await.unwrap();
        tx.finish();
        assert_eq!(
            StreamExt::collect::<Vec<_>>(body).await,
            [Ok("a".into()), Ok("b".into())]
        );

        let (mut tx, body) = stream(4);
        tx.send("a").await.unwrap();
        drop(tx);
        assert_eq!(
            StreamExt::collect::<Vec<_>>(body).await,
            [Ok("a".into()), Err(CutOff)]
        );
    }

    #[tokio::test]
    async fn the_sender_waits_gives_up_and_learns() {
        let (tx, body) = stream(1);
        let limit = Duration::from_millis(5);
        let mut tx = tx.with_deadline(Some(limit));
        tx.send("a").await.unwrap();
        assert_eq!(tx.send("b").await, Err(SendError::Stalled(limit)));
        assert!(!tx.is_gone());
        drop(body);
        timeout(Duration::from_secs(5), tx.gone()).await.unwrap();
        assert_eq!(tx.send("c").await, Err(SendError::Gone));
    }
}
