//! Which process is in which cgroup, and what those that ended had used, by cgroup.
//!
//! Pure but for one thing: where a process is must be asked the moment it is told of, so that who
//! drives the table hands it a [`Look`].

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::wire::{ProcessEvent, ThreadEnd};
use crate::cgroup::ContainerName;

/// Processes that are known at once.
const MAX_PROCESSES: usize = 131_072;

/// Cgroups whose sums are kept at once.
const MAX_TALLIES: usize = 16_384;

/// How long an ended process is known: the records of its threads come on another way.
const KEEP_ENDED: Duration = Duration::from_secs(2);

/// How long the sum of a cgroup without processes is kept for whoever may ask.
const KEEP_IDLE: Duration = Duration::from_secs(120);

/// A cgroup: a directory is what tells it from others of its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its name.
    pub name: ContainerName,
    /// The inode of its directory in the hierarchy that counts CPU time; `None` if it was gone.
    pub inode: Option<u64>,
}

/// Asks the kernel about processes.
pub trait Look {
    /// In which cgroup a process is; `None` if it cannot be told any more.
    fn place(&mut self, pid: u32) -> Option<Place>;
    /// Whether a process is about to end, or has: v1 then shows it at the root, wherever it was.
    fn is_ending(&mut self, pid: u32) -> bool;
    /// The CPU time of a cgroup; `None` once it has gone.
    fn cgroup_ns(&mut self, place: &Place) -> Option<u64>;
    /// The CPU time of a cgroup and of a process, as of the same instant.
    fn cpu_ns(&mut self, place: &Place, pid: u32) -> Option<(u64, u64)>;
    /// The CPU time of a process, threads that ended included; `None` once it has been reaped.
    fn process_ns(&mut self, pid: u32) -> Option<u64>;
}

#[derive(Debug)]
struct Process {
    place: Place,
    /// CPU time that it had used before it came here, which is none of the cgroup's.
    before_ns: u64,
    /// CPU time that it has used, as far as that is in the tally.
    known_ns: u64,
    /// The same, by the records of its threads alone.
    recorded_ns: u64,
    ended: Option<Instant>,
}

/// What the processes of a cgroup that ended had used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// CPU time of the processes, nanoseconds, by their clocks and by their records. The kernel makes a
    /// record early in the exit, and without what was used since the last tick; where the clock could not
    /// be looked at any more, this is short by that.
    pub cpu_ns: u64,
    /// CPU time that the cgroup's own counter said last, nanoseconds; it is read with each record, and
    /// again when the process is gone.
    pub cgroup_ns: Option<u64>,
    /// Whether that was when the last of the processes was gone: then nothing is missing.
    pub read_last: bool,
    /// Processes that were seen to come here, and to end here.
    pub begun: u64,
    /// Of those, which have ended.
    pub ended: u64,
    /// Whether nothing was missed: no process was here before the first that was seen, and no record
    /// was lost.
    pub complete: bool,
    /// How the first process ended, as `wait` says it.
    pub status: Option<u32>,
    /// The most memory that one of them had resident, bytes.
    pub peak_rss_bytes: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub write_bytes: u64,
    /// Processes that are gone for good.
    gone: u64,
    first: Option<u32>,
    /// Which of all tallies: in the order of beginning.
    number: u64,
}

/// Something to be done at once, while the cgroup is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A process ends by SIGKILL: it may have been the OOM killer, and its counter tells.
    Killed,
    /// The last process ends: figures are final, and the directory often goes a moment later.
    Last,
}

/// Sums by cgroup, shared between the thread that reads and whoever asks.
#[derive(Debug, Default)]
pub struct ExitBook(Mutex<HashMap<Place, (Tally, Instant)>>);

impl ExitBook {
    /// Takes out the sum of a container that has gone: of the directory with this inode. Without an
    /// inode (it went before it could be looked at) the oldest of the name, if there is any.
    pub fn take(&self, name: &ContainerName, inode: Option<u64>) -> Option<Tally> {
        let mut tallies = self.0.lock();
        let of_name = tallies.iter().filter(|(place, _)| place.name == *name);
        let of_inode = of_name.filter(|(place, _)| inode.is_none() || place.inode == inode);
        let (place, _) = of_inode.min_by_key(|(_, (tally, _))| tally.number)?;
        let place = place.clone();
        tallies.remove(&place).map(|(tally, _)| tally)
    }

