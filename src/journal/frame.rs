//! Pure: the bytes of a segment: a header, then records, each framed and checksummed by itself.
//!
//! ```text
//! header: magic (16) · format version u32 · epoch u64 · first sequence u64 · CRC-32 of all before u32
//! record: marker (4) · payload length u32 · sequence u64 · kind u8 · payload · CRC-32 of all behind the marker u32
//! ```
//!
//! Numbers are little-endian. The marker holds bytes that UTF-8 never has, so that no payload that is
//! text, whatever a container calls itself, can be taken for a record.

use super::Kind;

/// What a segment begins with.
pub const MAGIC: [u8; 16] = *b"cgauge journal\n\0";
/// The format that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// Length of the header.
pub const HEADER_BYTES: usize = 16 + 4 + 8 + 8 + 4;
/// The longest payload.
pub const MAX_PAYLOAD: usize = 256 * 1024;
/// What a record costs beside its payload.
pub const FRAME_BYTES: usize = MARKER.len() + FIXED + 4;

const MARKER: [u8; 4] = [0xff, 0x00, 0xfe, 0xa7];
/// Length, sequence, kind.
const FIXED: usize = 4 + 8 + 1;
/// Checking what only looks like a record may cost this many times the length of the segment; a file
/// made to cost more is given up.
const MAX_CHECKING: usize = 64;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Format of what follows.
    pub version: u32,
    /// Token of the series of event numbers: see [`Epoch`](super::Epoch).
    pub epoch: u64,
    /// Sequence of the first record.
    pub first_sequence: u64,
}

impl Header {
    /// As bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.first_sequence.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes);
        header
    }

    /// From the first bytes of a segment; `None` if they are no whole header.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, rest) = bytes.split_at_checked(HEADER_BYTES - 4)?;
        let (crc, _) = rest.split_first_chunk()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let rest = body.strip_prefix(&MAGIC)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (first_sequence, _) = rest.split_first_chunk()?;
        Some(Self {
            version: u32::from_le_bytes(*version),
            epoch: u64::from_le_bytes(*epoch),
            first_sequence: u64::from_le_bytes(*first_sequence),
        })
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number in the journal: grows with each record of whatever kind, over all lives.
    pub sequence: u64,
    /// What the payload is.
    pub kind: Kind,
    /// The payload, as it was appended.
    pub payload: &'a [u8],
}

/// Appends a record to `out`. False, and nothing appended, if the payload is too long.
pub fn encode(sequence: u64, kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(length) = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= MAX_PAYLOAD)
    else {
        return false;
    };
    out.reserve(FRAME_BYTES + payload.len());
    out.extend_from_slice(&MARKER);
    let start = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.push(kind.0);
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
    true
}

/// A stretch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// An intact record.
    Record(Record<'a>),
    /// Bytes that are none: `(offset, length)`.
    Damage(usize, usize),
}

/// The pieces of a segment behind its header, from `offset` on. Behind damage it finds the next
/// intact record by itself.
pub fn pieces(bytes: &[u8], offset: usize) -> Pieces<'_> {
    Pieces {
        bytes,
        offset,
        found: None,
        checking: bytes.len().saturating_mul(MAX_CHECKING),
    }
}

/// See [`pieces`].
#[derive(Debug)]
pub struct Pieces<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// The record behind the damage that was given last, and its length.
    found: Option<(Record<'a>, usize)>,
    /// Bytes that may still be checksummed.
    checking: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if let Some((record, length)) = self.found.take() {
            self.offset += length;
            return Some(Piece::Record(record));
        }
        let start = self.offset;
        if start >= self.bytes.len() {
            return None;
        }
        let mut at = start;
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            if let Some((record, length)) = decode(rest, &mut self.checking) {
                if at == start {
                    self.offset = start + length;
                    return Some(Piece::Record(record));
                }
                self.found = Some((record, length));
                break;
            }
            let next = rest
                .iter()
                .skip(1)
                .position(|byte| *byte == MARKER[0])
                .filter(|_| self.checking > 0);
            match next {
                Some(further) => at += 1 + further,
                None => {
                    at = self.bytes.len();
                    break;
                }
            }
        }
        self.offset = at;
        Some(Piece::Damage(start, at - start))
    }
}

