//! Value syntaxes: what may stand behind `=` in a flag, a variable or the file. Pure.
//!
//! A parser that fails says what it wants, worded to go after `"x" is not`: `a duration …`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Listen;
use crate::runtime::{Ask, Endpoint};
use crate::units::NS_PER_SEC;

const DURATION: &str = "a duration: give a number and a unit, such as 500ms, 10s or 1m30s";

/// A duration as Go spells it (`1h15m30.5s`, `100ms`, `0`), in nanoseconds; may be negative.
pub fn signed_duration_ns(text: &str) -> Result<i128, String> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DURATION.to_owned());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        total = total
            .checked_add(part_ns(number, unit).ok_or(DURATION)?)
            .ok_or(DURATION)?;
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

/// One number with its unit, in nanoseconds. Exact: no floating point.
fn part_ns(number: &str, unit: &str) -> Option<i128> {
    let unit_ns: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut ns = whole.checked_mul(unit_ns)?;
    let mut weight = unit_ns;
    for digit in fraction.chars() {
        weight /= 10;
        ns = ns.checked_add(i128::from(digit.to_digit(10)?) * weight)?;
    }
    Some(ns)
}

/// A duration of at least zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let ns = u64::try_from(signed_duration_ns(text)?)
        .map_err(|_| format!("{DURATION}; not negative, at most 584 years"))?;
    Ok(Duration::from_nanos(ns))
}

/// A duration in Go's spelling, as `--help` and messages show it: `1m30s`.
pub fn show_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let second = u128::from(NS_PER_SEC);
    if ns == 0 {
        return "0s".to_owned();
    }
    if !ns.is_multiple_of(second) {
        return if ns.is_multiple_of(1_000_000) {
            format!("{}ms", ns / 1_000_000)
        } else {
            format!("{ns}ns")
        };
    }
    let seconds = ns / second;
    let mut text = String::new();
    for (amount, unit) in [
        (seconds / 3600, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ] {
        if amount > 0 {
            text.push_str(&format!("{amount}{unit}"));
        }
    }
    text
}

/// A boolean as Go's flags take it.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

/// A number of bytes: `64MiB`, `64Mi`, `1GB`, `4194304`. Binary and decimal units are what they say.
pub fn size(text: &str) -> Result<u64, String> {
    const WANT: &str = "a size: give a number and a unit, such as 64MiB or 1GB";
    const UNITS: [(&str, u64); 14] = [
        ("", 1),
        ("B", 1),
        ("K", 1_000),
        ("KB", 1_000),
        ("Ki", 1 << 10),
        ("KiB", 1 << 10),
        ("M", 1_000_000),
        ("MB", 1_000_000),
        ("Mi", 1 << 20),
        ("MiB", 1 << 20),
        ("G", 1_000_000_000),
        ("GB", 1_000_000_000),
        ("Gi", 1 << 30),
        ("GiB", 1 << 30),
    ];
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|known| known.0 == unit).ok_or(WANT)?.1;
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    bytes.ok_or_else(|| WANT.to_owned())
}

/// A number of the wanted type, named by `what` when it is not one.
pub fn number<T: FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| what.to_owned())
}

/// A comma-separated list: spaces around items and empty items are dropped.
pub fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `ADDR:PORT`, `:PORT` (all addresses), `localhost:PORT`, or `unix:/path`.
pub fn listen(text: &str) -> Result<Listen, String> {
    const WANT: &str = "an address to listen on: give ADDR:PORT, such as 127.0.0.1:8080 or [::1]:8080, or unix:/path";
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(
                "unix: with the absolute path of a socket, such as unix:/run/cgauge.sock"
                    .to_owned(),
            );
        }
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    let (host, port) = text.rsplit_once(':').ok_or(WANT)?;
    let port: u16 = number(port, WANT)?;
    let ip = match host {
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return text.parse().map(Listen::Tcp).map_err(|_| WANT.to_owned()),
    };
    Ok(Listen::Tcp(SocketAddr::new(ip, port)))
}

/// Where a runtime is asked; empty: it is not. Nothing need be at its usual place.
pub fn ask(text: &str, usual: Ask) -> Result<Ask, String> {
    if text.is_empty() {
        return Ok(Ask::Never);
    }
    let endpoint = Endpoint::parse(text)?;
    if usual.endpoint() == Some(&endpoint) {
        return Ok(usual);
    }
    Ok(Ask::At(endpoint))
}

/// Log directives: a level (`debug`), or a list of `target=level` and levels.
pub fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |level: &str| LEVELS.contains(&level);
    let fits = |part: &str| match part.split_once('=') {
        None => is_level(part),
        Some((target, level)) => {
            is_level(level)
                && !target.is_empty()
                && target
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ":_".contains(c))
        }
    };
    let parts = list(text);
    if parts.is_empty() || !parts.iter().all(|part| fits(part)) {
        return Err(
            "a log level: off, error, warn, info, debug or trace, or target=level,…".to_owned(),
        );
    }
    Ok(parts.join(","))
}

