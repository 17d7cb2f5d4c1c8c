//! Text between quotes.

use std::fmt;

/// Appends `text` in quotes.
pub(super) fn quoted(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends `value` in quotes, as it prints itself.
pub(super) fn displayed<T: fmt::Display + ?Sized>(out: &mut Vec<u8>, value: &T) -> fmt::Result {
    out.push(b'"');
    fmt::write(&mut Escaped(out), format_args!("{value}"))?;
    out.push(b'"');
    Ok(())
}

/// Text that comes in parts.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        escaped(self.0, part);
        Ok(())
    }
}

fn escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(plain) = rest.iter().position(|&byte| is_special(byte)) {
        let (before, special) = rest.split_at(plain);
        out.extend_from_slice(before);
        let taken = escape(out, special);
        rest = special.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Bytes are enough: all but the last are ASCII, and E2 begins a character and nothing else.
fn is_special(byte: u8) -> bool {
    matches!(byte, 0..=0x1F | b'"' | b'\\' | b'<' | b'>' | b'&' | 0xE2)
}

/// Appends the first character of `text`, which is special. Gives the bytes of it.
fn escape(out: &mut Vec<u8>, text: &[u8]) -> usize {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let short = match *text {
        [0xE2, 0x80, last @ (0xA8 | 0xA9), ..] => {
            out.extend_from_slice(b"\\u202");
            out.push(if last == 0xA8 { b'8' } else { b'9' });
            return 3;
        }
        [byte @ 0xE2, ..] => {
            out.push(byte);
            return 1;
        }
        [byte @ (b'"' | b'\\'), ..] => byte,
        [0x08, ..] => b'b',
        [0x0C, ..] => b'f',
        [b'\n', ..] => b'n',
        [b'\r', ..] => b'r',
        [b'\t', ..] => b't',
        [byte, ..] => {
            let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
            out.extend_from_slice(b"\\u00");
            out.extend([digit(byte >> 4), digit(byte & 0xF)]);
            return 1;
        }
        [] => return 0,
    };
    out.extend([b'\\', short]);
    1
}
