//! The text format 0.0.4: headers once for a family, then its samples.

use std::fmt::Display;

use super::family::{Family, Value};
use super::labels::Labels;
use crate::units::NS_PER_SEC;

/// Writes the samples of one family, its header before the first.
pub(super) struct Emit<'a> {
    out: &'a mut Vec<u8>,
    family: &'a Family,
    begun: bool,
    base: &'a Labels,
}

impl<'a> Emit<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, family: &'a Family, none: &'a Labels) -> Self {
        Self {
            out,
            family,
            begun: false,
            base: none,
        }
    }

    /// Samples from here on have the labels of `base`.
    pub(super) fn of(&mut self, base: &'a Labels) {
        self.base = base;
    }

    /// One sample, unless there is no value. `labels` beyond those of the base, sorted by name.
    pub(super) fn sample(&mut self, labels: &[(&str, &dyn Display)], value: Option<Value>) {
        let Some(value) = value else { return };
        if !self.begun {
            self.begun = true;
            self.header();
        }
        self.out.extend_from_slice(self.family.name.as_bytes());
        let before = self.out.len();
        self.out.push(b'{');
        self.base.write(self.out, labels);
        if self.out.len() == before + 1 {
            self.out.truncate(before);
        } else {
            self.out.push(b'}');
        }
        self.out.push(b' ');
        write_value(self.out, value);
        self.out.push(b'\n');
    }

    fn header(&mut self) {
        let Family {
            name, help, kind, ..
        } = self.family;
        for part in [
            "# HELP ",
            name,
            " ",
            help,
            "\n# TYPE ",
            name,
            " ",
            kind.as_str(),
            "\n",
        ] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }
}

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
