//! The four shapes of cgroup files, in the words of the kernel's documentation: single value, list,
//! flat keyed, nested keyed. Pure: bytes in, numbers out, nothing allocated, nothing panics.

use crate::units::{Limit, NS_PER_US};

use super::stats::{DeviceNumber, Pressure, Stall};

/// A decimal number that fits into 64 bits, with nothing around it but white space.
///
/// `u64::MAX` itself is not a figure that any counter reaches; it is refused like an overflow.
pub fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (value != u64::MAX).then_some(value)
}

/// A limit: a number, `max`, or `-1` as cgroup v1 writes "none".
pub fn limit(text: &[u8]) -> Option<Limit> {
    match text.trim_ascii() {
        b"max" | b"-1" => Some(Limit::Unlimited),
        digits => number(digits).map(Limit::Max),
    }
}

/// The lines of a file, without their ends and without empty ones.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// The words of a line.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
}

/// The lines `key value` of a flat keyed file. Lines whose value is not a number are passed over:
/// some kernels print negative figures there.
pub fn flat_keyed(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    FlatKeyed { rest: text }
}

/// The largest number of digits that no `u64` is too small for.
const SAFE_DIGITS: usize = 19;

/// Goes over each byte of a flat keyed file once: `memory.stat` is most of what there is to parse.
struct FlatKeyed<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for FlatKeyed<'a> {
    type Item = (&'a [u8], u64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let text = self.rest;
            let mut at = 0;
            while at < text.len() && text[at] != b' ' && text[at] != b'\n' {
                at += 1;
            }
            let key = &text[..at];
            let digits = (at + 1).min(text.len());
            at = digits;
            let mut value: u64 = 0;
            while at < text.len() && text[at].is_ascii_digit() {
                value = value
                    .wrapping_mul(10)
                    .wrapping_add(u64::from(text[at] - b'0'));
                at += 1;
            }
            let plain = (1..=SAFE_DIGITS).contains(&(at - digits))
                && matches!(text.get(at), None | Some(b'\n'))
                && text.get(key.len()) == Some(&b' ');
            if plain {
                self.rest = text.get(at + 1..).unwrap_or_default();
                return Some((key, value));
            }
            // Whatever else there is: a line by itself.
            let end = key.len()
                + text[key.len()..]
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .unwrap_or(text.len() - key.len());
            self.rest = text.get(end + 1..).unwrap_or_default();
            let value = text[..end].get(key.len() + 1..).and_then(number);
            if let Some(value) = value {
                return Some((key, value));
            }
        }
        None
    }
}

/// The pairs `key=value` of one line of a nested keyed file.
pub fn pairs<'a>(
    words: impl Iterator<Item = &'a [u8]>,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    words.filter_map(|word| {
        let equals = word.iter().position(|&byte| byte == b'=')?;
        Some((&word[..equals], &word[equals + 1..]))
    })
}

/// A device number, `major:minor`.
pub fn device(word: &[u8]) -> Option<DeviceNumber> {
    let colon = word.iter().position(|&byte| byte == b':')?;
    Some(DeviceNumber {
        major: u32::try_from(number(&word[..colon])?).ok()?,
        minor: u32::try_from(number(&word[colon + 1..])?).ok()?,
    })
}

/// A percentage with two decimals (`1.23`), in hundredths (123).
fn centi(text: &[u8]) -> Option<u64> {
    let point = text.iter().position(|&byte| byte == b'.')?;
    let (whole, fraction) = (number(&text[..point])?, &text[point + 1..]);
    let [tens, ones] = fraction else { return None };
    let fraction = number(&[*tens, *ones])?;
    whole.checked_mul(100)?.checked_add(fraction)
}

/// A pressure file: lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`, either of
/// which may be missing. False if there was neither.
pub fn pressure(text: &[u8], out: &mut Pressure) -> bool {
    let mut found = false;
    for line in lines(text) {
        let mut words = words(line);
        let stall: &mut Stall = match words.next() {
            Some(b"some") => &mut out.some,
            Some(b"full") => &mut out.full,
            _ => continue,
        };
        for (key, value) in pairs(words) {
            match key {
                b"avg10" => stall.avg10_centi = centi(value),
                b"avg60" => stall.avg60_centi = centi(value),
                b"avg300" => stall.avg300_centi = centi(value),
                b"total" => stall.total_ns = number(value).and_then(microseconds),
                _ => continue,
            }
            found = true;
        }
    }
    found
}

/// Microseconds as nanoseconds, if they fit.
pub fn microseconds(us: u64) -> Option<u64> {
    us.checked_mul(NS_PER_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As plainly as it can be said.
    fn flat_keyed_slowly(text: &[u8]) -> Vec<(&[u8], u64)> {
        lines(text)
            .filter_map(|line| {
                let space = line.iter().position(|&byte| byte == b' ')?;
                Some((&line[..space], number(&line[space + 1..])?))
            })
            .collect()
    }

    proptest::proptest! {
        #[test]
        fn flat_keyed_is_what_its_lines_are(text in "([a-z_]{0,3}[ 0-9]{0,22}[-x\t]?[ \n]{0,2}){0,6}") {
            let found: Vec<_> = flat_keyed(text.as_bytes()).collect();
            proptest::prop_assert_eq!(found, flat_keyed_slowly(text.as_bytes()));
        }
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b" 42\n"), Some(42));
        assert_eq!(number(b"18446744073709551614"), Some(u64::MAX - 1));
        for bad in [
            "",
            " ",
            "-1",
            "+1",
            "1.5",
            "0x10",
            "max",
            "1 2",
            "18446744073709551615",
            "99999999999999999999",
        ] {
            assert_eq!(number(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn unlimited_has_two_spellings() {
        assert_eq!(limit(b"max\n"), Some(Limit::Unlimited));
        assert_eq!(limit(b"-1\n"), Some(Limit::Unlimited));
        assert_eq!(limit(b"100\n"), Some(Limit::Max(100)));
        assert_eq!(limit(b"lots"), None);
    }

    #[test]
    fn flat_keyed_passes_over_what_is_no_number() {
        let text = b"anon 1\nfile -5\n\nbroken\nslab 7\ncut 1";
        let found: Vec<_> = flat_keyed(text).collect();
        assert_eq!(found, [(&b"anon"[..], 1), (b"slab", 7), (b"cut", 1)]);
    }

    #[test]
    fn pressure_with_one_line_or_two() {
        let mut both = Pressure::default();
        assert!(pressure(
            b"some avg10=1.05 avg60=0.20 avg300=100.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
            &mut both
        ));
        assert_eq!(both.some.avg10_centi, Some(105));
        assert_eq!(both.some.avg60_centi, Some(20));
        assert_eq!(both.some.avg300_centi, Some(10_000));
        assert_eq!(both.some.total_ns, Some(7_000));
        assert_eq!(both.full.total_ns, Some(3_000));

        let mut some = Pressure::default();
        assert!(pressure(b"some total=1", &mut some));
        assert_eq!(some.full, Stall::default());
        for odd in [&b"some"[..], b"", b"some avg10", b"full \xff=\xff", b"\n\n"] {
            assert!(!pressure(odd, &mut Pressure::default()), "{odd:?}");
        }
    }

    #[test]
    fn devices_are_two_numbers() {
        assert_eq!(
            device(b"259:3"),
            Some(DeviceNumber {
                major: 259,
                minor: 3
            })
        );
        for bad in ["", ":", "8", "8:", ":0", "8:0:1", "99999999999:0", "Total"] {
            assert_eq!(device(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
