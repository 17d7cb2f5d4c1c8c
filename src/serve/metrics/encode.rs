//! Samples become bytes, straight into the buffer of the answer: a header once for a family, then its
//! samples. Nothing is allocated for a sample.

use std::fmt::Display;

use super::family::{Family, Type, Value};
use super::format::Format;
use super::labels::Labels;
use super::page::Container;
use super::proto;
use crate::units::{NS_PER_SEC, Timestamp};

/// How the samples of a page are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) format: Format,
    /// Whether figures carry the time at which they were read.
    pub(super) timestamps: bool,
    /// Whether counters carry the time since which they count.
    pub(super) created: bool,
}

/// Writes the samples of one family, its header before the first.
pub(super) struct Emit<'a> {
    out: &'a mut Vec<u8>,
    style: Style,
    family: &'a Family,
    /// Where the family begins in `out`, once it has.
    begun: Option<usize>,
    base: &'a Labels,
    timestamp: Option<Timestamp>,
    created: Option<Timestamp>,
    series: u64,
    /// Only count.
    dry: bool,
}

impl<'a> Emit<'a> {
    pub(super) fn new(
        out: &'a mut Vec<u8>,
        style: Style,
        family: &'a Family,
        none: &'a Labels,
    ) -> Self {
        Self {
            out,
            style,
            family,
            begun: None,
            base: none,
            timestamp: None,
            created: None,
            series: 0,
            dry: false,
        }
    }

    /// One that writes nothing, and counts.
    pub(super) fn dry(mut self) -> Self {
        self.dry = true;
        self
    }

    /// Samples from here on have the labels of `base`.
    pub(super) fn of(&mut self, base: &'a Labels) {
        self.base = base;
    }

    /// Samples from here on are of `container`.
    pub(super) fn of_container(&mut self, container: &'a Container) {
        self.base = &container.labels.base;
        self.timestamp =
            (self.style.timestamps && self.family.sampled).then_some(container.sample.timestamp);
        self.created = container.created_at;
    }

    /// One sample, unless there is no value. `labels` beyond those of the base, sorted by name.
    pub(super) fn sample(&mut self, labels: &[(&str, &dyn Display)], value: Option<Value>) {
        let Some(value) = value else { return };
        self.series += 1;
        if self.dry {
            return;
        }
        if self.begun.is_none() {
            self.begun = Some(self.out.len());
            self.header();
        }
        match self.style.format {
            Format::Text => {
                self.line("", labels, |out| write_value(out, value));
                if let Some(time) = self.timestamp {
                    self.out.push(b' ');
                    let mut buffer = itoa::Buffer::new();
                    self.out
                        .extend_from_slice(buffer.format(time.as_millis()).as_bytes());
                }
                self.out.push(b'\n');
            }
            Format::OpenMetrics => {
                self.line("", labels, |out| write_value(out, value));
                if let Some(time) = self.timestamp {
                    self.out.push(b' ');
                    write_time(self.out, time);
                }
                self.out.push(b'\n');
                if let Some(created) = self.created
                    && self.style.created
                    && self.family.r#type == Type::Counter
                    && self.family.name.ends_with(TOTAL)
                {
                    self.line("_created", labels, |out| write_time(out, created));
                    self.out.push(b'\n');
                }
            }
            Format::Protobuf => proto::metric(
                self.out,
                self.family.r#type,
                self.base,
                labels,
                as_float(value),
                self.created,
                self.timestamp,
            ),
        }
    }

    /// Passes on what is written once it is a whole piece. Not within a family of protobuf, whose length
    /// comes first. False to stop.
    pub(super) fn pass_on(&mut self, to: &mut dyn FnMut(&mut Vec<u8>) -> bool) -> bool {
        let may = self.style.format != Format::Protobuf && self.out.len() >= PIECE_BYTES;
        !may || to(self.out)
    }

    /// Ends the family.
    pub(super) fn finish(self) -> u64 {
        if let (Some(at), Format::Protobuf) = (self.begun, self.style.format) {
            proto::end_family(self.out, at);
        }
        self.series
    }

    /// Name, labels and value of a line. With a suffix, in place of `_total`.
    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &dyn Display)],
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let name = self.family.name;
        let name = match suffix {
            "" => name,
            _ => name.strip_suffix(TOTAL).unwrap_or(name),
        };
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        let before = self.out.len();
        self.out.push(b'{');
        self.base.write(self.out, labels);
        if self.out.len() == before + 1 {
            self.out.truncate(before);
        } else {
            self.out.push(b'}');
        }
        self.out.push(b' ');
        value(self.out);
    }

    fn header(&mut self) {
        let &Family {
            name, help, r#type, ..
        } = self.family;
        let (name, kind) = match (self.style.format, r#type) {
            (Format::Protobuf, _) => return proto::begin_family(self.out, name, help, r#type),
            (Format::OpenMetrics, Type::Counter) => match name.strip_suffix(TOTAL) {
                Some(name) => (name, "counter"),
                // A counter under a name that OpenMetrics does not allow for one.
                None => (name, "unknown"),
            },
            _ => (name, r#type.as_str()),
        };
        for part in [
            "# HELP ",
            name,
            " ",
            help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }
}

/// Bytes of a page that are passed on at once, or somewhat more.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// What the names of counters end with.
const TOTAL: &str = "_total";

fn write_value(out: &mut Vec<u8>, value: Value) {
    let mut buffer = itoa::Buffer::new();
    match value {
        Value::Count(count) => out.extend_from_slice(buffer.format(count).as_bytes()),
        Value::Signed(number) => out.extend_from_slice(buffer.format(number).as_bytes()),
        Value::Nanos(ns) => {
            out.extend_from_slice(buffer.format(ns / NS_PER_SEC).as_bytes());
            let mut fraction = ns % NS_PER_SEC;
            if fraction == 0 {
                return;
            }
            let mut digits = [b'0'; 9];
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(fraction % 10).unwrap_or(0);
                fraction /= 10;
            }
            let significant = digits
                .iter()
                .rposition(|&digit| digit != b'0')
                .map_or(0, |last| last + 1);
            out.push(b'.');
            out.extend_from_slice(digits.get(..significant).unwrap_or_default());
        }
    }
}

/// Seconds since the epoch. A clock before it is as good as at it.
fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    write_value(out, Value::Nanos(u64::try_from(time.0).unwrap_or(0)));
}

fn as_float(value: Value) -> f64 {
    match value {
        Value::Count(count) => count as f64,
        Value::Signed(number) => number as f64,
        Value::Nanos(ns) => ns as f64 / NS_PER_SEC as f64,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_exact() {
        let text = |value| {
            let mut out = Vec::new();
            write_value(&mut out, value);
            String::from_utf8(out).unwrap()
        };
        for (value, want) in [
            (Value::Count(u64::MAX), "18446744073709551615"),
            (Value::Signed(-1), "-1"),
            (Value::Nanos(0), "0"),
            (Value::Nanos(1), "0.000000001"),
            (Value::Nanos(1_500_000_000), "1.5"),
            (Value::Nanos(10_000_000_000), "10"),
            (Value::Nanos(969_963_421), "0.969963421"),
            (Value::Nanos(u64::MAX), "18446744073.709551615"),
        ] {
            assert_eq!(text(value), want);
        }
    }
}
