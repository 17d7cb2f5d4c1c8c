//! What a request asks: its path and query, decoded; durations and times as Go clients write them.

use std::time::Duration;

use crate::units::Timestamp;

/// Undoes percent encoding. The bytes become text the way container names are printed: what is not
/// UTF-8 as `\xNN`, so that [`ContainerName::from_request`](crate::cgroup::ContainerName::from_request)
/// reads it back. A `%` without two digits stays.
pub(super) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%'
            && let [high, low, tail @ ..] = tail
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            bytes.push(high << 4 | low);
            rest = tail;
        } else {
            bytes.push(first);
        }
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// The parameters of a query. If one is repeated the first wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(raw: &str) -> Self {
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|pair| pair.0 == key)
            .map(|pair| &*pair.1)
    }

    /// All values of a parameter that may be repeated.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.iter().filter(move |pair| pair.0 == key);
        pairs.map(|pair| &*pair.1)
    }

    /// The parameters that are given.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pair| &*pair.0)
    }

    /// A switch; what is no boolean counts as not given.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// A number; what is none counts as not given.
    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.get(key)?.parse().ok()
    }

    /// A time; what is none, and the year 1, count as not given.
    pub(super) fn time(&self, key: &str) -> Option<Timestamp> {
        time(self.get(key)?).ok().flatten()
    }
}

/// Reads an RFC 3339 time. The year 1, which is Go's "no time", is `None`. Times beyond what a
/// [`Timestamp`] can hold become the nearest that it can.
pub(super) fn time(text: &str) -> Result<Option<Timestamp>, jiff::Error> {
    const GO_ZERO_SECONDS: i64 = -62_135_596_800;
    let time: jiff::Timestamp = text.parse()?;
    let ns = time
        .as_nanosecond()
        .clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Ok((time.as_second() != GO_ZERO_SECONDS)
        .then(|| Timestamp(i64::try_from(ns).unwrap_or(i64::MAX))))
}

/// Reads a duration such as `500ms`, `1m30s`, `1.5s` or `0`; a negative one is zero.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("\u{b5}s", 1e-6),
        ("\u{3bc}s", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, tail) = rest.split_at_checked(number)?;
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let factor = UNITS.iter().find(|known| known.0 == unit)?.1;
        seconds += value.parse::<f64>().ok()? * factor;
        if tail.is_empty() {
            return if negative {
                Some(Duration::ZERO)
            } else {
                Duration::try_from_secs_f64(seconds).ok()
            };
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::cgroup::ContainerName;

    #[test]
    fn paths_are_decoded_without_loss() {
        for (path, text) in [
            ("/a%20b", "/a b"),
            ("/a%2Fb", "/a/b"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("/caf%C3%A9", "/caf\u{e9}"),
            ("/a%ffb", "/a\\xffb"),
            ("/dev%5Cx2duuid", "/dev\\x2duuid"),
        ] {
            assert_eq!(percent_decode(path), text, "{path}");
        }
        assert_eq!(
            ContainerName::from_request(&percent_decode("/a%ffb")).as_bytes(),
            b"/a\xffb"
        );
    }

    #[test]
    fn the_first_of_a_repeated_parameter_wins_and_bad_values_are_ignored() {
        let query =
            Query::parse("stream=T&stream=false&max_events=x&oom_events=yes&a+b=c%26d&&flag");
        assert!(query.flag("stream"));
        assert!(!query.flag("oom_events"));
        assert_eq!(query.number("max_events"), None);
        assert_eq!(
            (query.get("a b"), query.get("flag"), query.get("none")),
            (Some("c&d"), Some(""), None)
        );
        let query = Query::parse(
            "start_time=2026-11-22T04%3A48%3A15Z&end_time=0001-01-01T00:00:00Z&x=soon",
        );
        assert_eq!(
            query.time("start_time"),
            Some(Timestamp(1_795_322_895_000_000_000))
        );
        assert_eq!((query.time("end_time"), query.time("x")), (None, None));
    }

    #[test]
    fn times_with_a_zone_and_times_out_of_reach() {
        assert_eq!(
            time("1970-01-01T01:00:00.5+01:00").unwrap(),
            Some(Timestamp(500_000_000))
        );
        assert_eq!(
            time("9000-01-01T00:00:00Z").unwrap(),
            Some(Timestamp(i64::MAX))
        );
        assert!(time("yesterday").is_err());
    }

    #[test]
    fn durations_are_written_as_in_go() {
        let ms = Duration::from_millis;
        for (text, want) in [
            ("0", Some(ms(0))),
            ("0s", Some(ms(0))),
            ("500ms", Some(ms(500))),
            ("1m30s", Some(ms(90_000))),
            ("1.5s", Some(ms(1_500))),
            ("-3s", Some(ms(0))),
            ("2h", Some(ms(7_200_000))),
            ("", None),
            ("5", None),
            ("s", None),
            ("1x", None),
            ("1.2.3s", None),
            ("99999999999999999999999h", None),
        ] {
            assert_eq!(duration(text), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_panics(text in any::<String>()) {
            let query = Query::parse(&text);
            let _ = (query.get(&text), duration(&text), time(&text), percent_decode(&text));
        }

        #[test]
        fn every_name_comes_back(bytes in proptest::collection::vec(any::<u8>(), 1..40)) {
            // What the kernel allows, but for text that reads like an escaped byte.
            prop_assume!(!bytes.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)));
            prop_assume!(bytes != b"." && bytes != b"..");
            let name = ContainerName::root().child(std::os::unix::ffi::OsStrExt::from_bytes(&bytes));
            let raw: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(&ContainerName::from_request(&percent_decode(&raw)), &name);
            // As it was printed, with what must be encoded in a path encoded.
            let printed = name.to_string();
            let printed: String = printed.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(&ContainerName::from_request(&percent_decode(&printed)), &name);
        }
    }
}
