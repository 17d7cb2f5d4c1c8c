//! JSON as Go's `encoding/json` writes it, where a reader can tell the difference.
//!
//! Go escapes `<`, `>`, `&` (so that the text may stand in HTML) and U+2028, U+2029 (so that it
//! may stand in a script) as `\u003c` and so on, `\b` and `\f` by name, other control characters
//! as `\u00xx`, and DEL not at all. Its floats have no `.0`, and an exponent below 1e-6 and from
//! 1e21. Field order, omitted fields and `null` for empty are the business of the types.
//!
//! `serde_json` writes the same but for those. It looks at each byte of each key for something to escape,
//! and two thirds of an answer are keys; and it searches for the shortest digits of each figure of pressure,
//! which has two. Without these a large answer takes half the time, so the text is made here.

mod number;
mod text;
mod writer;

use bytes::Bytes;
use serde::Serialize;

use self::writer::Writer;

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
    value.serialize(Writer(out))
}

#[cfg(test)]
mod tests;
