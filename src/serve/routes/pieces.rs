//! An answer that is made on a thread of its own and sent while it is made.
//!
//! Its maker waits for nobody: what the client has not taken yet waits in memory, as a whole answer
//! would. A quick client has most of it before the last is made, and its memory serves again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use warp::reply::Response;

use super::packer::{self, Packer};
use crate::serve::body::{self, BodySender};
use crate::serve::compress;

/// Pieces that wait for a slow client: more than any page has.
const PIECES_WAITING: usize = 1 << 16;

/// An answer whose text is to be [pushed](Pieces::push).
pub(super) fn begin(request: &HeaderMap, content_type: &'static str) -> (Response, Pieces) {
    let encoding = compress::wanted(request);
    let (sender, stream) = body::stream(PIECES_WAITING);
    let pieces = Pieces {
        packer: Packer::new(encoding),
        sender,
        packing: Duration::ZERO,
    };
    (packer::response(stream, encoding, content_type), pieces)
}

/// The maker's end of an answer. Dropped before [`finish`](Self::finish), the answer is cut off.
#[derive(Debug)]
pub(super) struct Pieces {
    packer: Packer,
    sender: BodySender,
    packing: Duration,
}

impl Pieces {
    /// Takes the next piece of the text, and leaves `text` empty. False if nobody wants more.
    pub(super) fn push(&mut self, text: &mut Vec<u8>) -> bool {
        let begun = self.packer.works().then(Instant::now);
        let packed = self.packer.push(text);
        self.packing += begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        packed.is_ok_and(|piece| self.send(piece))
    }

    /// Sends what is left. To be [finished](Self::finish) then.
    pub(super) fn end(&mut self) {
        let begun = self.packer.works().then(Instant::now);
        let rest = self.packer.end().unwrap_or_default();
        self.packing += begun.map_or(Duration::ZERO, |begun| begun.elapsed());
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
        match piece.is_empty() {
            true => !self.sender.is_gone(),
            false => self.sender.send_blocking(piece).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};
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
    async fn nothing_is_made_for_a_client_that_has_gone() {
        let (response, pieces) = begin(&HeaderMap::new(), "text/plain");
        let push = |mut pieces: Pieces| {
            tokio::task::spawn_blocking(move || (pieces.push(&mut LINE.into()), pieces))
        };
        let (goes_on, pieces) = push(pieces).await.unwrap();
        assert!(goes_on);
        drop(response);
        assert!(!push(pieces).await.unwrap().0);
    }
}
