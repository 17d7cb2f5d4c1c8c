//! The thread that follows the cgroup tree: inotify events, and listings where they do not reach.
//!
//! Every directory is watched before it is listed, so nothing made in between is lost. What inotify
//! cannot tell is found by listing everything again: after a queue overflow, a lost watch, and once
//! per global housekeeping interval in any case. When watches run out (`fs.inotify.max_user_watches`)
//! the rest of the tree is found by listing alone, as often as its cost allows.
//!
//! On cgroupfs a removed directory takes no watch with it: only the parent's event says so, and the
//! watch has to be taken off by hand. `*.mount` cgroups are passed over: they never hold containers,
//! and a node can have thousands.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, stat};

use super::tree::{Change, Learnt, Tree};
use super::{FileChange, SourceEvent};
use crate::cgroup::error::Failure;
use crate::cgroup::file::open_directory;
use crate::cgroup::{ContainerName, Hierarchies, HierarchyId};
use crate::self_metrics::SelfMetrics;

/// Room for events in one read: a burst of a thousand containers in a handful of reads.
const EVENT_BUFFER_BYTES: usize = 64 * 1024;

/// Changes that a listing tells together: the manager then wakes once for them.
const TOLD_TOGETHER: usize = 32;

/// The priority of the thread that empties the kernel's queue, where it may be raised.
const WATCHER_NICENESS: i32 = -5;

/// With watches exhausted, the shortest pause between two listings.
const MIN_LISTING_PAUSE: Duration = Duration::from_millis(250);

/// And the share of one CPU that they may take: one in so many.
const LISTING_SHARE: u32 = 10;

/// Where the events go. False means that nobody wants them any more.
pub type Inlet = Box<dyn FnMut(SourceEvent) -> bool + Send>;

/// The running watcher. Dropping it without [`stop`](Self::stop) leaves the thread to itself.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<EventFd>,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// Starts to watch `hierarchies`, and to list them every `interval`.
    ///
    /// # Errors
    /// If the thread or its stop signal cannot be made. A kernel without inotify, or without any
    /// instance left, is no error: then listings do all the work.
    pub fn spawn(
        hierarchies: Arc<Hierarchies>,
        interval: Duration,
        metrics: Arc<SelfMetrics>,
        inlet: Inlet,
    ) -> io::Result<Self> {
        let stop = Arc::new(EventFd::from_value_and_flags(
            0,
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
        )?);
        let inotify = Inotify::init()
            .inspect_err(|error| {
                tracing::warn!(%error, "inotify is not to be had (fs.inotify.max_user_instances?): containers are found by listing");
            })
            .ok();
        let task = Task {
            watches: inotify.as_ref().map(Inotify::watches),
            inotify,
            hierarchies,
            interval,
            metrics,
            inlet,
            tree: Tree::default(),
            descriptors: HashMap::new(),
            changes: Vec::new(),
            exhausted: false,
            said_exhausted: false,
            wanted: true,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("cgauge-watcher".into())
            .spawn(move || task.run(&stopped))?;
        Ok(Self { stop, thread })
    }

    /// Stops the thread and waits for it until `deadline`: it may be held up by a directory that
    /// cannot be looked at (on FUSE, say).
    pub fn stop(self, deadline: Instant) {
        let _ = self.stop.write(1);
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !self.thread.is_finished() {
            tracing::warn!("the cgroup watcher is held up and is left behind");
        } else if self.thread.join().is_err() {
            tracing::error!("the cgroup watcher had panicked");
        }
    }
}

struct Task {
    inotify: Option<Inotify>,
    watches: Option<Watches>,
    hierarchies: Arc<Hierarchies>,
    interval: Duration,
    metrics: Arc<SelfMetrics>,
    inlet: Inlet,
    tree: Tree,
    descriptors: HashMap<i32, WatchDescriptor>,
    changes: Vec<Change>,
    /// Whether the last listing left directories without a watch.
    exhausted: bool,
    /// Whether that has been said: once is enough.
    said_exhausted: bool,
    /// Whether anybody still takes events.
    wanted: bool,
}

/// What one read of the queue asks for beyond the events themselves.
#[derive(Debug, Default)]
struct Batch {
    relist: bool,
    read: usize,
}

