//! `ps`: a process.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::node::Process;
use crate::units::{NS_PER_SEC, Timestamp};
use crate::wire::object::objects;
use crate::wire::shared::name::Name;

objects! {
    /// A process, as it is listed of a container or (`true`) of the node, at this time.
    pub struct ProcessInfo<'a>((&'a Process, bool, Timestamp)) |view| {
        "user" => view.0.user.as_deref(),
        "pid" => Some(view.0.pid),
        "parent_pid" => Some(view.0.parent),
        "start_time" => view.0.started.map(|started| Started(started, view.2)),
        "percent_cpu" => view.0.cpu_permille.map(percent),
        "percent_mem" => view.0.memory_permille.map(percent),
        "rss" => Some(view.0.resident_bytes.unwrap_or(0)),
        "virtual_size" => Some(view.0.virtual_bytes),
        "status" => Some(view.0.status.as_str()),
        "running_time" => Some(Running(view.0.cpu_ns)),
        "cgroup_path" => Some(Path((&view.0.container, view.1))),
        "cmd" => Some(view.0.command.as_str()),
        "fd_count" => view.0.descriptors,
        "psr" => Some(view.0.cpu),
    }
}

fn percent(permille: u64) -> f32 {
    permille as f32 / 10.0
}

/// The container of a process; empty in a list that is of one container.
struct Path<'a>((&'a crate::cgroup::ContainerName, bool));

impl Serialize for Path<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            (name, true) => Name(name).serialize(serializer),
            (_, false) => serializer.serialize_str(""),
        }
    }
}

/// When it started, as process lists show it (in UTC): `14:05` today, `Nov21` this year, else `2025`.
struct Started(Timestamp, Timestamp);

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let civil = |time: Timestamp| {
            let time = jiff::Timestamp::from_nanosecond(i128::from(time.0));
            time.map(|time| jiff::tz::TimeZone::UTC.to_datetime(time))
                .map_err(|_| fmt::Error)
        };
        let (started, now) = (civil(self.0)?, civil(self.1)?);
        if started.date() == now.date() {
            return write!(f, "{:02}:{:02}", started.hour(), started.minute());
        }
        if started.year() != now.year() {
            return write!(f, "{}", started.year());
        }
        let month = usize::try_from(started.month() - 1).unwrap_or(0);
        let month = MONTHS.get(month).unwrap_or(&"");
        write!(f, "{month}{:02}", started.day())
    }
}

impl Serialize for Started {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// CPU time as process lists show it: `00:01:05`, `3-04:00:00`.
struct Running(u64);

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / NS_PER_SEC;
        let days = seconds / 86_400;
        if days > 0 {
            write!(f, "{days}-")?;
        }
        let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
        write!(f, "{hours:02}:{minutes:02}:{:02}", seconds % 60)
    }
}

impl Serialize for Running {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_and_cpu_times_read_like_a_process_list() {
        let now = Timestamp(1_795_322_902_000_000_000); // 2026-11-22 04:48:22
        let day = 86_400_000_000_000;
        let started = |back: i64| Started(Timestamp(now.0 - back), now).to_string();
        assert_eq!(started(60_000_000_000), "04:47");
        assert_eq!(started(day), "Nov21");
        assert_eq!(started(400 * day), "2025");
        let running = |seconds: u64| Running(seconds * NS_PER_SEC).to_string();
        assert_eq!(running(3_665), "01:01:05");
        assert_eq!(running(3 * 86_400 + 14_400), "3-04:00:00");
    }
}