    /// Records were lost: no sum that is open can be relied on.
    pub(super) fn incomplete(&self) {
        for (tally, _) in self.0.lock().values_mut() {
            tally.complete = false;
        }
    }
}

/// The processes.
#[derive(Debug, Default)]
pub struct Table {
    processes: HashMap<u32, Process>,
    ended: VecDeque<(Instant, u32)>,
    last_tally: u64,
    /// Ends of threads whose cgroup was not known, and their CPU time.
    pub unplaced: (u64, u64),
}

impl Table {
    /// The connector told of an event.
    pub fn event(&mut self, event: ProcessEvent, book: &ExitBook, look: &mut impl Look) {
        match event {
            ProcessEvent::Fork { parent, tid, pid } if tid == pid => {
                let inherited = self.processes.get(&parent).map(|of| of.place.clone());
                let place = place_of(pid, inherited.as_ref(), look).or_else(|| inherited.clone());
                // It has used nothing yet, unless it was moved already.
                let moved = place != inherited && inherited.is_some();
                let place = place.unwrap_or_else(root);
                self.put(pid, place, moved, book, look);
            }
            ProcessEvent::Exec { pid } => self.moved(pid, book, look),
            ProcessEvent::Exit { tid, pid } if tid == pid => {
                let now = Instant::now();
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.ended = Some(now);
                    self.ended.push_back((now, pid));
                    process.read(pid, true, book, look);
                }
                self.forget(now, book);
            }
            ProcessEvent::Fork { .. } | ProcessEvent::Exit { .. } => {}
        }
    }

    /// A process may be elsewhere now.
    pub fn moved(&mut self, pid: u32, book: &ExitBook, look: &mut impl Look) {
        let known = self.processes.get(&pid).map(|of| &of.place);
        let Some(place) = place_of(pid, known, look) else {
            return;
        };
        if known != Some(&place) {
            self.put(pid, place, true, book, look);
        }
    }

    fn put(&mut self, pid: u32, place: Place, moved: bool, book: &ExitBook, look: &mut impl Look) {
        let before = self.processes.remove(&pid).filter(|of| of.ended.is_none());
        if let Some(old) = before {
            leave(book, &old.place, pid);
        }
        let mut before_ns = 0;
        if !place.name.is_root() {
            let cpu = if moved {
                look.cpu_ns(&place, pid)
            } else {
                None
            };
            self.last_tally += 1;
            let number = self.last_tally;
            let mut tallies = book.0.lock();
            let is_new = !tallies.contains_key(&place);
            if is_new && tallies.len() >= MAX_TALLIES {
                tallies.retain(|_, (tally, _)| tally.begun > tally.ended);
            }
            let now = Instant::now();
            let (tally, used) = tallies.entry(place.clone()).or_insert_with(|| {
                let tally = Tally {
                    number,
                    first: Some(pid),
                    // A cgroup that had used more than its only process was there before.
                    complete: cpu.is_none_or(|(cgroup, process)| cgroup <= process),
                    ..Tally::default()
                };
                (tally, now)
            });
            *used = now;
            tally.begun += 1;
            tally.read_last = false;
            if let Some((cgroup, process)) = cpu {
                // What the cgroup has used is this process's if it is the first. Of a later one all
                // that it had used is taken to be from elsewhere.
                let here = if is_new { cgroup } else { 0 };
                before_ns = process.saturating_sub(here);
            }
        }
        if self.processes.len() < MAX_PROCESSES {
            self.processes.insert(
                pid,
                Process {
                    place,
                    before_ns,
                    known_ns: 0,
                    recorded_ns: 0,
                    ended: None,
                },
            );
        } else {
            book.incomplete();
        }
    }

    /// A thread has ended. What is to be done at once, and where.
    pub fn thread_ended(
        &mut self,
        end: &ThreadEnd,
        book: &ExitBook,
        look: &mut impl Look,
        unified: bool,
    ) -> Option<(Place, Notice)> {
        let pid = end.pid.unwrap_or(end.tid);
        let is_leader = pid == end.tid;
        if unified && is_leader {
            // It may have moved since it was looked at, and v2 still shows where it was last.
            self.moved(pid, book, look);
        }
        let Some(process) = self.processes.get_mut(&pid) else {
            self.unplaced.0 += 1;
            self.unplaced.1 = self.unplaced.1.saturating_add(end.cpu_ns);
            return None;
        };
        if is_leader && process.ended.is_none() {
            process.read(pid, false, book, look);
        }
        process.recorded_ns = process.recorded_ns.saturating_add(end.cpu_ns);
        let used_ns = process.used(process.recorded_ns);
        let mut tallies = book.0.lock();
        let (tally, used) = tallies.get_mut(&process.place)?;
        *used = Instant::now();
        tally.cpu_ns = tally.cpu_ns.saturating_add(used_ns);
        tally.peak_rss_bytes = tally.peak_rss_bytes.max(end.peak_rss_bytes);
        tally.read_bytes = tally.read_bytes.saturating_add(end.read_bytes);
        tally.write_bytes = tally.write_bytes.saturating_add(end.write_bytes);
        if is_leader {
            tally.ended += 1;
            if tally.first == Some(pid) {
                tally.status = Some(end.status);
            }
        }
        let was_killed = is_leader && end.status & SIGNAL == SIGKILL;
        let notice = match (was_killed, is_leader && tally.ended >= tally.begun) {
            (true, _) => Notice::Killed,
            (false, true) => Notice::Last,
            (false, false) => return None,
        };
        Some((process.place.clone(), notice))
    }

    fn forget(&mut self, now: Instant, book: &ExitBook) {
        let mut any = false;
        while let Some((at, pid)) = self.ended.front().copied() {
            if now.duration_since(at) < KEEP_ENDED {
                break;
            }
            self.ended.pop_front();
            // Its number may be another's by now.
            if self
                .processes
                .get(&pid)
                .is_some_and(|of| of.ended == Some(at))
            {
                self.processes.remove(&pid);
            }
            any = true;
        }
        if any && self.ended.is_empty() {
            book.0.lock().retain(|_, (tally, used)| {
                tally.begun > tally.ended || now.duration_since(*used) < KEEP_IDLE
            });
        }
    }
}