impl Task {
    fn run(mut self, stop: &EventFd) {
        // What is made and removed within a moment is seen only by a watcher that keeps up with a
        // busy host. Not being allowed to is ordinary.
        let _ = rustix::process::nice(WATCHER_NICENESS);
        let mut took = self.list_all();
        self.tell(SourceEvent::Listed);
        let mut next_listing = Instant::now() + self.pause(took);
        let mut buffer = vec![0; EVENT_BUFFER_BYTES];
        while self.wanted {
            let until = next_listing.saturating_duration_since(Instant::now());
            match self.wait(stop, until) {
                Ok(Wake::Stop) => break,
                Ok(Wake::Events) => {
                    let had_enough = !self.exhausted;
                    let relist = self.read_events(&mut buffer).relist;
                    if relist || (self.exhausted && had_enough) {
                        next_listing = Instant::now();
                    }
                }
                Ok(Wake::Timeout) => {}
                Err(errno) => {
                    tracing::error!(%errno, "cannot wait for cgroup events: containers are found by listing");
                    self.inotify = None;
                    self.watches = None;
                }
            }
            if next_listing <= Instant::now() {
                took = self.list_all();
                next_listing = Instant::now() + self.pause(took);
            }
        }
    }

    /// How long to wait for the next listing, when the last one took so long.
    fn pause(&self, took: Duration) -> Duration {
        if self.exhausted || self.inotify.is_none() {
            (took * LISTING_SHARE)
                .max(MIN_LISTING_PAUSE)
                .min(self.interval)
        } else {
            self.interval
        }
    }

