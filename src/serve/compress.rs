//! gzip and zstd: whether the client wants it (RFC 9110, 12.5.3), whether it is worth it, doing it.
//!
//! The level of gzip is 2, measured with zlib-rs on a 24 MB page: level 1 took 29 ms to 2.8 MB,
//! level 2 43 ms to 1.9 MB, level 6 276 ms to 1.8 MB. zstd is for those who ask for it before gzip:
//! the compressor that needs no C compiler takes twice as long (117 ms for 13.7 MB, gzip 57 ms) to
//! a page a sixth larger.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, VARY,
};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// Answers below this many bytes go as they are: they fit into one packet either way.
pub const MIN_BYTES: usize = 1400;

/// The level; see the top of the file.
const LEVEL: u32 = 2;

/// How an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Encoding {
    /// Its name in `Content-Encoding`, where there is to be one.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Chooses from the value of `Accept-Encoding`; `None` is a request without the header.
///
/// What is liked best: gzip among equals, and identity only if it is liked better. A client that
/// rules out all gets identity: an answer that it may fail to read is better than none.
pub fn negotiate(accept_encoding: Option<&str>) -> Encoding {
    let (mut gzip, mut zstd, mut identity, mut any) = (None, None, None, None);
    for item in accept_encoding.unwrap_or("").split(',') {
        let mut parts = item.split(';');
        let coding = parts.next().unwrap_or("").trim();
        let weight = parts.find_map(quality).unwrap_or(1000);
        let slot = match coding {
            c if c.eq_ignore_ascii_case("gzip") || c.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            c if c.eq_ignore_ascii_case("zstd") => &mut zstd,
            c if c.eq_ignore_ascii_case("identity") => &mut identity,
            "*" => &mut any,
            _ => continue,
        };
        // Named twice: the last word counts, as with any repeated parameter.
        *slot = Some(weight);
    }
    let gzip = gzip.or(any).unwrap_or(0);
    // Not named, identity is acceptable, but less than anything that is named.
    let identity = identity.unwrap_or(0);
    let zstd = zstd.unwrap_or(0);
    if gzip > 0 && gzip >= identity && gzip >= zstd {
        Encoding::Gzip
    } else if zstd > 0 && zstd >= identity {
        Encoding::Zstd
    } else {
        Encoding::Identity
    }
}

/// The weight of a `q=` parameter in thousandths. One that is no number makes the coding
/// unacceptable: identity is the safe reading.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().unwrap_or(0.0);
    // NaN becomes 0.
    Some((value.clamp(0.0, 1.0) * 1000.0).round() as u16)
}

/// [`negotiate`] on a request's headers, several `Accept-Encoding` lines being one list.
pub fn wanted(request: &HeaderMap) -> Encoding {
    let mut lines = request
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok());
    match (lines.next(), lines.next()) {
        (first, None) => negotiate(first),
        (first, second) => {
            let all: Vec<&str> = first.into_iter().chain(second).chain(lines).collect();
            negotiate(Some(&all.join(",")))
        }
    }
}

/// Compresses a whole answer. CPU work of about 2 ms per MB: do it where the page is made.
pub fn gzip(plain: &[u8]) -> Bytes {
    // Text of this kind shrinks to a tenth.
    let out = Vec::with_capacity(plain.len() / 8 + 64);
    let mut encoder = GzEncoder::new(out, Compression::new(LEVEL));
    // Writing into a Vec cannot fail; were it to, the empty page would be seen at once.
    let done = encoder.write_all(plain).and_then(|()| encoder.finish());
    debug_assert!(done.is_ok());
    done.map(Bytes::from).unwrap_or_default()
}

/// The same as a frame of zstd, in twice the time.
pub fn zstd(plain: &[u8]) -> Bytes {
    Bytes::from(compress_to_vec(plain, CompressionLevel::Fastest))
}

/// Encodes a whole answer as `wanted`, if it is large enough, and sets the headers that go with
/// it. `Vary` is set either way: a cache must know that the answer depends on the question.
pub fn apply(wanted: Encoding, headers: &mut HeaderMap, plain: Bytes) -> Bytes {
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(name) = wanted.name() else {
        return plain;
    };
    if plain.len() < MIN_BYTES || headers.contains_key(CONTENT_ENCODING) {
        return plain;
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    headers.remove(CONTENT_LENGTH);
    match wanted {
        Encoding::Zstd => zstd(&plain),
        _ => gzip(&plain),
    }
}

/// gzip of an answer that is made piece by piece. Each piece can be read by the client as soon
/// as it has arrived.
#[derive(Debug)]
pub struct GzipStream(GzEncoder<Vec<u8>>);

impl Default for GzipStream {
    fn default() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::new(LEVEL)))
    }
}