impl Process {
    /// What a process that has used `total_ns` has used here beyond what is known.
    fn used(&mut self, total_ns: u64) -> u64 {
        let here = total_ns.saturating_sub(self.before_ns);
        let more = here.saturating_sub(self.known_ns);
        self.known_ns += more;
        more
    }

    /// Reads its clock and the counter of its cgroup, when it exits and when it is gone.
    fn read(&mut self, pid: u32, gone: bool, book: &ExitBook, look: &mut impl Look) {
        if self.place.name.is_root() {
            return;
        }
        let process = look.process_ns(pid).unwrap_or(0);
        let cgroup = look.cgroup_ns(&self.place);
        let used_ns = self.used(process);
        if let Some((tally, _)) = book.0.lock().get_mut(&self.place) {
            tally.gone += u64::from(gone);
            tally.read_last = cgroup.is_some() && tally.gone >= tally.begun;
            tally.cgroup_ns = cgroup.max(tally.cgroup_ns);
            tally.cpu_ns = tally.cpu_ns.saturating_add(used_ns);
        }
    }
}

/// Where a process is that was last known to be at `known`.
fn place_of(pid: u32, known: Option<&Place>, look: &mut impl Look) -> Option<Place> {
    let place = look.place(pid)?;
    let was_elsewhere = known.is_some_and(|known| !known.name.is_root());
    (!(place.name.is_root() && was_elsewhere && look.is_ending(pid))).then_some(place)
}

/// Where a process is of which nothing says that it is elsewhere.
fn root() -> Place {
    Place {
        name: ContainerName::root(),
        inode: None,
    }
}

/// A process has gone elsewhere, and what it had used here with it: that is not known.
fn leave(book: &ExitBook, place: &Place, pid: u32) {
    if let Some((tally, _)) = book.0.lock().get_mut(place) {
        tally.begun = tally.begun.saturating_sub(1);
        tally.complete = false;
        if tally.first == Some(pid) {
            tally.first = None;
        }
    }
}