    fn wait(&self, stop: &EventFd, until: Duration) -> Result<Wake, Errno> {
        let mut fds = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.inotify
                .as_ref()
                .map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN)),
        );
        // Rounded up: waking a moment early would mean waking again and again.
        let millis = u32::try_from(until.as_millis()).unwrap_or(u32::MAX);
        let timeout = PollTimeout::try_from(millis.saturating_add(1));
        match poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(Errno::EINTR) => Ok(Wake::Timeout),
            Ok(_) if fds[0].any() == Some(true) => Ok(Wake::Stop),
            Ok(_) => Ok(Wake::Events),
            Err(errno) => Err(errno),
        }
    }

    /// Reads what is in the queue, once.
    fn read_events(&mut self, buffer: &mut [u8]) -> Batch {
        let mut batch = Batch::default();
        let Some(mut inotify) = self.inotify.take() else {
            return batch;
        };
        match inotify.read_events(buffer) {
            Ok(events) => {
                let mut last = None;
                for event in events {
                    batch.read += 1;
                    self.handle(
                        event.wd.get_watch_descriptor_id(),
                        event.mask,
                        event.name,
                        &mut batch,
                        &mut last,
                    );
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read cgroup events: listing instead");
                batch.relist = true;
            }
        }
        self.inotify = Some(inotify);
        batch
    }

    fn handle(
        &mut self,
        watch: i32,
        mask: EventMask,
        name: Option<&OsStr>,
        batch: &mut Batch,
        last: &mut Option<(i32, FileChange)>,
    ) {
        if mask.contains(EventMask::Q_OVERFLOW) {
            self.metrics.watch_overflows.inc();
            batch.relist = true;
            return;
        }
        if mask.contains(EventMask::IGNORED) {
            self.descriptors.remove(&watch);
            // We forget a watch before we take it off: this one the kernel took.
            batch.relist |= self.tree.watch_lost(watch);
            return;
        }
        let Some((hierarchy, parent)) = self.tree.watched_directory(watch).cloned() else {
            return;
        };
        let Some(name) = name else { return };
        if !mask.contains(EventMask::ISDIR) {
            let change = FileChange::of(name.as_bytes());
            if mask.contains(EventMask::MODIFY)
                && last.replace((watch, change)) != Some((watch, change))
            {
                self.tell(SourceEvent::File(parent, change));
            }
            return;
        }
        if is_passed_over(name) {
            return;
        }
        let child = parent.child(name);
        if mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) {
            self.take_up(hierarchy, child, Learnt::ByEvent, None);
        } else if mask.contains(EventMask::DELETE) {
            let now = self.inode(hierarchy, &child);
            let watch = self
                .tree
                .removal_event(hierarchy, &child, now, &mut self.changes);
            self.unwatch(watch);
            self.flush(1);
            if now.is_some() {
                self.take_up(hierarchy, child, Learnt::ByListing, None);
            }
        } else if mask.contains(EventMask::MOVED_FROM) {
            for name in self.tree.within(hierarchy, &child) {
                self.let_go(hierarchy, &name);
            }
        }
    }

    /// Lists every hierarchy, takes up what is new and lets go of what is missing.
    fn list_all(&mut self) -> Duration {
        let started = Instant::now();
        self.metrics.listings.inc();
        self.exhausted = false;
        let ids: Vec<HierarchyId> = self.hierarchies.iter().map(|(id, _)| id).collect();
        for hierarchy in ids {
            let mut listed = HashSet::new();
            self.take_up(
                hierarchy,
                ContainerName::root(),
                Learnt::ByListing,
                Some(&mut listed),
            );
            for name in self.tree.missing(hierarchy, &listed) {
                self.let_go(hierarchy, &name);
            }
        }
        if self.exhausted && !self.said_exhausted && self.inotify.is_some() {
            self.said_exhausted = true;
            tracing::warn!(
                watched = self.tree.watch_count(),
                directories = self.tree.directory_count(),
                "inotify watches are exhausted: the rest of the cgroups is found by listing, which is \
                 slower; raise fs.inotify.max_user_watches"
            );
        }
        let unwatched = self.tree.directory_count() - self.tree.watch_count();
        self.metrics.unwatched.set(unwatched as u64);
        started.elapsed()
    }

    /// Takes up a directory and everything below it. With `listed`, all of it is visited and noted
    /// there, known or not; without, what is known is not entered again.
    fn take_up(
        &mut self,
        hierarchy: HierarchyId,
        name: ContainerName,
        learnt: Learnt,
        mut listed: Option<&mut HashSet<ContainerName>>,
    ) {
        // A stack, not recursion: nothing bounds the depth of the tree.
        let mut pending = vec![(name, learnt)];
        while let Some((name, learnt)) = pending.pop() {
            let path = name.below(&self.hierarchies.get(hierarchy).root);
            // Watched first, looked at second: what is made in between is an event.
            let mut watch = self.add_watch(hierarchy, &name, &path);
            let stat = match look_at(&path) {
                Ok(stat) => stat,
                Err(errno) => {
                    self.unwatch(watch);
                    if learnt == Learnt::ByEvent {
                        // Made and removed already, or not to be looked at: it was there all the same.
                        self.tree
                            .created(hierarchy, &name, None, learnt, &mut self.changes);
                        self.flush(TOLD_TOGETHER);
                    }
                    if !is_absent(errno) {
                        tracing::debug!(path = %path.display(), %errno, "cannot look at cgroup");
                        self.count_as_listed(hierarchy, &name, listed.as_deref_mut());
                    }
                    continue;
                }
            };
            let inode = Some(stat.st_ino);
            // By the convention of cgroupfs and most others: two links and one for each subdirectory.
            let mut childless = stat.st_nlink == 2;
            if let Some(listed) = listed.as_deref_mut() {
                listed.insert(name.clone());
            }
            let known = self.tree.knows(hierarchy, &name, inode);
            if !known {
                // One that was replaced unnoticed takes its watch with it.
                let stale = self.tree.removed(hierarchy, &name, &mut self.changes);
                self.unwatch(stale);
                self.tree
                    .created(hierarchy, &name, inode, learnt, &mut self.changes);
                self.flush(TOLD_TOGETHER);
                if stale.is_some() {
                    watch = self.add_watch(hierarchy, &name, &path);
                    childless = false;
                }
            }
            if let Some(watch) = watch {
                self.tree.watched(hierarchy, &name, watch);
                self.metrics.watches.set(self.tree.watch_count() as u64);
            } else if known && listed.is_none() {
                continue;
            }
            if childless {
                continue;
            }
            match children(&path) {
                Ok(children) => pending.extend(
                    children
                        .into_iter()
                        .filter(|child| !is_passed_over(child))
                        .map(|child| (name.child(&child), Learnt::ByListing)),
                ),
                Err(errno) if is_absent(errno) => {}
                Err(errno) => {
                    tracing::warn!(path = %path.display(), %errno, "cannot list cgroup: what was in it is taken to be there still");
                    self.count_as_listed(hierarchy, &name, listed.as_deref_mut());
                }
            }
        }
        self.flush(1);
    }

    /// What cannot be looked at (out of descriptors or memory, no permission) has not gone for that.
    fn count_as_listed(
        &self,
        hierarchy: HierarchyId,
        name: &ContainerName,
        listed: Option<&mut HashSet<ContainerName>>,
    ) {
        if let Some(listed) = listed {
            listed.extend(self.tree.within(hierarchy, name));
        }
    }

    /// Watches a directory, unless it has a watch already or there is none left.
    fn add_watch(
        &mut self,
        hierarchy: HierarchyId,
        name: &ContainerName,
        path: &Path,
    ) -> Option<i32> {
        if self.exhausted || self.tree.is_watched(hierarchy, name) {
            return None;
        }
        let Some(watches) = &mut self.watches else {
            self.exhausted = true;
            return None;
        };
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::MODIFY
            | WatchMask::ONLYDIR;
        let added = match watches.add(path, mask) {
            Err(error) if is_errno(&error, Errno::ENAMETOOLONG) => open_directory(path)
                .map_err(io::Error::from)
                .and_then(|fd| watches.add(format!("/proc/self/fd/{}", fd.as_raw_fd()), mask)),
            added => added,
        };
        match added {
            Ok(descriptor) => {
                let watch = descriptor.get_watch_descriptor_id();
                self.descriptors.insert(watch, descriptor);
                return Some(watch);
            }
            Err(error) if is_errno(&error, Errno::ENOENT) || is_errno(&error, Errno::ENODEV) => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot watch cgroup");
                self.exhausted = true;
            }
        }
        None
    }

    fn let_go(&mut self, hierarchy: HierarchyId, name: &ContainerName) {
        let watch = self.tree.removed(hierarchy, name, &mut self.changes);
        self.unwatch(watch);
        self.flush(1);
    }

    fn unwatch(&mut self, watch: Option<i32>) {
        let (Some(watch), Some(watches)) = (watch, &mut self.watches) else {
            return;
        };
        if let Some(descriptor) = self.descriptors.remove(&watch) {
            // An error (EINVAL) only says that the kernel has taken it off already.
            let _ = watches.remove(descriptor);
        }
        self.metrics.watches.set(self.tree.watch_count() as u64);
    }

    fn inode(&self, hierarchy: HierarchyId, name: &ContainerName) -> Option<u64> {
        let path = name.below(&self.hierarchies.get(hierarchy).root);
        look_at(&path).ok().map(|stat| stat.st_ino)
    }

    /// Hands on what has become of containers, if it is so much.
    fn flush(&mut self, at_least: usize) {
        if self.changes.len() < at_least {
            return;
        }
        for change in std::mem::take(&mut self.changes) {
            self.tell(SourceEvent::Tree(change));
        }
    }

    fn tell(&mut self, event: SourceEvent) {
        self.wanted &= (self.inlet)(event);
    }
}

