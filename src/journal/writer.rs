//! The threads of a journal: one writes, one syncs, one sees to it that nobody waits for a disk that
//! hangs.
//!
//! Only the first two touch the disk, and nobody waits for them: whoever appends leaves a record in
//! the [queue](super::queue) and goes on.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::disk::Disk;
use super::queue::{Mode, Queue, Queued};
use super::{Kind, Options};
use crate::self_metrics::{JournalState, SelfMetrics};

/// Bytes that are written at once.
const BATCH_BYTES: usize = 256 * 1024;

/// Called with the sequence up to which all records may be shown.
pub(super) type Listener = Box<dyn Fn(u64) + Send + Sync>;

/// What the threads and those who append have in common.
pub(super) struct Shared {
    pub state: Mutex<State>,
    /// For the writer: there are records, or it is to stop.
    pub work: Condvar,
    /// For the watcher: something is being written, or it is to stop.
    watch: Condvar,
    /// For who waits until all is written.
    idle: Condvar,
    sync: Mutex<Syncing>,
    to_sync: Condvar,
    pub listeners: Mutex<Vec<Arc<Listener>>>,
    pub metrics: Arc<SelfMetrics>,
    pub options: Options,
}

pub(super) struct State {
    pub queue: Queue,
    stopping: bool,
    /// Whether the watcher has nothing to wait for, and must be told of the next batch. Not by who
    /// appends: to wake a thread costs more than all else that it does.
    watcher_sleeps: bool,
}

#[derive(Default)]
struct Syncing {
    files: Vec<Arc<File>>,
    stopping: bool,
    /// A sync has failed: what was written may be lost, and is not written again.
    failed: bool,
}

/// The running threads.
pub(super) struct Threads {
    writer: JoinHandle<()>,
    syncer: JoinHandle<()>,
    watcher: JoinHandle<()>,
}

impl Shared {
    pub fn new(queue: Queue, options: Options, metrics: Arc<SelfMetrics>) -> Self {
        Self {
            state: Mutex::new(State {
                queue,
                stopping: false,
                watcher_sleeps: false,
            }),
            work: Condvar::new(),
            watch: Condvar::new(),
            idle: Condvar::new(),
            sync: Mutex::default(),
            to_sync: Condvar::new(),
            listeners: Mutex::default(),
            metrics,
            options,
        }
    }

    /// Adds a record.
    pub fn append(&self, kind: Kind, payload: &[u8]) -> u64 {
        let mut state = self.state.lock();
        let was_degraded = *state.queue.mode() != Mode::Writing;
        let was_idle = !state.queue.has_batch();
        let sequence = state.queue.append(kind, payload, Instant::now());
        self.note(&state, was_degraded);
        drop(state);
        if was_idle {
            self.work.notify_one();
        }
        sequence
    }

    /// Tells all who listen that more may be shown. Holds no lock that they could want.
    fn tell(&self) {
        let settled = self.state.lock().queue.settled();
        let listeners = self.listeners.lock().clone();
        listeners.iter().for_each(|listener| listener(settled));
    }

    /// Waits until all that was appended has been written. At `deadline` it is settled without.
    pub fn flush(&self, deadline: Instant) {
        let mut state = self.state.lock();
        while !state.queue.is_empty() && *state.queue.mode() == Mode::Writing {
            if self.idle.wait_until(&mut state, deadline).timed_out() {
                state
                    .queue
                    .degrade("the disk did not take all records before the deadline");
                self.note(&state, false);
                break;
            }
        }
        drop(state);
        self.tell();
    }

