//! One `/dev/kmsg` record: `priority,sequence,microseconds,flags[,...];message\n KEY=value\n...`
//! (kernel: `Documentation/ABI/testing/dev-kmsg`).
//!
//! The line parser is rmesg's ([`rmesg::kmsgfile::entry_from_line`]). Around it we do what it does
//! not (each with a test at the foot of this file):
//!
//! * it drops the flags field, so a fragment that continues the record before it looks like a
//!   record of its own;
//! * it leaves `\xNN` escapes as they are, so a process named `a\nb` would be named `a\x0ab`;
//! * it takes the `KEY=value` lines of a record for further records: only the first line goes to it;
//! * it refuses facilities above 11 (any writer of `/dev/kmsg` may choose one): they are a
//!   [`RecordError`] here, and none of them is the kernel's;
//! * its pattern costs microseconds a line: [`is_kernel`] and [`super::oom::may_matter`] decide
//!   first, by bytes, whether a record is worth it.
//!
//! Its readers are not used at all: they replay the whole log at each start, hang at shutdown, and
//! report overwritten records as text. [`super::kmsg_reader`] reads.

use std::time::Duration;

use thiserror::Error;

/// The longest record that is parsed. The kernel's own bound on one `/dev/kmsg` record is 8192
/// bytes (`CONSOLE_EXT_LOG_MAX`, `PRINTK_MESSAGE_MAX`), escapes included.
pub const MAX_RECORD_BYTES: usize = 8_192;

/// The facility of records that the kernel itself wrote. What a process writes to `/dev/kmsg`
/// can have any facility but this one: the kernel makes it `user` (1).
pub const KERNEL_FACILITY: u32 = 0;

/// Numbers of the severities that share a priority byte with the facility.
const LEVELS: u32 = 8;

/// A kernel log record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who wrote it, as in syslog: 0 is the kernel ([`KERNEL_FACILITY`]), 1 a user process.
    pub facility: u32,
    /// Severity, 0 (emergency) to 7 (debug).
    pub level: u32,
    /// Number of the record since boot; gaps mean overwritten records.
    pub sequence: u64,
    /// printk clock: time since boot without time asleep, close to `CLOCK_MONOTONIC`.
    pub stamp: Duration,
    /// A fragment that belongs to the end of an earlier record (flag `c`, or `+` in 3.x).
    pub continuation: bool,
    /// The text, with `\xNN` escapes decoded; bytes that are not UTF-8 are replaced by U+FFFD.
    pub message: String,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// No `;`, so there is no header: cut off, or not a kernel log at all.
    #[error("kernel log record has no header: no ';' in {0:?}; is this really /dev/kmsg?")]
    NoHeader(String),
    /// Longer than the kernel can write.
    #[error(
        "kernel log record of {0} bytes, more than {MAX_RECORD_BYTES}; is this really /dev/kmsg?"
    )]
    TooLong(usize),
    /// A header field is not what it should be.
    #[error("kernel log record header not understood: {0}")]
    Header(String),
}

impl Record {
    /// Parses one record. What follows the first line (`KEY=value` pairs) is left out.
    ///
    /// # Errors
    /// When the header is not as the kernel writes it; the record is then to be skipped.
    pub fn parse(raw: &[u8]) -> Result<Self, RecordError> {
        let line = raw.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if line.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLong(line.len()));
        }
        let line = String::from_utf8_lossy(line);
        let Some((header, _)) = line.split_once(';') else {
            return Err(RecordError::NoHeader(start_of(&line)));
        };
        let flags = header.split(',').nth(3).unwrap_or_default();
        let entry = rmesg::kmsgfile::entry_from_line(&line)
            .map_err(|_| RecordError::Header(start_of(header)))?;
        let (Some(facility), Some(level), Some(sequence), Some(stamp)) = (
            entry.facility,
            entry.level,
            entry.sequence_num,
            entry.timestamp_from_system_start,
        ) else {
            return Err(RecordError::Header(start_of(header)));
        };
        Ok(Self {
            facility: facility as u32,
            level: level as u32,
            sequence: sequence as u64,
            stamp,
            continuation: flags.contains(['c', '+']),
            message: unescape(&entry.message),
        })
    }
}

/// Whether the priority of a raw record says that the kernel wrote it.
pub fn is_kernel(raw: &[u8]) -> bool {
    let mut priority: u32 = 0;
    for (at, &byte) in raw.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                priority = priority
                    .saturating_mul(10)
                    .saturating_add(u32::from(byte - b'0'));
            }
            b',' if at > 0 => return priority / LEVELS == KERNEL_FACILITY,
            _ => return false,
        }
    }
    false
}

