//! Reading a journal back: every intact record in order, and an account of what was lost.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::frame::{self, HEADER_BYTES, Header, Piece, Record, VERSION};
use super::segment::{self, Segment};
use super::{Epoch, Kind};

/// A file that is longer was not written by cgauge.
const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Losses that are told one by one; beyond, only their sums are.
const MAX_LOSSES: usize = 64;

/// What was lost, where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The last bytes of a segment are no whole record: it was being written when the process, or
    /// the machine, ended.
    #[error("{}: {bytes} bytes at the end, from offset {offset}, are no whole record; they are cut off", .path.display())]
    TornTail {
        /// The segment.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// How much of it there is.
        bytes: u64,
    },
    /// Bytes between intact records, or at the start, are none.
    #[error("{}: {bytes} bytes from offset {offset} are damaged; the records behind them are read", .path.display())]
    Damage {
        /// The segment.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// How much of it there is.
        bytes: u64,
    },
    /// Sequence numbers are missing: a segment is gone, was damaged, or the disk was full for a while.
    #[error("{}: {number} records before record {before} are missing", .path.display())]
    Missing {
        /// The segment that has the next record.
        path: PathBuf,
        /// That record.
        before: u64,
        /// How many are missing.
        number: u64,
    },
    /// A segment cannot be read.
    #[error("{}: cannot be read: {why}", .path.display())]
    Unreadable {
        /// The segment.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A segment has a format that this cgauge does not know. It is kept.
    #[error("{}: has format {version}, and this cgauge reads {VERSION}; it is kept as it is", .path.display())]
    OtherFormat {
        /// The segment.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
}

/// What came of reading a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Intact records.
    pub records: u64,
    /// The segments, oldest first, without those that are not to be touched.
    pub segments: Vec<Segment>,
    /// Highest sequence that is known to have been used.
    pub last_sequence: u64,
    /// The epochs of the segments, oldest first, each once.
    pub epochs: Vec<Epoch>,
    /// Whether the last life ended in order: all that it published is on disk.
    pub ended_in_order: bool,
    /// The record that comes next if none is missing.
    expected: Option<u64>,
    /// Where the last segment must be cut before anything is appended to it; `None` if it cannot be
    /// gone on with.
    pub append_at: Option<u64>,
    /// What was lost; not more than the first few.
    pub losses: Vec<Loss>,
    /// Damaged bytes, all told.
    pub lost_bytes: u64,
    /// Missing records, all told.
    pub lost_records: u64,
    /// Segments of another format, to be put aside.
    pub foreign: Vec<PathBuf>,
}

impl ReadBack {
    fn lose(&mut self, loss: Loss) {
        match &loss {
            Loss::TornTail { bytes, .. } | Loss::Damage { bytes, .. } => self.lost_bytes += bytes,
            Loss::Missing { number, .. } => {
                self.lost_records = self.lost_records.saturating_add(*number);
            }
            Loss::Unreadable { .. } | Loss::OtherFormat { .. } => {}
        }
        if self.losses.len() < MAX_LOSSES {
            self.losses.push(loss);
        }
    }
}

/// Reads all segments in `directory`, giving each intact record to `take`, in the order in which they
/// were written. Changes nothing on disk.
///
/// # Errors
/// Only if the directory cannot be listed. What is wrong with a segment is told in the answer.
pub fn read_back(directory: &Path, take: &mut dyn FnMut(Record<'_>)) -> io::Result<ReadBack> {
    let mut answer = ReadBack::default();
    let mut bytes = Vec::new();
    for mut found in segment::list(directory)? {
        if let Err(error) = load(&found.path, &mut bytes) {
            answer.lose(Loss::Unreadable {
                path: found.path.clone(),
                why: error.to_string(),
            });
            answer.append_at = None;
            answer.ended_in_order = false;
            answer.last_sequence = answer.last_sequence.max(highest_within(&found));
            answer.segments.push(found);
            continue;
        }
        found.bytes = bytes.len() as u64;
        read_segment(&mut answer, found, &bytes, take);
    }
    Ok(answer)
}

fn load(path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    let file = File::open(path)?;
    if file.metadata()?.len() > MAX_SEGMENT_BYTES {
        return Err(io::Error::other("it is longer than any segment"));
    }
    file.take(MAX_SEGMENT_BYTES).read_to_end(bytes).map(drop)
}

fn read_segment(
    answer: &mut ReadBack,
    found: Segment,
    bytes: &[u8],
    take: &mut dyn FnMut(Record<'_>),
) {
    let header = Header::decode(bytes);
    if let Some(header) = header {
        if header.version != VERSION {
            answer.lose(Loss::OtherFormat {
                path: found.path.clone(),
                version: header.version,
            });
            answer.last_sequence = answer.last_sequence.max(highest_within(&found));
            answer.foreign.push(found.path);
            return;
        }
        let epoch = Epoch(header.epoch);
        // The newest is the last.
        answer.epochs.retain(|known| *known != epoch);
        answer.epochs.push(epoch);
    }
    let before = found.first_sequence.saturating_sub(1);
    answer.last_sequence = answer.last_sequence.max(before);
    // Of the oldest segment the name says what should come first.
    answer.expected.get_or_insert(found.first_sequence);
    // Even a segment whose header is damaged may have intact records.
    let mut pieces = frame::pieces(bytes, header.map_or(0, |_| HEADER_BYTES)).peekable();
    answer.append_at = header.map(|_| bytes.len() as u64);
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Damage(offset, length) => {
                let (path, offset) = (found.path.clone(), offset as u64);
                let bytes = length as u64;
                if pieces.peek().is_none() {
                    answer.append_at = header.map(|_| offset);
                    answer.ended_in_order = false;
                    answer.lose(Loss::TornTail {
                        path,
                        offset,
                        bytes,
                    });
                } else {
                    answer.lose(Loss::Damage {
                        path,
                        offset,
                        bytes,
                    });
                }
            }
            Piece::Record(record) => {
                let expected = answer.expected.unwrap_or(record.sequence);
                let Some(number) = record.sequence.checked_sub(expected) else {
                    // A copy of an old segment; all of it has been read.
                    continue;
                };
                if number > 0 {
                    answer.lose(Loss::Missing {
                        path: found.path.clone(),
                        before: record.sequence,
                        number,
                    });
                }
                answer.expected = Some(record.sequence.saturating_add(1));
                answer.last_sequence = answer.last_sequence.max(record.sequence);
                answer.records += 1;
                answer.ended_in_order = record.kind == Kind::ENDED;
                take(record);
            }
        }
    }
    if answer.append_at.is_none() && bytes.len() >= HEADER_BYTES {
        // Its name remains taken.
        answer.last_sequence = answer.last_sequence.max(found.first_sequence);
    }
    answer.segments.push(found);
}

/// A number that no record of a segment exceeds that could not be read.
fn highest_within(segment: &Segment) -> u64 {
    let records = segment.bytes / frame::FRAME_BYTES as u64;
    segment.first_sequence.saturating_add(records)
}

/// Puts a segment of another format out of the way, where a cgauge that knows it can be given it back.
///
/// # Errors
/// Those of `rename(2)`.
pub fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".aside");
    let aside = PathBuf::from(name);
    fs::rename(path, &aside)?;
    Ok(aside)
}