    /// Logs and counts what has become of the mode.
    fn note(&self, state: &State, was_degraded: bool) {
        let metrics = &self.metrics.journal;
        metrics.given_up.set(state.queue.given_up());
        match (state.queue.mode(), was_degraded) {
            (Mode::MemoryOnly(why), false) => {
                metrics.failures.inc();
                metrics.state.set(JournalState::MemoryOnly as u64);
                tracing::warn!(
                    directory = %self.options.directory.display(),
                    "the journal is in memory only: {why}; events are shown without being written, until the disk takes them again"
                );
            }
            (Mode::Writing, true) => {
                metrics.state.set(JournalState::Writing as u64);
                tracing::info!(
                    directory = %self.options.directory.display(),
                    given_up = state.queue.given_up(),
                    "the journal is on disk again"
                );
            }
            _ => {}
        }
    }
}

impl Threads {
    /// Starts all three.
    pub fn spawn(shared: &Arc<Shared>, disk: Disk) -> io::Result<Self> {
        let thread = |name: &str, run: Box<dyn FnOnce(&Shared) + Send>| {
            let shared = Arc::clone(shared);
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || run(&shared))
        };
        Ok(Self {
            writer: thread(
                "cgauge-journal",
                Box::new(move |shared| write(shared, disk)),
            )?,
            syncer: thread("cgauge-jrnlsync", Box::new(sync))?,
            watcher: thread("cgauge-jrnlwtch", Box::new(watch))?,
        })
    }

    /// Ends them, once all is written and synced. A disk that hangs is not waited for beyond
    /// `deadline`: its threads end when it lets them.
    pub fn stop(self, shared: &Shared, deadline: Instant) {
        shared.flush(deadline);
        shared.state.lock().stopping = true;
        shared.work.notify_all();
        shared.watch.notify_all();
        if join_until(self.writer, deadline) {
            shared.sync.lock().stopping = true;
            shared.to_sync.notify_all();
            join_until(self.syncer, deadline);
        }
        join_until(self.watcher, deadline);
    }
}

/// False if it still runs at the deadline. There is no join with one.
fn join_until(thread: JoinHandle<()>, deadline: Instant) -> bool {
    const LOOK_AGAIN: Duration = Duration::from_millis(1);
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    thread.join().is_ok()
}

fn write(shared: &Shared, mut disk: Disk) {
    let mut patience = shared.options.retry.0;
    loop {
        let Some(batch) = next_batch(shared) else {
            return end(shared, &mut disk);
        };
        if std::mem::take(&mut shared.sync.lock().failed) || disk.is_removed() {
            disk.begin_anew();
        }
        let last = batch.last().map_or(0, |record| record.sequence);
        let begin = Instant::now();
        let written = disk.write(&batch);
        let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        shared.metrics.journal.write_ns.add(took);
        match written {
            Ok(finished) => {
                patience = shared.options.retry.0;
                shared.metrics.journal.records.add(batch.len() as u64);
                want_sync(shared, finished.iter().chain(disk.current()));
                let mut state = shared.state.lock();
                state.queue.written(last);
                if state.queue.recover() {
                    shared.note(&state, true);
                }
                if state.queue.is_empty() {
                    shared.idle.notify_all();
                }
                drop(state);
                shared.tell();
            }
            Err(failure) => {
                shared.metrics.journal.records.add(failure.written as u64);
                let mut batch = batch;
                let rest = batch.split_off(failure.written);
                let mut state = shared.state.lock();
                if let Some(last) = batch.last() {
                    state.queue.written(last.sequence);
                }
                let was_degraded = *state.queue.mode() != Mode::Writing;
                state.queue.degrade(format!(
                    "{}: {}",
                    failure.path.display(),
                    advice(&failure.error)
                ));
                state.queue.put_back(rest);
                shared.note(&state, was_degraded);
                shared.idle.notify_all();
                drop(state);
                shared.tell();
                if wait_before_retry(shared, patience) {
                    return;
                }
                patience = (patience * 2).min(shared.options.retry.1);
            }
        }
    }
}

/// What went wrong, and what to do about it.
fn advice(error: &io::Error) -> String {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let what_to_do = match error.kind() {
        StorageFull | QuotaExceeded => "; make room, or lower --journal-max-size",
        ReadOnlyFilesystem => "; mount it writable, or move --state-dir",
        PermissionDenied => "; let cgauge's user write there, or move --state-dir",
        _ => "",
    };
    format!("{error}{what_to_do}")
}