impl GzipStream {
    /// Compresses the next piece.
    ///
    /// # Errors
    /// Only if the compressor is broken.
    pub fn push(&mut self, plain: &[u8]) -> io::Result<Bytes> {
        self.0.write_all(plain)?;
        self.0.flush()?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }

    /// The last bytes; without them the client sees a truncated answer.
    ///
    /// # Errors
    /// Only if the compressor is broken.
    pub fn finish(self) -> io::Result<Bytes> {
        self.0.finish().map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    fn gunzip(bytes: &[u8]) -> String {
        let mut out = String::new();
        GzDecoder::new(bytes).read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn zstd_is_for_those_who_like_it_best_and_reads_back() {
        use std::io::Read;
        assert_eq!(negotiate(Some("zstd, gzip")), Encoding::Gzip);
        assert_eq!(negotiate(Some("zstd, gzip;q=0.5")), Encoding::Zstd);
        assert_eq!(negotiate(Some("zstd")), Encoding::Zstd);
        assert_eq!(negotiate(Some("zstd;q=0")), Encoding::Identity);
        assert_eq!(negotiate(Some("zstd;q=0.2, identity")), Encoding::Identity);
        let plain = Bytes::from("container_last_seen{id=\"/a\"} 1\n".repeat(1_000));
        let mut headers = HeaderMap::new();
        let packed = apply(Encoding::Zstd, &mut headers, plain.clone());
        assert_eq!(headers[CONTENT_ENCODING], "zstd");
        let mut read = Vec::new();
        let decoder = ruzstd::decoding::StreamingDecoder::new(&packed[..]);
        decoder
            .expect("a frame")
            .read_to_end(&mut read)
            .expect("whole");
        assert!(packed.len() < plain.len() / 10 && read == plain);
    }

    #[test]
    fn negotiation() {
        use Encoding::{Gzip, Identity};
        for (header, want) in [
            (None, Identity),
            (Some(""), Identity),
            (Some("gzip"), Gzip),
            (Some("GZip"), Gzip),
            (Some("x-gzip"), Gzip),
            (Some("deflate, br"), Identity),
            (Some("deflate, gzip;q=1.0, *;q=0.5"), Gzip),
            (Some("gzip;q=0"), Identity),
            (Some("gzip;q=0.000"), Identity),
            (Some("gzip; Q=0"), Identity),
            (Some("*"), Gzip),
            (Some("*;q=0"), Identity),
            (Some("gzip;q=0, *"), Identity),
            (Some("identity, gzip;q=0.5"), Identity),
            (Some("identity;q=0.5, gzip;q=0.5"), Gzip),
            (Some("identity;q=0"), Identity),
            (Some("identity;q=0, *"), Gzip),
            (Some("identity;q=0, gzip;q=0.001"), Gzip),
            (Some("gzip;q=abc"), Identity),
            (Some("gzip;q=nan"), Identity),
            (Some("gzip;q=7"), Gzip),
            (Some("gzip;level=1;q=0"), Identity),
            (Some(",,;;=,gzip"), Gzip),
            (Some("gzipped"), Identity),
        ] {
            assert_eq!(negotiate(header), want, "{header:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("br"));
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(wanted(&headers), Gzip);
    }

    #[test]
    fn whole_answers() {
        let page = "container_cpu_usage_seconds_total{id=\"/a\"} 1\n".repeat(100);
        let mut headers = HeaderMap::new();
        let out = apply(Encoding::Gzip, &mut headers, page.clone().into());
        assert!(out.len() * 5 < page.len());
        assert_eq!(gunzip(&out), page);
        assert_eq!(headers[CONTENT_ENCODING], "gzip");
        assert_eq!(headers[VARY], "accept-encoding");

        for (wanted, body) in [
            (Encoding::Gzip, "small".to_owned()),
            (Encoding::Identity, page),
        ] {
            let mut headers = HeaderMap::new();
            assert_eq!(apply(wanted, &mut headers, body.clone().into()), body);
            assert!(!headers.contains_key(CONTENT_ENCODING));
            assert_eq!(headers[VARY], "accept-encoding");
        }
        assert_eq!(gunzip(&gzip(b"")), "");
    }

    #[test]
    fn each_piece_can_be_read_when_it_arrives() {
        let mut gz = GzipStream::default();
        let mut got = gz.push(b"first\n").unwrap().to_vec();
        let mut line = [0; 6];
        GzDecoder::new(&got[..]).read_exact(&mut line).unwrap();
        assert_eq!(&line, b"first\n");
        got.extend(gz.push(b"second\n").unwrap());
        got.extend(gz.finish().unwrap());
        assert_eq!(gunzip(&got), "first\nsecond\n");
    }
}
