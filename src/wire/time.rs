//! Times as they leave the process: RFC 3339 in UTC, trailing zeros of the fraction left off,
//! such as `2026-11-22T04:48:14.984988206Z` or `2026-11-22T04:48:14Z`.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use crate::units::Timestamp;

/// A time that prints itself.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339(Timestamp);

/// The time in RFC 3339. Every [`Timestamp`] has one: it spans the years 1677 to 2262.
pub fn rfc3339(time: Timestamp) -> Rfc3339 {
    Rfc3339(time)
}

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // jiff leaves trailing zeros off by itself, and its range is larger than ours.
        match jiff::Timestamp::from_nanosecond(i128::from(self.0.0)) {
            Ok(time) => time.fmt(f),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// For `#[serde(serialize_with = "…")]` on a [`Timestamp`] field.
///
/// # Errors
///
/// What the serializer gives.
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    rfc3339(*time).serialize(serializer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn trailing_zeros_are_left_off() {
        let text = |ns| rfc3339(Timestamp(ns)).to_string();
        assert_eq!(
            text(1_795_322_894_984_988_206),
            "2026-11-22T04:48:14.984988206Z"
        );
        assert_eq!(text(1_795_322_894_500_000_000), "2026-11-22T04:48:14.5Z");
        assert_eq!(text(1_795_322_894_000_000_000), "2026-11-22T04:48:14Z");
        assert_eq!(
            text(1_795_322_894_000_000_010),
            "2026-11-22T04:48:14.00000001Z"
        );
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn every_timestamp_has_a_text() {
        for ns in [i64::MIN, i64::MAX, 0] {
            assert!(
                serde_json::to_string(&rfc3339(Timestamp(ns)))
                    .unwrap()
                    .ends_with("Z\"")
            );
        }
    }
}
