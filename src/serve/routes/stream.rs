//! Answers about many containers, sent one container at a time.
//!
//! A client that reads slowly holds no lock and nothing of the history: only the text of the container
//! at hand and what waits to be sent, [`CHUNK`] times [`CHUNKS_WAITING`] plus one.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use warp::Reply;
use warp::reply::Response;

use super::answer;
use crate::handler::Handler;
use crate::serve::body::{self, BodySender, BoxError};
use crate::serve::compress::{self, Encoding, GzipStream};
use crate::serve::json;
use crate::wire::shared::name::Name;

/// Bytes of a streamed answer that are sent at once.
const CHUNK: usize = 64 * 1024;

/// Chunks that wait for a slow client.
const CHUNKS_WAITING: usize = 1;

/// How the containers stand in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One after the other.
    List,
    /// Each under its name.
    Map,
}

/// Appends one container to the text. False leaves it out.
pub(super) trait Write:
    Fn(&Handler, &mut Vec<u8>) -> Result<bool, serde_json::Error> + Send + Sync + 'static
{
}

impl<F> Write for F where
    F: Fn(&Handler, &mut Vec<u8>) -> Result<bool, serde_json::Error> + Send + Sync + 'static
{
}

/// An answer that tells of these containers, each as `write` does.
pub(super) fn containers(
    request: &HeaderMap,
    handlers: Vec<Arc<Handler>>,
    form: Form,
    write: impl Write,
) -> Response {
    let encoding = compress::wanted(request);
    let (sender, stream) = body::stream(CHUNKS_WAITING);
    tokio::spawn(async move {
        let chunks = Chunks::new(sender, encoding);
        if let Err(error) = send_all(handlers, form, write, chunks).await {
            tracing::debug!(%error, "the containers were not sent to the last");
        }
    });
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer::JSON));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if encoding == Encoding::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

async fn send_all(
    handlers: Vec<Arc<Handler>>,
    form: Form,
    write: impl Write,
    mut chunks: Chunks,
) -> Result<(), BoxError> {
    let (open, close) = match form {
        Form::List => (b'[', b']'),
        Form::Map => (b'{', b'}'),
    };
    let mut first = true;
    chunks.plain.push(open);
    for handler in handlers {
        let before = chunks.plain.len();
        if !first {
            chunks.plain.push(b',');
        }
        if form == Form::Map {
            json::write(&mut chunks.plain, &Name(handler.name()))?;
            chunks.plain.push(b':');
        }
        if write(&handler, &mut chunks.plain)? {
            first = false;
        } else {
            chunks.plain.truncate(before);
        }
        drop(handler);
        chunks.send_if_full().await?;
    }
    chunks.plain.push(close);
    chunks.finish().await
}

/// Collects text and sends it in chunks.
struct Chunks {
    plain: Vec<u8>,
    gzip: Option<GzipStream>,
    sender: BodySender,
}

impl Chunks {
    fn new(sender: BodySender, encoding: Encoding) -> Self {
        let gzip = (encoding == Encoding::Gzip).then(GzipStream::default);
        Self {
            plain: Vec::with_capacity(CHUNK / 4),
            gzip,
            sender,
        }
    }

    async fn send_if_full(&mut self) -> Result<(), BoxError> {
        if self.plain.len() >= CHUNK {
            self.send().await
        } else {
            Ok(())
        }
    }

    /// Sends all there is, in pieces of which none is large.
    async fn send(&mut self) -> Result<(), BoxError> {
        for piece in self.plain.chunks(CHUNK) {
            let piece = match &mut self.gzip {
                Some(gzip) => gzip.push(piece)?,
                None => Bytes::copy_from_slice(piece),
            };
            if !piece.is_empty() {
                self.sender.send(piece).await?;
            }
        }
        self.plain.clear();
        Ok(())
    }

    async fn finish(mut self) -> Result<(), BoxError> {
        self.send().await?;
        if let Some(gzip) = self.gzip.take() {
            self.sender.send(gzip.finish()?).await?;
        }
        self.sender.finish();
        Ok(())
    }
}
