//! The processes of a container: how many, what they have open, and how the scheduler treats them.
//!
//! A walk over processes costs far more than any cgroup file, so all of this is read only where its
//! kind of metrics is asked for.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::format::{lines, number, words};
use super::stats::{ProcessStats, SchedStats};

/// Open files of one container that are looked at, at most. With more, how many of them are sockets
/// is not known.
const MAX_FILES: u64 = 100_000;

/// Processes of one container that are looked at, at most, and cgroups below it.
const MAX_PROCESSES: usize = 50_000;

/// The processes in the text of a `cgroup.procs`. Zero stands for one outside of our pid namespace.
pub fn pids(text: &[u8]) -> impl Iterator<Item = u32> {
    lines(text)
        .filter_map(|line| u32::try_from(number(line)?).ok())
        .filter(|&pid| pid != 0)
        .take(MAX_PROCESSES)
}

/// What the processes `pids` are and have. Those that have ended meanwhile, or may not be looked at,
/// are passed over; files are absent if that is all of them.
pub fn processes(procfs: &Path, pids: &[u32]) -> ProcessStats {
    let (mut files, mut sockets, mut readable) = (0_u64, 0_u64, pids.is_empty());
    for pid in pids {
        let Ok(entries) = fs::read_dir(procfs.join(format!("{pid}/fd"))) else {
            continue;
        };
        readable = true;
        for entry in entries.flatten() {
            files += 1;
            if files <= MAX_FILES
                && let Ok(target) = fs::read_link(entry.path())
                && target.as_os_str().as_bytes().starts_with(b"socket:")
            {
                sockets += 1;
            }
        }
    }
    let limits = pids
        .first()
        .and_then(|pid| fs::read(procfs.join(format!("{pid}/limits"))).ok());
    let (soft, hard) = limits.map_or((None, None), |text| max_open_files(&text));
    ProcessStats {
        processes: Some(pids.len() as u64),
        file_descriptors: readable.then_some(files),
        sockets: (readable && files <= MAX_FILES).then_some(sockets),
        max_open_files: soft,
        max_open_files_hard: hard,
    }
}

/// The soft and the hard limit in the line `Max open files  1024  4096  files`; absent where there is
/// none.
fn max_open_files(text: &[u8]) -> (Option<u64>, Option<u64>) {
    let line = lines(text).find_map(|line| line.strip_prefix(b"Max open files"));
    let mut limits = words(line.unwrap_or_default()).map(number);
    let mut next = || limits.next().flatten();
    (next(), next())
}

/// Sums of `/proc/PID/schedstat` over the processes of a container and of those below it. What those
/// that have ended had counts on: a sum never goes back.
#[derive(Debug, Default)]
pub struct SchedTotals {
    live: HashMap<u32, Sched>,
    ended: Sched,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sched {
    run_ns: u64,
    wait_ns: u64,
    periods: u64,
}

impl Sched {
    fn add(&mut self, other: Self) {
        self.run_ns = self.run_ns.saturating_add(other.run_ns);
        self.wait_ns = self.wait_ns.saturating_add(other.wait_ns);
        self.periods = self.periods.saturating_add(other.periods);
    }
}

impl SchedTotals {
    /// The sums now. Absent while none of the processes may be looked at.
    pub fn read(&mut self, procfs: &Path, pids: &[u32]) -> SchedStats {
        let mut live = HashMap::with_capacity(pids.len());
        for &pid in pids {
            if let Ok(text) = fs::read(procfs.join(format!("{pid}/schedstat")))
                && let Some(now) = schedstat(&text)
            {
                // Another process under the number of one that has ended.
                let reused = (self.live.get(&pid)).is_some_and(|before| now.run_ns < before.run_ns);
                if let Some(before) = self.live.remove(&pid).filter(|_| reused) {
                    self.ended.add(before);
                }
                live.insert(pid, now);
            }
        }
        if live.is_empty() && !pids.is_empty() && self.live.is_empty() {
            return SchedStats::default();
        }
        for before in std::mem::replace(&mut self.live, live).into_values() {
            self.ended.add(before);
        }
        let mut sum = self.ended;
        self.live.values().for_each(|&of| sum.add(of));
        SchedStats {
            run_ns: Some(sum.run_ns),
            wait_ns: Some(sum.wait_ns),
            periods: Some(sum.periods),
        }
    }
}

/// `run_ns wait_ns periods`.
fn schedstat(text: &[u8]) -> Option<Sched> {
    let mut words = words(text).map(number);
    let mut next = || words.next().flatten();
    Some(Sched {
        run_ns: next()?,
        wait_ns: next()?,
        periods: next()?,
    })
}

/// The path of the cgroup of a process in one hierarchy, in the text of its `/proc/PID/cgroup`: of the
/// v1 hierarchy with `controller`, else of v2. The kernel shows a process that is ending at the root of
/// every v1 hierarchy, so that `/` says nothing there.
pub fn cgroup_path<'a>(text: &'a [u8], controller: Option<&str>) -> Option<&'a [u8]> {
    lines(text).find_map(|line| {
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        let matches = match controller {
            Some(controller) => controllers
                .split(|&byte| byte == b',')
                .any(|one| one == controller.as_bytes()),
            None => id == b"0" && controllers.is_empty(),
        };
        (matches && (controller.is_none() || path != b"/")).then_some(path)
    })
}