/// The value if it fits, otherwise what is wanted.
pub fn check<T>(value: T, fits: bool, want: &str) -> Result<T, String> {
    if fits {
        Ok(value)
    } else {
        Err(want.to_owned())
    }
}

/// A duration longer than zero.
pub fn positive(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|d| check(d, !d.is_zero(), "a duration longer than 0"))
}

/// An amount of CPU, as Kubernetes writes it: `20m` is a fiftieth of a core, `1.5` one and a half.
pub fn cores(text: &str) -> Result<f64, String> {
    const WANT: &str = "an amount of CPU: thousandths of a core such as 20m, or cores such as 0.02";
    let (digits, unit) = match text.strip_suffix('m') {
        Some(digits) => (digits, 1e-3),
        None => (text, 1.0),
    };
    let cores = number::<f64>(digits, WANT)? * unit;
    check(cores, cores == 0.0 || (1e-6..=1e6).contains(&cores), WANT)
}

/// A jitter factor: as in cAdvisor, a negative one means the default.
pub fn factor(text: &str) -> Result<f64, String> {
    const WANT: &str = "a factor: a number such as 0.5, at most 1000";
    let factor: f64 = number(text, WANT)?;
    let factor = if factor < 0.0 { 1.0 } else { factor };
    check(factor, factor <= 1000.0, WANT)
}

/// A path that is not empty.
pub fn path(text: &str) -> Result<PathBuf, String> {
    check(text.into(), !text.is_empty(), "a path")
}

/// The path of a URL without its last `/`; may be empty.
pub fn url_path(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_graphic() && !"?#%\"<>\\^`{|}".contains(c);
    let fits = text.is_empty() || (text.starts_with('/') && text.chars().all(plain));
    check(
        text.trim_end_matches('/').to_owned(),
        fits,
        "a URL path: start it with / and use plain characters",
    )
}

/// A URL path that is not empty.
pub fn non_empty(text: String) -> Result<String, String> {
    let fits = !text.is_empty();
    check(text, fits, "a URL path such as /metrics")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_as_go_spells_them() {
        for (text, ns) in [
            ("1s", 1_000_000_000),
            ("1m30s", 90_000_000_000),
            ("100ms", 100_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("0", 0),
            ("0s", 0),
            ("-1s", -1_000_000_000),
            ("1h0m0.000000001s", 3_600_000_000_001),
        ] {
            assert_eq!(signed_duration_ns(text).unwrap(), ns, "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "-",
            "1d",
            "1 s",
            "1s ",
            "1..5s",
            ".s",
            "1m-3s",
            "99999999999999999999999999999999999999999h",
        ] {
            assert!(signed_duration_ns(text).is_err(), "{text}");
        }
        assert!(duration("-1s").is_err());
        assert!(duration("9999999999h").is_err());
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for text in ["0s", "1s", "1m", "1m30s", "24h", "1h30m", "100ms", "1ns"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn amounts_of_cpu() {
        for (text, wanted) in [
            ("20m", 0.02),
            ("0", 0.0),
            ("0.5", 0.5),
            ("2", 2.0),
            ("1500m", 1.5),
        ] {
            assert_eq!(cores(text), Ok(wanted), "{text}");
        }
        for text in ["", "m", "1e-9", "-1", "20k", "inf", "nan", "1e30"] {
            assert!(cores(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            (":9000", "0.0.0.0:9000"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:80", "[::1]:80"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("unix:///run/x.sock", "unix:/run/x.sock"),
        ] {
            assert_eq!(listen(text).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            "8080",
            "127.0.0.1",
            "127.0.0.1:99999",
            "example.org:80",
            "::1:80x",
            "unix:",
            "unix:rel",
            "unix:/run/",
            "1.2.3.4:-1",
        ] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn log_filters_do_not_take_a_typo_for_a_target() {
        assert_eq!(log_filter("debug").unwrap(), "debug");
        assert_eq!(
            log_filter("cgauge::source=trace, info").unwrap(),
            "cgauge::source=trace,info"
        );
        for text in ["", "inof", "a=b", "=info", "x[y]=info"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4194304", 4_194_304),
            ("64MiB", 64 << 20),
            ("64Mi", 64 << 20),
            ("1GB", 1_000_000_000),
            ("512K", 512_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1 MiB", "1mb", "1.5G", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_drop_what_is_empty() {
        assert_eq!(list(" a, b,,c"), ["a", "b", "c"]);
        assert!(list("").is_empty());
    }
}
