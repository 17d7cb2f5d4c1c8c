//! Numbers as Go prints them.

use std::fmt::{Display, LowerExp};
use std::io::Write as _;

/// Appends a whole number.
pub(super) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a number as [`shortest`] does. Those with no more than two digits behind the point are most: the
/// kernel tells pressure so.
pub(super) fn float(out: &mut Vec<u8>, value: f64) {
    match hundredths(value.abs()) {
        Some(hundredths) => {
            if value.is_sign_negative() {
                out.push(b'-');
            }
            decimal(out, hundredths);
        }
        None => shortest(out, value),
    }
}

/// Appends the shortest digits that read back as the same number, which is what Go does, too. What is no
/// number is `null`.
pub(super) fn shortest<F>(out: &mut Vec<u8>, value: F)
where
    F: zmij::Float + Display + LowerExp + Into<f64> + Copy,
{
    let size = value.into().abs();
    if !size.is_finite() {
        out.extend_from_slice(b"null");
    } else if size == 0.0 || (1e-4..1e12).contains(&size) {
        let mut digits = zmij::Buffer::new();
        let digits = digits.format_finite(value);
        let digits = digits.strip_suffix(".0").unwrap_or(digits);
        out.extend_from_slice(digits.as_bytes());
    } else {
        extreme(out, value, size);
    }
}

/// The number in hundredths, if it has no further digits.
fn hundredths(size: f64) -> Option<u64> {
    let hundredths = (size * 100.0 + 0.5) as u64;
    (size < 1e13 && hundredths as f64 / 100.0 == size).then_some(hundredths)
}

fn decimal(out: &mut Vec<u8>, hundredths: u64) {
    integer(out, hundredths / 100);
    let (tenth, hundredth) = (hundredths / 10 % 10, hundredths % 10);
    let digit = |value: u64| b'0' + value as u8;
    match (tenth, hundredth) {
        (0, 0) => {}
        (_, 0) => out.extend([b'.', digit(tenth)]),
        _ => out.extend([b'.', digit(tenth), digit(hundredth)]),
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