/// The number of a raw record.
pub fn sequence(raw: &[u8]) -> Option<u64> {
    let number = raw.split(|&byte| byte == b',').nth(1)?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Whether a raw record is a fragment that continues an earlier one (see [`Record::continuation`]).
pub fn is_continuation(raw: &[u8]) -> bool {
    raw.split(|&byte| byte == b';')
        .next()
        .and_then(|header| header.split(|&byte| byte == b',').nth(3))
        .is_some_and(|flags| flags.iter().any(|&flag| flag == b'c' || flag == b'+'))
}

/// The text of a raw record: what is after the header, up to the end of its first line.
pub fn raw_message(raw: &[u8]) -> &[u8] {
    let text = raw
        .iter()
        .position(|&byte| byte == b';')
        .and_then(|at| raw.get(at + 1..));
    text.and_then(|text| text.split(|&byte| byte == b'\n').next())
        .unwrap_or_default()
}

/// Decodes `\xNN`. The kernel escapes control characters, bytes above 126 and the backslash
/// itself, so a backslash that starts no such escape stands for itself.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Enough of a text to recognise it in an error message.
fn start_of(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use rmesg::kmsgfile::entry_from_line;

    use super::*;

    #[test]
    fn a_record_with_dictionary() {
        let raw = b"6,378,929745045,-,caller=T12;rss_huge 0; x\n SUBSYSTEM=pci\n DEVICE=+pci:0\n";
        let record = Record::parse(raw).unwrap();
        assert_eq!(record.facility, KERNEL_FACILITY);
        assert_eq!(record.level, 6);
        assert_eq!(record.sequence, 378);
        assert_eq!(record.stamp, Duration::from_micros(929_745_045));
        assert!(!record.continuation);
        assert_eq!(record.message, "rss_huge 0; x");
    }

    #[test]
    fn facility_and_level_share_the_priority() {
        let record = Record::parse(b"12,1,2,-;hello").unwrap();
        assert_eq!((record.facility, record.level), (1, 4));
        assert!(!is_kernel(b"12,1,2,-;hello"));
        assert!(is_kernel(b"7,1,2,-;hello"));
        for odd in [
            &b""[..],
            b",1,2",
            b"x,1",
            b"7",
            b"99999999999999999999,1,2,-;x",
        ] {
            assert!(!is_kernel(odd), "{odd:?}");
        }
    }

    #[test]
    fn flags_escapes_and_dictionary_are_ours_because_rmesg_loses_them() {
        let line = "4,720,10522337,c;a\\x0ab\\x5cc";
        assert_eq!(entry_from_line(line).unwrap().message, "a\\x0ab\\x5cc");
        let record = Record::parse(line.as_bytes()).unwrap();
        assert!(record.continuation, "rmesg's Entry has no field for this");
        assert_eq!(record.message, "a\nb\\c");
        assert!(Record::parse(b"4,720,10522337,+;x").unwrap().continuation);
        assert!(is_continuation(line.as_bytes()));
        assert_eq!(sequence(line.as_bytes()), Some(720));
        assert_eq!(
            (sequence(b"4"), sequence(b"4,x,"), sequence(b"")),
            (None, None, None)
        );
        assert!(!is_continuation(b"4,720,10522337,-,caller=C1;cc"));
        // The dictionary line is a second entry to rmesg.
        assert_eq!(
            entry_from_line(" SUBSYSTEM=pci").unwrap().sequence_num,
            None
        );
    }

    #[test]
    fn rmesg_refuses_facilities_above_11() {
        assert!(entry_from_line("134,1,2,-;local0").is_err());
        let error = Record::parse(b"134,1,2,-;local0").unwrap_err();
        assert_eq!(error, RecordError::Header("134,1,2,-".into()));
    }

    #[test]
    fn escapes_that_are_none_stand_for_themselves() {
        assert_eq!(unescape("\\xZZ \\x4"), "\\xZZ \\x4");
        assert_eq!(unescape("\\xc3\\xa9"), "é");
        assert_eq!(unescape("\\xff"), "\u{fffd}");
        assert_eq!(unescape("\\x5cx41"), "\\x41", "decoded once, not twice");
    }

    #[test]
    fn odd_input_is_an_error() {
        assert!(matches!(Record::parse(b""), Err(RecordError::NoHeader(_))));
        assert!(matches!(
            Record::parse(b"\n6,1,2,-;x"),
            Err(RecordError::NoHeader(_))
        ));
        assert!(matches!(
            Record::parse(b"6,1"),
            Err(RecordError::NoHeader(_))
        ));
        assert!(matches!(Record::parse(b";x"), Err(RecordError::Header(_))));
        assert!(matches!(
            Record::parse(b"6,,2,-;x"),
            Err(RecordError::Header(_))
        ));
        assert!(matches!(
            Record::parse(b"6,-1,2,-;x"),
            Err(RecordError::Header(_))
        ));
        let huge = b"6,99999999999999999999999,2,-;x";
        assert!(matches!(Record::parse(huge), Err(RecordError::Header(_))));
        let long = [&b"6,1,2,-;"[..], &[b'x'; MAX_RECORD_BYTES]].concat();
        assert_eq!(
            Record::parse(&long),
            Err(RecordError::TooLong(MAX_RECORD_BYTES + 8))
        );
    }

    #[test]
    fn the_raw_message_is_the_first_line_after_the_header() {
        assert_eq!(raw_message(b"6,1,2,-;a;b\n KEY=x\n"), b"a;b");
        assert_eq!(raw_message(b"6,1,2,-"), b"");
    }

    proptest! {
        #[test]
        fn never_panics(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (Record::parse(&raw), is_kernel(&raw), is_continuation(&raw), raw_message(&raw).len());
        }

        #[test]
        fn what_the_kernel_escapes_comes_back(text in "\\PC{0,40}[\\x01-\\x1f]{0,3}", sequence: u64, us: u32) {
            let mut raw = format!("4,{sequence},{us},-;").into_bytes();
            for byte in text.bytes() {
                if (32..127).contains(&byte) && byte != b'\\' {
                    raw.push(byte);
                } else {
                    raw.extend(format!("\\x{byte:02x}").bytes());
                }
            }
            let record = Record::parse(&raw).unwrap();
            prop_assert_eq!(record.message, text);
            prop_assert_eq!(record.sequence, sequence);
            prop_assert_eq!(record.stamp, Duration::from_micros(u64::from(us)));
        }
    }
}
