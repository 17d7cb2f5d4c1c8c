//! What the tasks of a container do: how many run, sleep and wait, and the load average of that.
//!
//! cgroup v1 has a request for these numbers (taskstats over netlink), v2 has none; so on both the state of
//! each task is read in procfs, which costs some microseconds a task at every poll. It is done only if
//! asked for.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::columns::columns;
use super::format::{lines, number};

/// The most tasks of a container whose states are read. Of a container with more, nothing is known.
pub const MAX_TASKS: usize = 4_096;

/// The time over which the load averages reach back, in seconds.
const MEMORY_SECONDS: f64 = 10.0;

columns! {
    /// Tasks (threads) of the container itself by state, and averages of them. `/proc/TID/stat`, third
    /// field.
    pub struct LoadStats {
        /// Asleep: `S`, `I`.
        sleeping,
        /// Running or ready to run: `R`.
        running,
        /// Stopped or traced: `T`, `t`.
        stopped,
        /// Waiting, for a disk most often, and not to be interrupted: `D`.
        uninterruptible,
        /// Average of `running` over the last ten seconds, in thousandths.
        average_milli,
        /// The same of `uninterruptible`.
        d_average_milli,
    }
}

/// The tasks in the text of a v1 `tasks` or a v2 `cgroup.threads`; `None` if there are too many.
pub fn tasks(text: &[u8]) -> Option<Vec<u32>> {
    let numbers = lines(text).filter_map(|line| u32::try_from(number(line)?).ok());
    let found: Vec<u32> = numbers
        .filter(|&task| task != 0)
        .take(MAX_TASKS + 1)
        .collect();
    (found.len() <= MAX_TASKS).then_some(found)
}

/// The states of these tasks. Those that have ended meanwhile, or are ending, are passed over.
pub fn states(procfs: &Path, tasks: &[u32]) -> LoadStats {
    let (mut sleeping, mut running, mut stopped, mut uninterruptible) = (0, 0, 0, 0);
    for task in tasks {
        let Ok(text) = fs::read(procfs.join(format!("{task}/stat"))) else {
            continue;
        };
        match state(&text) {
            Some(b'S' | b'I') => sleeping += 1,
            Some(b'R') => running += 1,
            Some(b'T' | b't') => stopped += 1,
            Some(b'D') => uninterruptible += 1,
            _ => {}
        }
    }
    LoadStats {
        sleeping: Some(sleeping),
        running: Some(running),
        stopped: Some(stopped),
        uninterruptible: Some(uninterruptible),
        ..LoadStats::default()
    }
}

/// The state in a `stat`: `7 (any) name) S 1 …`.
fn state(text: &[u8]) -> Option<u8> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    text.get(end + 2).copied()
}

/// The load averages of a container: they decay with time, however far apart polls are.
#[derive(Debug, Default)]
pub struct LoadAverage {
    last: Option<(Instant, f64, f64)>,
}

impl LoadAverage {
    /// Takes in what was counted at `now`, and writes the averages beside it.
    pub fn update(&mut self, stats: &mut LoadStats, now: Instant) {
        let (Some(running), Some(waiting)) = (stats.running, stats.uninterruptible) else {
            return;
        };
        let (running, waiting) = (running as f64, waiting as f64);
        let (running, waiting) = match self.last {
            None => (running, waiting),
            Some((then, before, before_d)) => {
                let passed = now.saturating_duration_since(then).as_secs_f64();
                let keep = (-passed / MEMORY_SECONDS).exp();
                let mix = |old: f64, new: f64| old * keep + new * (1.0 - keep);
                (mix(before, running), mix(before_d, waiting))
            }
        };
        self.last = Some((now, running, waiting));
        // At most as many as there are tasks: far from where this would lose anything.
        stats.average_milli = Some((running * 1000.0) as u64);
        stats.d_average_milli = Some((waiting * 1000.0) as u64);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn tasks_are_counted_by_state() {
        let root = tempfile::tempdir().unwrap();
        for (task, stat) in [
            (1, "1 (sh) R 0 1"),
            (2, "2 (a) b) S 1 1"),
            (3, "3 (D) D 1 1"),
            (4, "4 (x) t 1 1"),
            (5, "5 (idle) I 1 1"),
            (6, "6 (gone) Z 1 1"),
            (7, "7"),
        ] {
            fs::create_dir(root.path().join(task.to_string())).unwrap();
            fs::write(root.path().join(format!("{task}/stat")), stat).unwrap();
        }
        let all = tasks(b"1\n2\n3\n4\n5\n6\n7\n8\n0\nx\n").unwrap();
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8]);
        let found = states(root.path(), &all);
        assert_eq!(
            found,
            LoadStats {
                sleeping: Some(2),
                running: Some(1),
                stopped: Some(1),
                uninterruptible: Some(1),
                ..LoadStats::default()
            }
        );
        let many: String = (1..=MAX_TASKS + 1)
            .map(|task| format!("{task}\n"))
            .collect();
        assert_eq!(tasks(many.as_bytes()), None);
    }

    #[test]
    fn averages_decay_with_the_time_that_has_passed() {
        let begun = Instant::now();
        let mut average = LoadAverage::default();
        let mut after = |seconds: u64, running| {
            let mut stats = LoadStats {
                running: Some(running),
                uninterruptible: Some(0),
                ..LoadStats::default()
            };
            average.update(&mut stats, begun + Duration::from_secs(seconds));
            assert_eq!(stats.d_average_milli, Some(0));
            stats.average_milli.unwrap()
        };
        assert_eq!(after(0, 4), 4000);
        // e^-1 of what was.
        assert_eq!(after(10, 0), 1471);
        assert_eq!(after(20, 0), 541);
        assert_eq!(after(10_000, 2), 2000);
        let mut nothing = LoadStats::default();
        LoadAverage::default().update(&mut nothing, begun);
        assert_eq!(nothing, LoadStats::default());
    }
}
