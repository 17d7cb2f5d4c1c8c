//! Numbers as Go prints them.

use std::fmt::{Display, LowerExp};
use std::io::Write as _;

/// Appends a whole number.
pub(super) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the shortest digits that read back as the same number, which is what Go does, too. What is no
/// number is `null`.
pub(super) fn float<F>(out: &mut Vec<u8>, value: F)
where
    F: zmij::Float + Display + LowerExp + Into<f64> + Copy,
{
    let size = value.into().abs();
    if !size.is_finite() {
        out.extend_from_slice(b"null");
    } else if size == 0.0 || (1e-4..1e15).contains(&size) {
        let mut digits = zmij::Buffer::new();
        let digits = digits.format_finite(value);
        let digits = digits.strip_suffix(".0").unwrap_or(digits);
        out.extend_from_slice(digits.as_bytes());
    } else {
        extreme(out, value, size);
    }
}

/// One so small or large that it may need an exponent.
fn extreme<F: Display + LowerExp>(out: &mut Vec<u8>, value: F, size: f64) {
    // Nothing fails that is written to memory.
    if (1e-6..1e21).contains(&size) {
        let _ = write!(out, "{value}");
        return;
    }
    // Rust writes 1e21, Go 1e+21; below, both write 1e-7.
    let text = format!("{value:e}");
    let _ = match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => write!(out, "{digits}e+{power}"),
        _ => write!(out, "{text}"),
    };
}
