//! An answer that is made on a thread of its own and sent while it is made.
//!
//! Its maker waits for nobody: what the client has not taken yet waits in memory, as a whole answer
//! would. A quick client has most of it before the last is made, and its memory serves again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use parking_lot::Mutex;
use warp::Reply;
use warp::reply::Response;

use crate::serve::body::{self, BodySender};
use crate::serve::compress::{self, Encoding, GzipStream};

/// Pieces that wait for a slow client: more than any page has.
const PIECES_WAITING: usize = 1 << 16;

/// An answer whose text is to be [pushed](Pieces::push).
pub(super) fn begin(request: &HeaderMap, content_type: &'static str) -> (Response, Pieces) {
    let encoding = compress::wanted(request);
    let (sender, stream) = body::stream(PIECES_WAITING);
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    let packer = match encoding {
        Encoding::Identity => Packer::None(Arc::default()),
        Encoding::Gzip => Packer::Gzip(Box::default()),
        Encoding::Zstd => Packer::Zstd(Vec::new()),
    };
    if let Some(name) = encoding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    let pieces = Pieces {
        packer,
        sender,
        packing: Duration::ZERO,
    };
    (response, pieces)
}

/// The maker's end of an answer. Dropped before [`finish`](Self::finish), the answer is cut off.
#[derive(Debug)]
pub(super) struct Pieces {
    packer: Packer,
    sender: BodySender,
    packing: Duration,
}

#[derive(Debug)]
enum Packer {
    /// With the memory of pieces that have been sent.
    None(Spare),
    Gzip(Box<GzipStream>),
    /// All of the text: it is compressed as a whole.
    Zstd(Vec<u8>),
}

type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// A piece on its way, whose memory comes back when it has been sent.
struct Lent {
    text: Vec<u8>,
    spare: Spare,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.spare.lock().push(text);
    }
}

impl Pieces {
    /// Takes the next piece of the text, and leaves `text` empty. False if nobody wants more.
    pub(super) fn push(&mut self, text: &mut Vec<u8>) -> bool {
        let piece = match &mut self.packer {
            Packer::None(spare) => {
                let empty = spare.lock().pop();
                let empty = empty.unwrap_or_else(|| Vec::with_capacity(text.capacity()));
                let lent = Lent {
                    text: std::mem::replace(text, empty),
                    spare: Arc::clone(spare),
                };
                Bytes::from_owner(lent)
            }
            Packer::Gzip(gzip) => {
                let begun = Instant::now();
                let packed = gzip.push(text);
                self.packing += begun.elapsed();
                text.clear();
                let Ok(packed) = packed else { return false };
                packed
            }
            Packer::Zstd(all) => {
                all.append(text);
                return !self.sender.is_gone();
            }
        };
        self.send(piece)
    }

    /// Sends what is left. To be [finished](Self::finish) then.
    pub(super) fn end(&mut self) {
        let begun = Instant::now();
        let rest = match std::mem::replace(&mut self.packer, Packer::None(Arc::default())) {
            Packer::None(_) => return,
            Packer::Gzip(gzip) => gzip.finish().unwrap_or_default(),
            Packer::Zstd(all) => compress::zstd(&all),
        };
        self.packing += begun.elapsed();
        self.send(rest);
    }

    /// How long compressing has taken.
    pub(super) fn packing(&self) -> Duration {
        self.packing
    }

    /// Says that this was all.
    pub(super) fn finish(self) {
        self.sender.finish();
    }

    fn send(&mut self, piece: Bytes) -> bool {
        piece.is_empty() || self.sender.send_blocking(piece).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::header::ACCEPT_ENCODING;
    use http_body_util::BodyExt;
    use std::io::Read;

    const LINE: &str = "container_last_seen{id=\"/a\"} 1\n";

    fn asking_for(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(encoding))])
    }

    #[tokio::test]
    async fn the_client_gets_the_text_in_each_encoding() {
        for encoding in ["identity", "gzip", "zstd"] {
            let (response, mut pieces) = begin(&asking_for(encoding), "text/plain");
            let made = tokio::task::spawn_blocking(move || {
                let mut text = Vec::new();
                for _ in 0..10 {
                    text.extend_from_slice(LINE.repeat(1_000).as_bytes());
                    assert!(pieces.push(&mut text));
                    assert!(text.is_empty());
                }
                pieces.end();
                assert_eq!(pieces.packing().is_zero(), encoding == "identity");
                pieces.finish();
            });
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            made.await.unwrap();
            let mut text = String::new();
            let told = parts.headers.get(CONTENT_ENCODING);
            assert_eq!(
                told.map_or("identity", |told| told.to_str().unwrap()),
                encoding
            );
            match encoding {
                "gzip" => flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text),
                "zstd" => ruzstd::decoding::StreamingDecoder::new(&body[..])
                    .unwrap()
                    .read_to_string(&mut text),
                _ => (&body[..]).read_to_string(&mut text),
            }
            .unwrap();
            assert_eq!(text, LINE.repeat(10_000), "{encoding}");
            assert_eq!(parts.headers[VARY], "accept-encoding");
        }
    }

    #[tokio::test]
    async fn an_answer_whose_maker_gives_up_is_cut_off() {
        let (response, mut pieces) = begin(&HeaderMap::new(), "text/plain");
        tokio::task::spawn_blocking(move || pieces.push(&mut LINE.into()))
            .await
            .unwrap();
        assert!(response.into_body().collect().await.is_err());
    }

    #[tokio::test]
    async fn nothing_is_made_for_a_client_that_has_gone_and_memory_comes_back() {
        let (response, mut pieces) = begin(&HeaderMap::new(), "text/plain");
        let Packer::None(spare) = &pieces.packer else {
            unreachable!("nothing was asked for")
        };
        let spare = Arc::clone(spare);
        let pieces = tokio::task::spawn_blocking(move || {
            assert!(pieces.push(&mut LINE.into()));
            pieces
        });
        let mut pieces = pieces.await.unwrap();
        let mut body = response.into_body();
        drop(body.frame().await);
        assert_eq!(spare.lock().len(), 1);
        drop(body);
        let goes_on = tokio::task::spawn_blocking(move || pieces.push(&mut LINE.into()));
        assert!(!goes_on.await.unwrap());
    }
}