/// The record at the start of `bytes`, and its length.
fn decode<'a>(bytes: &'a [u8], checking: &mut usize) -> Option<(Record<'a>, usize)> {
    let body = bytes.strip_prefix(&MARKER)?;
    let (length, rest) = body.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_PAYLOAD {
        return None;
    }
    let (sequence, rest) = rest.split_first_chunk()?;
    let (&kind, rest) = rest.split_first()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    let (crc, _) = rest.split_first_chunk()?;
    *checking = checking.checked_sub(FIXED + length)?;
    if crc32fast::hash(body.get(..FIXED + length)?) != u32::from_le_bytes(*crc) {
        return None;
    }
    let record = Record {
        sequence: u64::from_le_bytes(*sequence),
        kind: Kind(kind),
        payload,
    };
    Some((record, FRAME_BYTES + length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn encoded(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (sequence, payload) in payloads.iter().enumerate() {
            assert!(encode(sequence as u64, Kind::EVENT, payload, &mut bytes));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn sequences(bytes: &[u8]) -> Vec<u64> {
        pieces(bytes, 0)
            .filter_map(|piece| match piece {
                Piece::Record(record) => Some(record.sequence),
                Piece::Damage(..) => None,
            })
            .collect()
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Bytes of the marker are frequent, so that it appears in payloads.
        let byte = prop_oneof![any::<u8>(), Just(0xff), Just(0), Just(0xfe), Just(0xa7)];
        prop::collection::vec(prop::collection::vec(byte, 0..40), 1..8)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(payloads in payloads()) {
            let (bytes, _) = encoded(&payloads);
            let read: Vec<Vec<u8>> = pieces(&bytes, 0).map(|piece| match piece {
                Piece::Record(record) => record.payload.to_vec(),
                Piece::Damage(..) => panic!("no damage was done"),
            }).collect();
            prop_assert_eq!(read, payloads);
        }

        #[test]
        fn a_cut_loses_only_what_it_cuts(payloads in payloads(), cut in any::<prop::sample::Index>()) {
            let (bytes, ends) = encoded(&payloads);
            let cut = cut.index(bytes.len());
            let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
            prop_assert_eq!(sequences(&bytes[..cut]), (0..whole).collect::<Vec<_>>());
            let torn = cut - ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0);
            let told: usize = pieces(&bytes[..cut], 0).map(|piece| match piece {
                Piece::Record(_) => 0,
                Piece::Damage(_, length) => length,
            }).sum();
            prop_assert_eq!(told, torn);
        }

        #[test]
        fn damage_costs_the_records_it_touches_and_no_others(
            payloads in payloads(),
            from in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 1..50),
        ) {
            let (mut bytes, ends) = encoded(&payloads);
            let from = from.index(bytes.len());
            let to = (from + noise.len()).min(bytes.len());
            let before = bytes.clone();
            bytes[from..to].copy_from_slice(&noise[..to - from]);
            let begins = [0].into_iter().chain(ends.iter().copied());
            let intact: Vec<u64> = begins.zip(&ends).enumerate()
                .filter(|(_, (begin, end))| before[*begin..**end] == bytes[*begin..**end])
                .map(|(sequence, _)| sequence as u64)
                .collect();
            prop_assert_eq!(sequences(&bytes), intact);
            let told: usize = pieces(&bytes, 0).map(|piece| match piece {
                Piece::Record(record) => FRAME_BYTES + record.payload.len(),
                Piece::Damage(_, length) => length,
            }).sum();
            prop_assert_eq!(told, bytes.len(), "every byte is accounted for");
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let told: usize = pieces(&bytes, 0).map(|piece| match piece {
                Piece::Record(record) => FRAME_BYTES + record.payload.len(),
                Piece::Damage(_, length) => length,
            }).sum();
            prop_assert_eq!(told, bytes.len());
            let _ = Header::decode(&bytes);
        }
    }

    #[test]
    fn a_header_comes_back_and_damage_to_it_is_noticed() {
        let header = Header {
            version: VERSION,
            epoch: 7,
            first_sequence: u64::MAX,
        };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for at in 0..HEADER_BYTES {
            bytes[at] ^= 0x10;
            assert_eq!(Header::decode(&bytes), None, "byte {at}");
            bytes[at] ^= 0x10;
            assert_eq!(Header::decode(&bytes[..at]), None);
        }
    }

    #[test]
    fn what_is_made_to_be_slow_is_given_up() {
        // Each marker promises a long payload, the next of them right behind it.
        let mut trap = MARKER.to_vec();
        trap.extend_from_slice(&(100 * 1024_u32).to_le_bytes());
        let bytes = trap.repeat(200 * 1024 / trap.len());
        let before = std::time::Instant::now();
        assert_eq!(
            pieces(&bytes, 0).collect::<Vec<_>>(),
            [Piece::Damage(0, bytes.len())]
        );
        let pieces = &mut pieces(&bytes, 0);
        while pieces.next().is_some() {}
        assert!(pieces.checking < bytes.len(), "{:?}", before.elapsed());
    }

    #[test]
    fn a_payload_that_is_too_long_is_refused() {
        let mut out = Vec::new();
        assert!(!encode(1, Kind::EVENT, &vec![0; MAX_PAYLOAD + 1], &mut out));
        assert!(out.is_empty());
        assert!(encode(1, Kind::EVENT, &vec![0; MAX_PAYLOAD], &mut out));
        assert_eq!(sequences(&out), [1]);
    }
}
