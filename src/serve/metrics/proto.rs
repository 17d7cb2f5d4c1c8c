//! Prometheus protobuf: `MetricFamily` messages, each after its length.
//!
//! Only the few fields that are needed, written by hand: a message is begun with room for its length,
//! and the length is put in when its end is known. The numbers are those of
//! `proto/io/prometheus/client/metrics.proto`.

use std::fmt::Display;

use super::family::Type;
use super::labels::{Labels, Text};
use crate::units::{NS_PER_SEC, Timestamp};

/// `(field << 3) | wire type`; 0: varint, 1: eight bytes, 2: length and bytes.
mod tag {
    pub(super) const FAMILY_NAME: u8 = 1 << 3 | 2;
    pub(super) const FAMILY_HELP: u8 = 2 << 3 | 2;
    pub(super) const FAMILY_TYPE: u8 = 3 << 3;
    pub(super) const FAMILY_METRIC: u8 = 4 << 3 | 2;
    pub(super) const METRIC_LABEL: u8 = 1 << 3 | 2;
    pub(super) const METRIC_GAUGE: u8 = 2 << 3 | 2;
    pub(super) const METRIC_COUNTER: u8 = 3 << 3 | 2;
    pub(super) const METRIC_TIMESTAMP_MS: u8 = 6 << 3;
    pub(super) const LABEL_NAME: u8 = 1 << 3 | 2;
    pub(super) const LABEL_VALUE: u8 = 2 << 3 | 2;
    /// Of a `Counter` and of a `Gauge`.
    pub(super) const VALUE: u8 = 1 << 3 | 1;
    pub(super) const COUNTER_CREATED: u8 = 3 << 3 | 2;
    pub(super) const TIME_SECONDS: u8 = 1 << 3;
    pub(super) const TIME_NANOS: u8 = 2 << 3;
}

/// Begins a family. Its length goes to where `out` ended before: see [`end_family`].
pub(super) fn begin_family(out: &mut Vec<u8>, name: &str, help: &str, kind: Type) {
    text(out, tag::FAMILY_NAME, name);
    text(out, tag::FAMILY_HELP, help);
    // COUNTER is 0, and the default: but a reader may want to see it.
    out.extend([tag::FAMILY_TYPE, u8::from(kind == Type::Gauge)]);
}

/// Puts the length in front of the family that begins at `at`.
pub(super) fn end_family(out: &mut Vec<u8>, at: usize) {
    let (length, digits) = varint(out.len().saturating_sub(at) as u64);
    out.splice(at..at, length.into_iter().take(digits));
}

/// One metric of a family.
pub(super) fn metric(
    out: &mut Vec<u8>,
    kind: Type,
    base: &Labels,
    labels: &[(&str, &dyn Display)],
    value: f64,
    created: Option<Timestamp>,
    timestamp: Option<Timestamp>,
) {
    message(out, tag::FAMILY_METRIC, |out| {
        out.extend_from_slice(base.proto());
        for (name, value) in labels {
            label(out, name, value);
        }
        let field = match kind {
            Type::Counter => tag::METRIC_COUNTER,
            Type::Gauge => tag::METRIC_GAUGE,
        };
        message(out, field, |out| {
            out.push(tag::VALUE);
            out.extend(value.to_le_bytes());
            if let (Type::Counter, Some(created)) = (kind, created) {
                message(out, tag::COUNTER_CREATED, |out| {
                    let ns = u64::try_from(created.0).unwrap_or(0);
                    number(out, tag::TIME_SECONDS, ns / NS_PER_SEC);
                    number(out, tag::TIME_NANOS, ns % NS_PER_SEC);
                });
            }
        });
        if let Some(time) = timestamp {
            number(
                out,
                tag::METRIC_TIMESTAMP_MS,
                time.as_millis().cast_unsigned(),
            );
        }
    });
}

/// A label of a metric.
pub(super) fn label(out: &mut Vec<u8>, name: &str, value: &dyn Display) {
    message(out, tag::METRIC_LABEL, |out| {
        text(out, tag::LABEL_NAME, name);
        message(out, tag::LABEL_VALUE, |out| Text(out).write(value));
    });
}

fn text(out: &mut Vec<u8>, tag: u8, text: &str) {
    message(out, tag, |out| out.extend_from_slice(text.as_bytes()));
}

fn number(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    let (bytes, digits) = varint(value);
    out.extend(bytes.into_iter().take(digits));
}

/// A field of a length and bytes. Nearly all are shorter than 128 bytes: room is left for one digit
/// of the length, and made where it takes more.
fn message(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend([tag, 0]);
    let at = out.len();
    write(out);
    let (length, digits) = varint((out.len() - at) as u64);
    out.splice(at - 1..at, length.into_iter().take(digits));
}

/// LEB128: the bytes, and how many they are.
fn varint(mut value: u64) -> ([u8; 10], usize) {
    let (mut bytes, mut digits) = ([0; 10], 0);
    for byte in &mut bytes {
        digits += 1;
        *byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, digits)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    /// The tag of a field, by the description of the format.
    fn described(message: &str, field: &str) -> u8 {
        let text = include_str!("../../../proto/io/prometheus/client/metrics.proto");
        let body = text.split(&format!("message {message} {{")).nth(1);
        let line = body
            .and_then(|body| body.split('}').next())
            .and_then(|body| {
                body.lines()
                    .find(|line| line.contains(&format!(" {field} = ")))
            });
        let words: Vec<&str> = line.map_or_else(Vec::new, |line| line.split_whitespace().collect());
        let [_, kind, _, "=", number] = words[..] else {
            panic!("{message} has no {field}");
        };
        let number: u8 = number.trim_end_matches(';').parse().unwrap_or(0);
        let wire_type = match kind {
            "double" => 1,
            "int32" | "int64" | "MetricType" => 0,
            _ => 2,
        };
        number << 3 | wire_type
    }

    #[test]
    fn the_numbers_are_those_of_the_description() {
        for (message, field, tag) in [
            ("MetricFamily", "name", tag::FAMILY_NAME),
            ("MetricFamily", "help", tag::FAMILY_HELP),
            ("MetricFamily", "type", tag::FAMILY_TYPE),
            ("MetricFamily", "metric", tag::FAMILY_METRIC),
            ("Metric", "label", tag::METRIC_LABEL),
            ("Metric", "gauge", tag::METRIC_GAUGE),
            ("Metric", "counter", tag::METRIC_COUNTER),
            ("Metric", "timestamp_ms", tag::METRIC_TIMESTAMP_MS),
            ("LabelPair", "name", tag::LABEL_NAME),
            ("LabelPair", "value", tag::LABEL_VALUE),
            ("Gauge", "value", tag::VALUE),
            ("Counter", "value", tag::VALUE),
            ("Counter", "created_timestamp", tag::COUNTER_CREATED),
            ("Timestamp", "seconds", tag::TIME_SECONDS),
            ("Timestamp", "nanos", tag::TIME_NANOS),
        ] {
            assert_eq!(described(message, field), tag, "{message}.{field}");
        }
    }

    #[test]
    fn varints() {
        for (value, want) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let (bytes, digits) = varint(value);
            assert_eq!(&bytes[..digits], want);
        }
    }

    #[test]
    fn long_messages_move_to_make_room_for_their_length() {
        let mut out = vec![9];
        text(&mut out, tag::FAMILY_NAME, &"x".repeat(200));
        assert_eq!(out[..5], [9, tag::FAMILY_NAME, 200, 1, b'x']);
        assert_eq!(out.len(), 4 + 200);
    }
}
