//! A container's life as text for a person. Pure.

use std::fmt::{self, Display, Formatter};

use serde::Deserialize;

use super::event_line::printable;

/// A life as the API sends it; what is absent is not shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Life {
    container: String,
    identity: Option<Identity>,
    started: String,
    preexisting: bool,
    ended: Option<String>,
    exit: Option<Exit>,
    cpu: Cpu,
    memory: Memory,
    io: Io,
    network: Network,
    last_read: Read,
    oom_kills: u64,
    kills: Vec<Kill>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Identity {
    name: Option<String>,
    image: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Exit {
    code: Option<i64>,
    signal: Option<u8>,
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    usage_ns: Option<u64>,
    user_ns: Option<u64>,
    system_ns: Option<u64>,
    periods: Option<u64>,
    throttled_periods: Option<u64>,
    throttled_ns: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    peak_bytes: Option<u64>,
    limit_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Io {
    read_bytes: Option<u64>,
    write_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Read {
    how: String,
    age_ns: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kill {
    when: String,
    container: String,
    limit_of: Option<String>,
    constraint: Option<String>,
    group: bool,
    while_down: bool,
    victim: Option<Victim>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Victim {
    pid: Option<i64>,
    process_name: Option<String>,
    invoked_by: Option<String>,
    anon_rss_bytes: Option<u64>,
    file_rss_bytes: Option<u64>,
    shmem_rss_bytes: Option<u64>,
    memcg_limit_bytes: Option<u64>,
}

/// The life as text: a line with the name, then an indented one for each thing there is to tell.
#[derive(Debug)]
pub struct Text<'a>(pub &'a Life);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let life = self.0;
        writeln!(f, "{}", printable(&life.container))?;
        if let Some(of) = &life.identity {
            let parts = [
                ("", &of.name),
                ("image ", &of.image),
                ("pod ", &of.pod),
                ("namespace ", &of.namespace),
            ];
            let parts = parts
                .into_iter()
                .filter_map(|(what, text)| Some(format!("{what}{}", printable(text.as_deref()?))));
            line(f, "is", &parts.collect::<Vec<_>>().join(", "))?;
        }
        line(f, "ran", &life.ran())?;
        line(f, "ended", &life.end())?;
        if life.oom_kills > 0 {
            line(f, "OOM kills", &life.oom_kills.to_string())?;
            let untold = life.oom_kills.saturating_sub(life.kills.len() as u64);
            if untold > 0 {
                line(f, "", &format!("({untold} older ones are counted only)"))?;
            }
            for kill in &life.kills {
                line(f, "", &kill.text(&life.container))?;
            }
        }
        line(f, "memory", &life.memory.text())?;
        line(f, "CPU", &life.cpu.text())?;
        let io = two("read", life.io.read_bytes, "wrote", life.io.write_bytes);
        line(f, "I/O", &io)?;
        let of = &life.network;
        line(
            f,
            "network",
            &two("received", of.rx_bytes, "sent", of.tx_bytes),
        )?;
        line(f, "figures", &life.finality())
    }
}

/// A line, unless there is nothing to tell.
fn line(f: &mut Formatter<'_>, what: &str, text: &str) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {what:<10} {text}")
}

impl Life {
    fn ran(&self) -> String {
        let started = printable(&self.started);
        let before = if self.preexisting {
            " (before cgauge)"
        } else {
            ""
        };
        let Some(ended) = &self.ended else {
            return format!("since {started}{before}; it is there");
        };
        let lasted = (self.started.parse::<jiff::Timestamp>().ok())
            .zip(ended.parse::<jiff::Timestamp>().ok())
            .map(|(from, to)| to.as_nanosecond().saturating_sub(from.as_nanosecond()))
            .and_then(|lasted| u64::try_from(lasted).ok());
        let lasted = lasted.map_or(String::new(), |lasted| format!(", for {}", time(lasted)));
        format!("{started}{before} to {}{lasted}", printable(ended))
    }

    fn end(&self) -> String {
        let Some(exit) = &self.exit else {
            return match (&self.ended, self.kills.last()) {
                (Some(_), Some(_)) => "how is not known; see its OOM kills".to_owned(),
                (Some(_), None) => "how is not known: no runtime told".to_owned(),
                (None, _) => String::new(),
            };
        };
        let mut parts = Vec::new();
        parts.extend(exit.reason.as_deref().map(printable));
        parts.extend(exit.code.map(|code| format!("exit code {code}")));
        parts.extend(
            exit.signal
                .map(|signal| format!("ended by signal {signal}")),
        );
        parts.join(", ")
    }

    fn finality(&self) -> String {
        let age = self.last_read.age_ns.map(time).unwrap_or_default();
        match (self.last_read.how.as_str(), &self.ended) {
            (_, None) => format!("read {age} ago"),
            ("never", _) => "none: it had gone before it could be read".to_owned(),
            ("empty", _) => "final: read after its last process had left".to_owned(),
            ("exit", _) => "CPU time is final: read when its last process was gone".to_owned(),
            ("exit-records", _) => {
                "CPU time is final but for some milliseconds: from the kernel's records of its processes".to_owned()
            }
            _ => format!("last read {age} before the end was noticed"),
        }
    }
}

impl Memory {
    fn text(&self) -> String {
        match (self.peak_bytes, self.limit_bytes) {
            (Some(peak), Some(limit)) if limit > 0 => format!(
                "peak {} of a limit of {} ({:.0} %)",
                bytes(peak),
                bytes(limit),
                peak as f64 * 100.0 / limit as f64
            ),
            (Some(peak), _) => format!("peak {}, no limit of its own", bytes(peak)),
            (None, Some(limit)) => format!("limit {}", bytes(limit)),
            (None, None) => String::new(),
        }
    }
}

impl Cpu {
    fn text(&self) -> String {
        let Some(usage) = self.usage_ns else {
            return String::new();
        };
        let mut text = time(usage);
        if let (Some(user), Some(system)) = (self.user_ns, self.system_ns) {
            text += &format!(" (user {}, system {})", time(user), time(system));
        }
        if let (Some(periods), Some(throttled)) = (self.periods, self.throttled_periods)
            && throttled > 0
        {
            text += &format!("; throttled in {throttled} of {periods} periods");
            if let Some(lost) = self.throttled_ns {
                text += &format!(", for {}", time(lost));
            }
        }
        text
    }
}

impl Kill {
    fn text(&self, own: &str) -> String {
        let mut text = printable(&self.when);
        let victim = self.victim.as_ref();
        match victim.and_then(|of| of.process_name.as_deref()) {
            Some(name) => text += &format!("  {}", printable(name)),
            None => text += "  a process",
        }
        if let Some(pid) = victim.and_then(|of| of.pid) {
            text += &format!(" (pid {pid})");
        }
        let resident = victim.and_then(|of| {
            [of.anon_rss_bytes, of.file_rss_bytes, of.shmem_rss_bytes]
                .into_iter()
                .flatten()
                .reduce(u64::saturating_add)
        });
        if let Some(resident) = resident {
            text += &format!(", {} resident", bytes(resident));
        }
        if self.container != own {
            text += &format!(", in {}", printable(&self.container));
        }
        text += &self.cause(own);
        if self.group {
            text += ", with others of its group";
        }
        if let Some(by) = victim.and_then(|of| of.invoked_by.as_deref())
            && victim.and_then(|of| of.process_name.as_deref()) != Some(by)
        {
            text += &format!(", asked for by {}", printable(by));
        }
        if self.while_down {
            text += ", while cgauge was not running";
        }
        text
    }

    fn cause(&self, own: &str) -> String {
        let limit = self.victim.as_ref().and_then(|of| of.memcg_limit_bytes);
        let limit = limit.map_or(String::new(), |limit| format!(" ({})", bytes(limit)));
        match (self.constraint.as_deref(), self.limit_of.as_deref()) {
            (Some("CONSTRAINT_CPUSET"), _) => ": the nodes of its cpuset were full".to_owned(),
            (Some("CONSTRAINT_MEMORY_POLICY"), _) => {
                ": the nodes of its memory policy were full".to_owned()
            }
            (_, Some("/")) => ": the machine was out of memory".to_owned(),
            (_, Some(of)) if of == own => format!(": its own limit was hit{limit}"),
            (_, Some(of)) => format!(": the limit of {} was hit{limit}", printable(of)),
            (_, None) => ": the kernel's counter says so, its log does not tell who".to_owned(),
        }
    }
}

fn two(one: &str, first: Option<u64>, other: &str, second: Option<u64>) -> String {
    let parts = [(one, first), (other, second)];
    let parts = parts.into_iter().filter_map(|(what, number)| {
        let number = number.filter(|&number| number > 0)?;
        Some(format!("{what} {}", bytes(number)))
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut shown = number as f64;
    let mut unit = "B";
    for next in UNITS {
        if shown < 1024.0 {
            break;
        }
        shown /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{number} B")
    } else {
        format!("{shown:.1} {unit}")
    }
}

fn time(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    match ns {
        0..1_000_000 => format!("{:.0} µs", seconds * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", seconds * 1e3),
        1_000_000_000..60_000_000_000 => format!("{seconds:.2} s"),
        _ => {
            let whole = ns / 1_000_000_000;
            let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
            match hours {
                0 => format!("{minutes} min {seconds} s"),
                _ => format!("{hours} h {minutes} min"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(json: &str) -> String {
        Text(&serde_json::from_str(json).unwrap()).to_string()
    }

    #[test]
    fn a_life_that_ended_by_an_oom_kill() {
        let told = text(
            r#"{"container":"/pod/a","started":"2026-11-22T04:48:14Z","ended":"2026-11-22T04:49:20.5Z",
                "exit":{"code":137,"signal":9,"reason":"OOMKilled"},"oom_kills":3,
                "cpu":{"usage_ns":1250000000,"user_ns":1000000000,"system_ns":250000000,
                       "periods":10,"throttled_periods":3,"throttled_ns":200000000},
                "memory":{"peak_bytes":25165824,"limit_bytes":25165824},"io":{"read_bytes":1048576},
                "network":{},"last_read":{"how":"poll","age_ns":12000000},
                "kills":[{"when":"T1","container":"/pod/a","limit_of":"/pod","source":"both",
                          "constraint":"CONSTRAINT_MEMCG","victim":{"pid":42,"process_name":"sh",
                          "anon_rss_bytes":1024,"file_rss_bytes":1024,"memcg_limit_bytes":2048}},
                         {"when":"T2","container":"/pod/a","source":"counter"}]}"#,
        );
        let want = "\
/pod/a
  ran        2026-11-22T04:48:14Z to 2026-11-22T04:49:20.5Z, for 1 min 6 s
  ended      OOMKilled, exit code 137, ended by signal 9
  OOM kills  3
             (1 older ones are counted only)
             T1  sh (pid 42), 2.0 KiB resident: the limit of /pod was hit (2.0 KiB)
             T2  a process: the kernel's counter says so, its log does not tell who
  memory     peak 24.0 MiB of a limit of 24.0 MiB (100 %)
  CPU        1.25 s (user 1.00 s, system 250.0 ms); throttled in 3 of 10 periods, for 200.0 ms
  I/O        read 1.0 MiB
  figures    last read 12.0 ms before the end was noticed
";
        assert_eq!(told, want);
    }

    #[test]
    fn a_container_that_is_there_and_one_that_was_too_quick() {
        let told = text(
            r#"{"container":"/a\u001b","started":"T","preexisting":true,"last_read":{"how":"poll","age_ns":5000}}"#,
        );
        assert_eq!(
            told,
            "/a\\u{1b}\n  ran        since T (before cgauge); it is there\n  figures    read 5 µs ago\n"
        );
        let told = text(
            r#"{"container":"/a","started":"T","ended":"U","last_read":{"how":"never"},
                "identity":{"name":"web","image":"nginx:1"}}"#,
        );
        assert!(told.contains("  is         web, image nginx:1\n"), "{told}");
        assert!(told.contains("none: it had gone before"), "{told}");
    }

    #[test]
    fn every_cause_is_told_apart() {
        for (cause, want) in [
            (r#""limit_of":"/""#, "the machine was out of memory"),
            (r#""limit_of":"/a""#, "its own limit was hit"),
            (
                r#""limit_of":"/","constraint":"CONSTRAINT_CPUSET""#,
                "cpuset were full",
            ),
            (
                r#""limit_of":"/","constraint":"CONSTRAINT_MEMORY_POLICY""#,
                "memory policy were full",
            ),
            (
                r#""limit_of":"/a","group":true"#,
                "with others of its group",
            ),
            (r#""while_down":true"#, "while cgauge was not running"),
        ] {
            let told = text(&format!(
                r#"{{"container":"/a","oom_kills":1,"kills":[{{"container":"/a",{cause}}}]}}"#
            ));
            assert!(told.contains(want), "{want}: {told}");
        }
    }
}
