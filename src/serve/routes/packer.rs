//! Text on its way to a client, piece by piece: as it is, or compressed.
//!
//! What is sent as it is is not copied, and its memory comes back when it has been sent.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use parking_lot::Mutex;
use warp::Reply;
use warp::reply::Response;

use crate::serve::body::ChannelBody;
use crate::serve::compress::{self, Encoding, GzipStream};

/// Makes bytes for the wire of text.
#[derive(Debug)]
pub(super) struct Packer(Kind);

#[derive(Debug)]
enum Kind {
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

impl Packer {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self(match encoding {
            Encoding::Identity => Kind::None(Arc::default()),
            Encoding::Gzip => Kind::Gzip(Box::default()),
            Encoding::Zstd => Kind::Zstd(Vec::new()),
        })
    }

    /// Whether it has to work on the text.
    pub(super) fn works(&self) -> bool {
        !matches!(self.0, Kind::None(_))
    }

    /// Takes the next piece of the text, and leaves `text` empty. Gives what is to be sent by now, which may
    /// be nothing.
    ///
    /// # Errors
    /// Only if the compressor is broken.
    pub(super) fn push(&mut self, text: &mut Vec<u8>) -> io::Result<Bytes> {
        match &mut self.0 {
            Kind::None(spare) => {
                let empty = spare.lock().pop();
                let empty = empty.unwrap_or_else(|| Vec::with_capacity(text.capacity()));
                let lent = Lent {
                    text: std::mem::replace(text, empty),
                    spare: Arc::clone(spare),
                };
                Ok(Bytes::from_owner(lent))
            }
            Kind::Gzip(gzip) => {
                let packed = gzip.push(text);
                text.clear();
                packed
            }
            Kind::Zstd(all) => {
                all.append(text);
                Ok(Bytes::new())
            }
        }
    }

    /// What is left to be sent. Nothing may be pushed after it.
    ///
    /// # Errors
    /// Only if the compressor is broken.
    pub(super) fn end(&mut self) -> io::Result<Bytes> {
        match std::mem::replace(&mut self.0, Kind::None(Arc::default())) {
            Kind::None(_) => Ok(Bytes::new()),
            Kind::Gzip(gzip) => gzip.finish(),
            Kind::Zstd(all) => Ok(compress::zstd(&all)),
        }
    }
}

/// An answer that is to be streamed so.
pub(super) fn response(
    stream: ChannelBody,
    encoding: Encoding,
    content_type: &'static str,
) -> Response {
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(name) = encoding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_comes_back_when_its_text_has_been_sent() {
        let mut packer = Packer::new(Encoding::Identity);
        let mut text = b"first".to_vec();
        let at = text.as_ptr();
        let first = packer.push(&mut text).unwrap();
        assert_eq!((&*first, text.len()), (&b"first"[..], 0));
        assert_ne!(text.as_ptr(), at);
        drop(first);
        text.extend_from_slice(b"second");
        let second = packer.push(&mut text).unwrap();
        assert_eq!((&*second, text.as_ptr()), (&b"second"[..], at));
        assert!(packer.end().unwrap().is_empty());
    }
}