/// The part of a wait status that is a signal.
const SIGNAL: u32 = 0x7f;

/// The signal of the OOM killer.
const SIGKILL: u32 = 9;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Processes by number: in which container, what that and they have used.
    #[derive(Default)]
    struct Host(HashMap<u32, (&'static str, u64, u64)>);

    impl Look for Host {
        fn place(&mut self, pid: u32) -> Option<Place> {
            Some(place(self.0.get(&pid)?.0))
        }
        fn is_ending(&mut self, pid: u32) -> bool {
            self.0
                .get(&pid)
                .is_some_and(|(.., process)| *process == ENDING)
        }
        fn cgroup_ns(&mut self, place: &Place) -> Option<u64> {
            let mut all = self.0.values();
            let (_, cgroup, _) = all.find(|(name, ..)| place.name.to_string() == *name)?;
            Some(*cgroup)
        }
        fn process_ns(&mut self, pid: u32) -> Option<u64> {
            Some(self.0.get(&pid)?.2)
        }
        fn cpu_ns(&mut self, _: &Place, pid: u32) -> Option<(u64, u64)> {
            let (_, cgroup, process) = self.0.get(&pid)?;
            Some((*cgroup, *process))
        }
    }

    /// What a process has used that is ending.
    const ENDING: u64 = u64::MAX;

    fn place(name: &str) -> Place {
        Place {
            name: ContainerName::from_request(name),
            inode: Some(name.len() as u64),
        }
    }

    fn end(tid: u32, pid: u32, cpu_ns: u64, status: u32) -> ThreadEnd {
        ThreadEnd {
            tid,
            pid: Some(pid),
            cpu_ns,
            status,
            ..ThreadEnd::default()
        }
    }

    #[derive(Default)]
    struct Scene {
        table: Table,
        book: ExitBook,
        host: Host,
    }

    impl Scene {
        fn event(&mut self, event: ProcessEvent) {
            self.table.event(event, &self.book, &mut self.host);
        }
        fn fork(&mut self, parent: u32, pid: u32) {
            self.event(ProcessEvent::Fork {
                parent,
                tid: pid,
                pid,
            });
        }
        fn end(&mut self, end: &ThreadEnd) -> Option<(Place, Notice)> {
            let Self { table, book, host } = self;
            table.thread_ended(end, book, host, false)
        }
        fn take(&mut self, name: &str) -> Option<Tally> {
            let place = place(name);
            self.book.take(&place.name, place.inode)
        }
    }

    #[test]
    fn a_process_that_is_moved_before_it_begins_its_program() {
        let mut scene = Scene::default();
        scene.host.0.insert(2, ("/", 0, 0));
        scene.fork(1, 2);
        // It used 300 before it was moved and 100 since.
        scene.host.0.insert(2, ("/a", 100, 400));
        scene.event(ProcessEvent::Exec { pid: 2 });
        scene.host.0.clear();
        let notice = scene.end(&end(2, 2, 1_400, 3 << 8));
        assert_eq!(notice, Some((place("/a"), Notice::Last)));
        let tally = scene.take("/a").unwrap();
        assert_eq!((tally.cpu_ns, tally.complete), (1_100, true));
        assert_eq!(tally.status, Some(3 << 8));
        assert_eq!(scene.take("/a"), None, "taken");
    }

    #[test]
    fn children_and_threads_are_their_containers() {
        let mut scene = Scene::default();
        scene.host.0.insert(2, ("/a", 0, 0));
        scene.fork(1, 2);
        scene.host.0.clear();
        scene.fork(2, 3);
        scene.event(ProcessEvent::Fork {
            parent: 2,
            tid: 30,
            pid: 3,
        });
        assert_eq!(scene.end(&end(30, 3, 5, 0)), None);
        assert_eq!(
            scene.end(&end(3, 3, 7, 9)),
            Some((place("/a"), Notice::Killed))
        );
        assert_eq!(
            scene.end(&end(2, 2, 11, 0)),
            Some((place("/a"), Notice::Last))
        );
        let tally = scene.take("/a").unwrap();
        assert_eq!((tally.cpu_ns, tally.begun, tally.ended), (23, 2, 2));
        assert_eq!(tally.status, Some(0), "of the first");
    }

    #[test]
    fn one_that_ends_is_not_at_the_root_for_that() {
        let mut scene = Scene::default();
        scene.host.0.insert(2, ("/a", 0, 0));
        scene.fork(1, 2);
        for (pid, used) in [(2, ENDING), (3, ENDING), (4, 0)] {
            scene.host.0.insert(pid, ("/", 0, used));
        }
        scene.event(ProcessEvent::Exec { pid: 2 });
        scene.fork(2, 3);
        scene.fork(2, 4);
        scene.host.0.clear();
        for pid in [2, 3, 4] {
            scene.end(&end(pid, pid, 10, 0));
        }
        let tally = scene.take("/a").unwrap();
        assert_eq!(
            (tally.cpu_ns, tally.ended),
            (20, 2),
            "4 was made at the root"
        );
    }

    #[test]
    fn the_cgroups_own_counter_is_read_while_it_is_there() {
        let exit = |pid| ProcessEvent::Exit { tid: pid, pid };
        let mut scene = Scene::default();
        scene.host.0.insert(2, ("/a", 0, 0));
        scene.fork(1, 2);
        scene.host.0.insert(3, ("/a", 0, 0));
        scene.fork(2, 3);
        scene.host.0.remove(&3);
        scene.host.0.insert(2, ("/a", 700, 700));
        scene.end(&end(3, 3, 90, 0));
        scene.event(exit(3));
        scene.host.0.insert(2, ("/a", 800, 800));
        scene.event(exit(2));
        scene.host.0.clear();
        scene.end(&end(2, 2, 600, 0));
        let tally = scene.take("/a").unwrap();
        assert_eq!((tally.cpu_ns, tally.cgroup_ns), (890, Some(800)));
        assert!(tally.read_last);

        let mut scene = Scene::default();
        scene.host.0.insert(2, ("/a", 0, 0));
        scene.fork(1, 2);
        scene.end(&end(2, 2, 600, 0));
        scene.host.0.clear();
        scene.event(exit(2));
        let tally = scene.take("/a").unwrap();
        assert_eq!((tally.cgroup_ns, tally.read_last), (Some(0), false));
    }

    #[test]
    fn a_cgroup_that_was_there_before_has_no_complete_sum() {
        let mut scene = Scene::default();
        scene.host.0.insert(2, ("/a", 5_000, 10));
        scene.event(ProcessEvent::Exec { pid: 2 });
        scene.end(&end(2, 2, 20, 0));
        assert!(!scene.take("/a").unwrap().complete);
    }

    #[test]
    fn what_cannot_be_placed_is_counted() {
        let mut scene = Scene::default();
        assert_eq!(scene.end(&end(2, 2, 20, 0)), None);
        assert_eq!(scene.table.unplaced, (1, 20));
        // One that was made where nobody says is the root's.
        scene.fork(1, 3);
        assert_eq!(scene.end(&end(3, 3, 20, 0)), None);
        assert_eq!(scene.table.unplaced, (1, 20));
    }

    #[test]
    fn a_lost_record_makes_sums_incomplete() {
        let mut scene = Scene::default();
        scene.host.0.insert(2, ("/a", 0, 0));
        scene.fork(1, 2);
        scene.book.incomplete();
        scene.end(&end(2, 2, 20, 0));
        assert!(!scene.take("/a").unwrap().complete);
    }

    #[test]
    fn of_a_name_without_an_inode_the_oldest_is_meant() {
        let mut scene = Scene::default();
        for (pid, inode) in [(2, 7), (3, 8)] {
            let place = Place {
                name: ContainerName::from_request("/a"),
                inode: Some(inode),
            };
            let Scene { table, book, host } = &mut scene;
            table.put(pid, place, false, book, host);
            scene.end(&end(pid, pid, u64::from(pid), 0));
        }
        let name = ContainerName::from_request("/a");
        let take = |inode| scene.book.take(&name, inode).map(|tally| tally.cpu_ns);
        assert_eq!(take(None), Some(2));
        assert_eq!((take(Some(8)), take(None)), (Some(3), None));
    }
}