/// The next records, as soon as there are any. `None` once all is written and it is to stop.
fn next_batch(shared: &Shared) -> Option<Vec<Queued>> {
    let mut state = shared.state.lock();
    loop {
        if state.queue.has_batch() {
            let batch = state.queue.take_batch(BATCH_BYTES);
            let wake = std::mem::take(&mut state.watcher_sleeps);
            drop(state);
            if wake {
                shared.watch.notify_one();
            }
            return Some(batch);
        }
        if state.stopping {
            return None;
        }
        shared.work.wait(&mut state);
    }
}

/// True if it is to stop: with a disk that does not take anything there is nothing more to do.
fn wait_before_retry(shared: &Shared, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let mut state = shared.state.lock();
    while !state.stopping {
        if shared.work.wait_until(&mut state, deadline).timed_out() {
            return false;
        }
    }
    true
}

/// The last record says that there are none that are not on disk.
fn end(shared: &Shared, disk: &mut Disk) {
    let mut state = shared.state.lock();
    if *state.queue.mode() != Mode::Writing {
        return;
    }
    state.queue.append(Kind::ENDED, &[], Instant::now());
    let batch = state.queue.take_batch(usize::MAX);
    drop(state);
    if disk.write(&batch).is_ok() {
        want_sync(shared, disk.current().into_iter());
    }
}

fn want_sync<'a>(shared: &Shared, files: impl Iterator<Item = &'a Arc<File>>) {
    let mut sync = shared.sync.lock();
    let was_idle = sync.files.is_empty();
    for file in files {
        if !sync.files.iter().any(|known| Arc::ptr_eq(known, file)) {
            sync.files.push(Arc::clone(file));
        }
    }
    if was_idle {
        shared.to_sync.notify_one();
    }
}

fn sync(shared: &Shared) {
    let mut last: Option<Arc<File>> = None;
    loop {
        let mut sync = shared.sync.lock();
        while sync.files.is_empty() && !sync.stopping {
            shared.to_sync.wait(&mut sync);
        }
        let deadline = Instant::now() + shared.options.sync_interval;
        while !sync.stopping && !shared.to_sync.wait_until(&mut sync, deadline).timed_out() {}
        let files = std::mem::take(&mut sync.files);
        let stopping = sync.stopping;
        drop(sync);
        let begin = Instant::now();
        let mut result = files.iter().try_for_each(|file| file.sync_data());
        let newest = files.last();
        if newest.is_some_and(|file| !last.as_ref().is_some_and(|last| Arc::ptr_eq(last, file))) {
            // A new segment: its name is to survive, too.
            result = result.and_then(|()| File::open(&shared.options.directory)?.sync_all());
            last = newest.cloned();
        }
        let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        shared.metrics.journal.sync_ns.add(took);
        shared.metrics.journal.syncs.inc();
        if let Err(error) = result {
            shared.metrics.journal.sync_errors.inc();
            tracing::warn!(directory = %shared.options.directory.display(), %error, "the journal could not be synced: after a power loss its last records may be missing");
            shared.sync.lock().failed = true;
        }
        if stopping {
            return;
        }
    }
}

fn watch(shared: &Shared) {
    let limit = shared.options.stall_limit;
    let mut state = shared.state.lock();
    while !state.stopping {
        match state.queue.oldest_unsettled() {
            None => {
                state.watcher_sleeps = true;
                shared.watch.wait(&mut state);
            }
            Some(since) => {
                let _ = shared.watch.wait_until(&mut state, since + limit);
            }
        }
        if state.queue.degrade_if_stalled(limit, Instant::now()) {
            shared.note(&state, false);
            drop(state);
            shared.tell();
            state = shared.state.lock();
        }
    }
}
