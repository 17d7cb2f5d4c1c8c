//! One event as one line of text: time, type, container, details. Pure.

use std::fmt::{self, Write};

use serde::Deserialize;

/// An event as the API sends it; what is absent is not shown.
#[derive(Debug, Deserialize)]
pub struct Event {
    #[serde(default)]
    container_name: String,
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    event_type: String,
    #[serde(default)]
    event_data: Data,
    identity: Option<Identity>,
}

/// Who the container is, if a runtime told.
#[derive(Debug, Deserialize)]
struct Identity {
    name: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
}

impl fmt::Display for Identity {
    /// `web`, or `prod/shop/web` in a pod.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.namespace, &self.pod, &self.name];
        let told = parts.into_iter().flatten().filter(|part| !part.is_empty());
        for (number, part) in told.enumerate() {
            let slash = if number == 0 { "" } else { "/" };
            write!(f, "{slash}{}", printable(part))?;
        }
        Ok(())
    }
}

#[derive(Debug, Default, Deserialize)]
struct Data {
    oom: Option<Oom>,
    container_deletion: Option<Deletion>,
}

#[derive(Debug, Deserialize)]
struct Oom {
    pid: Option<i64>,
    process_name: Option<String>,
    constraint: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Deletion {
    exit_code: Option<i64>,
    #[serde(default)]
    while_down: bool,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            container_name,
            timestamp,
            event_type,
            event_data,
            identity,
        } = self;
        let (time, name) = (printable(timestamp), printable(container_name));
        write!(f, "{time}  {:<17}  {name}", printable(event_type))?;
        if let Some(identity) = identity {
            let short = identity.to_string();
            if !short.is_empty() {
                write!(f, "  name={short}")?;
            }
        }
        if let Some(oom) = &event_data.oom {
            if let Some(pid) = oom.pid {
                write!(f, "  pid={pid}")?;
            }
            if let Some(process) = oom.process_name.as_deref().filter(|name| !name.is_empty()) {
                write!(f, "  process={}", printable(process))?;
            }
            if let Some(constraint) = oom.constraint.as_deref().filter(|name| !name.is_empty()) {
                write!(f, "  constraint={}", printable(constraint))?;
            }
        }
        let deletion = event_data.container_deletion.as_ref();
        if deletion.is_some_and(|deletion| deletion.while_down) {
            write!(f, "  while cgauge was not running")?;
        }
        // -1 is the wire's word for an exit code that nobody knows.
        if let Some(code) = deletion
            .and_then(|deletion| deletion.exit_code)
            .filter(|code| *code >= 0)
        {
            write!(f, "  exit_code={code}")?;
        }
        Ok(())
    }
}

/// A line of an answer: an event, word of missed ones, or none of both.
#[derive(Debug, Default, Deserialize)]
pub struct Line {
    /// Where to go on behind it.
    pub position: Option<String>,
    /// Of an event.
    pub id: Option<u64>,
    /// Of word that events are missing.
    pub missed: Option<Missed>,
}

/// Word that events are missing.
#[derive(Debug, Deserialize)]
pub struct Missed {
    #[serde(default)]
    reason: String,
    at_most: Option<u64>,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.reason, self.at_most) {
            ("unknown_position", _) => f.write_str(
                "cgauge does not know what was read before: events may be missing here, or come again",
            ),
            (_, Some(1)) => f.write_str("1 event is missing here: it is not remembered any more"),
            (_, Some(number)) => {
                write!(f, "{number} events or fewer are missing here: they are not remembered any more")
            }
            (reason, None) => write!(f, "events are missing here: {}", printable(reason)),
        }
    }
}

/// The text with control characters escaped: names come from whoever makes a cgroup, and must
/// neither break the line nor drive the terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(json: &str) -> String {
        serde_json::from_str::<Event>(json).unwrap().to_string()
    }

    #[test]
    fn each_type_of_event() {
        for (json, want) in [
            (
                r#"{"container_name":"/a/b","timestamp":"2026-11-22T04:45:13.4Z","event_type":"oomKill",
                    "event_data":{"oom":{"pid":42,"process_name":"sleep 1","constraint":"CONSTRAINT_MEMCG"}}}"#,
                "2026-11-22T04:45:13.4Z  oomKill            /a/b  pid=42  process=sleep 1  constraint=CONSTRAINT_MEMCG",
            ),
            (
                r#"{"container_name":"/a","timestamp":"T","event_type":"containerDeletion",
                    "event_data":{"container_deletion":{"exit_code":-1}}}"#,
                "T  containerDeletion  /a",
            ),
            (
                r#"{"container_name":"/a","timestamp":"T","event_type":"containerDeletion",
                    "event_data":{"container_deletion":{"exit_code":137,"while_down":true}},"more":1}"#,
                "T  containerDeletion  /a  while cgauge was not running  exit_code=137",
            ),
            (
                r#"{"container_name":"/","timestamp":"T","event_type":"oom"}"#,
                "T  oom                /",
            ),
            (
                r#"{"container_name":"/docker/ab","timestamp":"T","event_type":"containerDeletion",
                    "event_data":{"container_deletion":{"exit_code":3}},
                    "identity":{"name":"web\u0007","id":"ab","image":"busybox:1"}}"#,
                "T  containerDeletion  /docker/ab  name=web\\u{7}  exit_code=3",
            ),
            (
                r#"{"container_name":"/p/ab","timestamp":"T","event_type":"containerCreation",
                    "identity":{"name":"web","id":"ab","pod":"shop","namespace":"prod"}}"#,
                "T  containerCreation  /p/ab  name=prod/shop/web",
            ),
            (
                r#"{"container_name":"/ab","timestamp":"T","event_type":"containerCreation","identity":{"id":"ab"}}"#,
                "T  containerCreation  /ab",
            ),
        ] {
            assert_eq!(line(json), want);
        }
    }

    #[test]
    fn names_cannot_break_the_line_or_drive_the_terminal() {
        let text =
            line(r#"{"container_name":"/a\n\u001b[2J\u009b","timestamp":"T","event_type":"oom"}"#);
        assert_eq!(text, "T  oom                /a\\n\\u{1b}[2J\\u{9b}");
    }
}
