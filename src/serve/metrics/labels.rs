//! Label blocks: `id="/a",name="b"`, sorted by name, prepared once for each container of a scrape.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

use super::proto;

/// Labels that every sample of a container (or of the machine) has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels {
    text: Vec<u8>,
    /// Name of each label, and where its text ends.
    parts: Vec<(Cow<'static, str>, usize)>,
    /// The same as fields of a protobuf `Metric`.
    proto: Vec<u8>,
}

impl Labels {
    /// Adds a label. To be called in the order of names.
    pub(super) fn push(&mut self, name: impl Into<Cow<'static, str>>, value: &dyn Display) {
        let name = name.into();
        debug_assert!(self.parts.last().is_none_or(|last| last.0 < name));
        if !self.parts.is_empty() {
            self.text.push(b',');
        }
        write_label(&mut self.text, &name, value);
        proto::label(&mut self.proto, &name, value);
        self.parts.push((name, self.text.len()));
    }

    /// The block as fields of a protobuf `Metric`.
    pub(super) fn proto(&self) -> &[u8] {
        &self.proto
    }

    /// Writes the block with `more` labels (sorted by name) in their places. Without braces.
    pub(super) fn write(&self, out: &mut Vec<u8>, more: &[(&str, &dyn Display)]) {
        if more.is_empty() {
            out.extend_from_slice(&self.text);
            return;
        }
        debug_assert!(more.is_sorted_by_key(|label| label.0));
        let (mut begin, mut rest, mut first) = (0, self.parts.iter().peekable(), true);
        let mut comma = |out: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
        };
        for (name, value) in more {
            let mut end = begin;
            while let Some((_, ends)) = rest.next_if(|part| part.0.as_ref() < *name) {
                end = *ends;
            }
            if end > begin {
                comma(out);
                out.extend_from_slice(self.text.get(begin..end).unwrap_or_default());
                begin = end + 1;
            }
            comma(out);
            write_label(out, name, value);
        }
        if rest.peek().is_some() {
            comma(out);
            out.extend_from_slice(self.text.get(begin..).unwrap_or_default());
        }
    }
}

fn write_label(out: &mut Vec<u8>, name: &str, value: &dyn Display) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    // Only a `Display` that fails by itself can fail here: into a buffer every write succeeds.
    let _ = write!(Escaped(out), "{value}");
    out.push(b'"');
}

/// Takes text as it is.
pub(super) struct Text<'a>(pub(super) &'a mut Vec<u8>);

impl Text<'_> {
    /// Writes `value`. Only a `Display` that fails by itself can fail here.
    pub(super) fn write(&mut self, value: &dyn Display) {
        let _ = write!(self, "{value}");
    }
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Escapes what the format needs escaped in label values: backslash, quote, newline.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'\n');
        let mut text = text.as_bytes();
        while let Some(at) = text.iter().position(is_special) {
            let (plain, rest) = text.split_at(at);
            self.0.extend_from_slice(plain);
            let (special, rest) = rest.split_at(1);
            self.0.extend_from_slice(match special {
                b"\\" => b"\\\\",
                b"\"" => b"\\\"",
                _ => b"\\n",
            });
            text = rest;
        }
        self.0.extend_from_slice(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(labels: &Labels, more: &[(&str, &dyn Display)]) -> String {
        let mut out = Vec::new();
        labels.write(&mut out, more);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn labels_are_merged_by_name() {
        let mut labels = Labels::default();
        assert_eq!(text(&labels, &[]), "");
        assert_eq!(text(&labels, &[("a", &1), ("b", &2)]), r#"a="1",b="2""#);
        labels.push("id", &"/a");
        labels.push("name", &"b");
        assert_eq!(text(&labels, &[]), r#"id="/a",name="b""#);
        assert_eq!(
            text(
                &labels,
                &[("cpu", &"x"), ("interface", &"y"), ("scope", &"z")]
            ),
            r#"cpu="x",id="/a",interface="y",name="b",scope="z""#
        );
        assert_eq!(text(&labels, &[("zz", &"")]), r#"id="/a",name="b",zz="""#);
    }

    #[test]
    fn only_backslash_quote_and_newline_are_escaped() {
        let mut labels = Labels::default();
        labels.push("id", &"/a\\x2d\"b\"\nc\r\té{}");
        assert_eq!(text(&labels, &[]), "id=\"/a\\\\x2d\\\"b\\\"\\nc\r\té{}\"");
    }
}