/// The processes of the cgroup at `directory` and of all below it.
pub fn pids_below(directory: &Path) -> Vec<u32> {
    let (mut found, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    let mut looked_at = 0;
    while let Some(directory) = directories.pop() {
        looked_at += 1;
        if looked_at > MAX_PROCESSES || found.len() > MAX_PROCESSES {
            break;
        }
        if let Ok(text) = fs::read(directory.join("cgroup.procs")) {
            found.extend(pids(&text));
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        directories.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pids_without_those_of_elsewhere() {
        assert_eq!(pids(b"0\n1\n17\nx\n").collect::<Vec<_>>(), [1, 17]);
    }

    #[test]
    fn files_and_sockets_of_processes() {
        let root = tempfile::tempdir().unwrap();
        let fd = root.path().join("7/fd");
        fs::create_dir_all(&fd).unwrap();
        for (name, target) in [("0", "/dev/null"), ("1", "socket:[1]"), ("2", "socket:[2]")] {
            std::os::unix::fs::symlink(target, fd.join(name)).unwrap();
        }
        fs::write(
            root.path().join("7/limits"),
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files     \n",
        )
        .unwrap();
        assert_eq!(
            processes(root.path(), &[7, 8]),
            ProcessStats {
                processes: Some(2),
                file_descriptors: Some(3),
                sockets: Some(2),
                max_open_files: Some(1024),
                max_open_files_hard: Some(4096),
            }
        );
        let hidden = processes(root.path(), &[8]);
        assert_eq!((hidden.processes, hidden.file_descriptors), (Some(1), None));
        assert_eq!(processes(root.path(), &[]).file_descriptors, Some(0));
        assert_eq!(
            max_open_files(b"Max open files  unlimited  4096  files"),
            (None, Some(4096))
        );
    }

    #[test]
    fn scheduler_sums_never_go_back() {
        let root = tempfile::tempdir().unwrap();
        let set = |pid: u32, text: &str| {
            let at = root.path().join(pid.to_string());
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("schedstat"), text).unwrap();
        };
        set(1, "100 10 1\n");
        set(2, "50 5 5\n");
        let mut totals = SchedTotals::default();
        let run = |totals: &mut SchedTotals, pids: &[u32]| totals.read(root.path(), pids).run_ns;
        assert_eq!(run(&mut totals, &[1, 2]), Some(150));
        assert_eq!(run(&mut totals, &[1]), Some(150), "the second has ended");
        set(1, "30 1 1\n");
        assert_eq!(
            run(&mut totals, &[1]),
            Some(180),
            "another under its number"
        );
        assert_eq!(run(&mut totals, &[]), Some(180));
        assert_eq!(run(&mut SchedTotals::default(), &[9]), None);
    }
}
