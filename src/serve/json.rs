//! JSON as Go's `encoding/json` writes it, where a reader can tell the difference.
//!
//! Go escapes `<`, `>`, `&` (so that the text may stand in HTML) and U+2028, U+2029 (so that it
//! may stand in a script) as `\u003c` and so on, `\b` and `\f` by name, other control characters
//! as `\u00xx`, and DEL not at all. Its floats have no `.0`, and an exponent below 1e-6 and from
//! 1e21. Field order, omitted fields and `null` for empty are the business of the types.

use std::io::{self, Write};

use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Compact JSON.
///
/// # Errors
/// Only if the value cannot be JSON at all (a map whose keys are not text).
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, serde_json::Error> {
    let mut out = Vec::with_capacity(1024);
    write(&mut out, value)?;
    Ok(out.into())
}

/// Appends compact JSON to `out`, for answers that are sequences of values.
///
/// # Errors
/// As [`to_bytes`]; what was written of the value then stays in `out`.
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(out, GoFormatter::default()))
}

/// Go's spelling, for a [`Serializer`] of one's own.
#[derive(Debug, Default, Clone)]
pub struct GoFormatter(CompactFormatter);

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Bytes are enough: the first three are ASCII, and E2 80 A8/A9 cannot begin inside
        // another character.
        let bytes = fragment.as_bytes();
        let mut written = 0;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let (escape, len): (&[u8], usize) = match byte {
                b'<' => (b"\\u003c", 1),
                b'>' => (b"\\u003e", 1),
                b'&' => (b"\\u0026", 1),
                0xE2 => match bytes.get(at + 1..at + 3) {
                    Some([0x80, 0xA8]) => (b"\\u2028", 3),
                    Some([0x80, 0xA9]) => (b"\\u2029", 3),
                    _ => (b"", 1),
                },
                _ => (b"", 1),
            };
            if !escape.is_empty() {
                writer.write_all(bytes.get(written..at).unwrap_or_default())?;
                writer.write_all(escape)?;
                written = at + len;
            }
            at += len;
        }
        writer.write_all(bytes.get(written..).unwrap_or_default())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write_float(
            writer,
            value.abs() != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21),
            value,
            value,
        )
    }

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        write_float(
            writer,
            value.abs() != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21),
            value,
            value,
        )
    }
}

/// Shortest digits that read back as the same number: what both Go and Rust print.
fn write_float<W, D, E>(writer: &mut W, exponent: bool, plain: D, scientific: E) -> io::Result<()>
where
    W: ?Sized + Write,
    D: std::fmt::Display,
    E: std::fmt::LowerExp,
{
    if !exponent {
        return write!(writer, "{plain}");
    }
    // Rust writes 1e21, Go 1e+21; below, both write 1e-7.
    let text = format!("{scientific:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => write!(writer, "{digits}e+{power}"),
        _ => writer.write_all(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text<T: Serialize + ?Sized>(value: &T) -> String {
        String::from_utf8(to_bytes(value).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn strings() {
        for (plain, want) in [
            ("", r#""""#),
            (
                "<a href=\"x\">&</a>",
                r#""\u003ca href=\"x\"\u003e\u0026\u003c/a\u003e""#,
            ),
            ("a\u{2028}b\u{2029}", r#""a\u2028b\u2029""#),
            (
                "\u{2027}\u{202a}\u{20ac}\u{e9}",
                "\"\u{2027}\u{202a}\u{20ac}\u{e9}\"",
            ),
            (
                "\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}",
                "\"\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}\"",
            ),
            ("\\/", r#""\\/""#),
        ] {
            assert_eq!(text(plain), want);
        }
        assert_eq!(
            text(&json!({"<k>": ["&"]})),
            r#"{"\u003ck\u003e":["\u0026"]}"#
        );
    }

    #[test]
    fn floats() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.5, "0.5"),
            (1e-6, "0.000001"),
            (9.5e-7, "9.5e-7"),
            (1e-7, "1e-7"),
            (-1e-10, "-1e-10"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            assert_eq!(text(&value), want);
        }
        assert_eq!(text(&0.1_f32), "0.1");
        assert_eq!(text(&f64::NAN), "null"); // Go fails; a whole answer must not, for one number
    }

    #[test]
    fn values_follow_each_other() {
        let mut out = Vec::new();
        write(&mut out, &1).unwrap();
        out.push(b'\n');
        write(&mut out, &json!([null, true])).unwrap();
        assert_eq!(out, b"1\n[null,true]");
    }

    proptest! {
        #[test]
        fn reads_back_as_the_same(s in any::<String>(), tricky in "[<>&\u{2020}-\u{2030}\u{0}-\u{30}]*", f in any::<f64>()) {
            for s in [&s, &tricky] {
                let out = text(s);
                let bare = out.contains(['<', '>', '&', '\u{2028}', '\u{2029}']);
                prop_assert!(!bare);
                prop_assert_eq!(&serde_json::from_str::<String>(&out).unwrap(), s);
            }
            if f.is_finite() {
                prop_assert_eq!(text(&f).parse::<f64>().unwrap().to_bits(), f.to_bits());
            }
        }
    }
}