enum Wake {
    Stop,
    Events,
    Timeout,
}

/// Cgroups that systemd makes for mount points.
fn is_passed_over(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".mount")
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Whether the directory is not there any more.
fn is_absent(errno: Errno) -> bool {
    Failure::from(errno) == Failure::Absent
}

/// The identity of a directory, however long its path.
fn look_at(path: &Path) -> Result<FileStat, Errno> {
    match stat(path) {
        Err(Errno::ENAMETOOLONG) => fstat(&open_directory(path)?),
        found => found,
    }
}

/// The names of the directories in a directory.
fn children(path: &Path) -> Result<Vec<OsString>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = match open(path, flags, Mode::empty()) {
        Err(Errno::ENAMETOOLONG) => openat(open_directory(path)?, ".", flags, Mode::empty()),
        opened => opened,
    };
    let mut listing = Dir::from_fd(opened?)?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        let is_directory = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            None => look_at(&path.join(OsStr::from_bytes(name.to_bytes()))).is_ok_and(|stat| {
                SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
            }),
        };
        if is_directory && !matches!(name.to_bytes(), b"." | b"..") {
            names.push(OsStr::from_bytes(name.to_bytes()).to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_cannot_be_looked_at_for_a_moment_has_not_gone() {
        let directory = tempfile::tempdir().unwrap();
        let outer = directory.path().join("outer");
        let root = outer.join("cgroup");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("cgroup.controllers"), "").unwrap();
        let found = Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(&root)).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let mut task = Task {
            inotify: None,
            watches: None,
            hierarchies: Arc::new(found),
            interval: Duration::MAX,
            metrics: Arc::default(),
            inlet: Box::new(move |event| {
                teller.lock().push(event);
                true
            }),
            tree: Tree::default(),
            descriptors: HashMap::new(),
            changes: Vec::new(),
            exhausted: false,
            said_exhausted: false,
            wanted: true,
        };
        task.list_all();
        assert_eq!(told.lock().len(), 3);

        let aside = directory.path().join("aside");
        fs::rename(&outer, &aside).unwrap();
        symlink(&outer, &outer).unwrap();
        assert_eq!(look_at(&root).err(), Some(Errno::ELOOP));
        task.list_all();
        fs::remove_file(&outer).unwrap();
        fs::rename(&aside, &outer).unwrap();
        task.list_all();
        assert_eq!(told.lock().len(), 3, "{:?}", told.lock());

        fs::remove_dir_all(&outer).unwrap();
        task.list_all();
        assert_eq!(told.lock().len(), 6, "now they have");
    }
}
