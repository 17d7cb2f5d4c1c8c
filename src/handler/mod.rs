//! POLL: one container, what to read of it and when.
//!
//! In: a container's directories (from the manager) and requests to poll now (from `query`). Out:
//! samples into its ring, and OOM kills that its counters tell. [`Handler`] is what others hold;
//! [`sampler`] has the threads that do the reading, apart from those that answer requests.

pub mod governor;
mod quiet;
pub mod sampler;
pub mod schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use crate::cache::{Derived, Limits, Range, Ring, Series, Summary};
use crate::cgroup::container::{KeepOpen, Outcome};
use crate::cgroup::file::FdBudget;
use crate::cgroup::plan::Plan;
use crate::cgroup::{Cgroup, ContainerName, HierarchyId, OomCounters, ReadContext, Sample, Spec};
use crate::ledger::Figures;
use crate::units::Timestamp;
pub use governor::{Governor, Stretch};
use quiet::{Quiet, Reading};
pub use sampler::Sampler;
pub use schedule::Housekeeping;

/// How long settings are believed without a sign that somebody wrote to them. Writes are noticed by
/// the watcher; this covers a directory without a watch.
const SPEC_REFRESH: Duration = Duration::from_secs(60);

/// Requests that may wait for one poll of a container. More are answered from what there is.
const MAX_WAITERS: usize = 1_024;

/// Samples that are looked at for what there was before a kill: a poll or two may have come since.
const SAMPLES_BEFORE_KILLS: usize = 8;

/// Change to a container's directories, carried out before its next poll: the manager never waits
/// for one that is under way.
#[derive(Debug)]
enum Pending {
    Attach(HierarchyId, u64),
    Detach(HierarchyId),
    Members,
    Kills(OomCounters),
}

/// One container, from its first directory to its last. Another one of the same name is another
/// handler.
#[derive(Debug)]
pub struct Handler {
    name: ContainerName,
    incarnation: u64,
    /// When the cgroup was made, as far as was known when it was noticed.
    noticed: Timestamp,
    /// When it was noticed that it had been made; `None` if it was there before.
    made: Option<Instant>,
    /// Whether it is polled at all.
    is_polled: bool,
    pending: Mutex<Vec<Pending>>,
    /// When it was last noticed that processes came or went.
    members_changed: AtomicI64,
    /// Every directory that it has or had.
    directories: Mutex<Vec<(HierarchyId, u64)>>,
    reader: Mutex<Reader>,
    history: Mutex<Ring>,
    summary: Mutex<Summary>,
    spec: RwLock<Option<Arc<Spec>>>,
    spec_is_old: AtomicBool,
    /// Whether a poll is on its way because settings were written.
    hastened: AtomicBool,
    demand: Mutex<Demand>,
    removed: AtomicBool,
    oom_kills: AtomicU64,
    /// The kernel's counters of them at the last look; `None` before the first.
    oom_counter: Mutex<Option<OomCounters>>,
    /// Whether it was in the ledger of an earlier run, and its counter has not been looked at since.
    continued: AtomicBool,
    /// The most memory that a poll saw, bytes.
    peak_seen: AtomicU64,
    /// Which entry of the sampler's queue is the valid one.
    ticket: AtomicU64,
    oom_check_queued: AtomicBool,
}

/// What only the thread that polls touches.
#[derive(Debug)]
struct Reader {
    cgroup: Cgroup,
    interval: Duration,
    /// OOM kills that the kernel had counted at the last look; `None` before the first.
    oom_kills: Option<OomCounters>,
    spec_read: Option<Instant>,
    /// Whether it has not been polled by its schedule yet.
    is_new: bool,
    quiet: Quiet,
}

#[derive(Debug, Default)]
struct Demand {
    /// When everything was last read.
    polled: Option<Instant>,
    queued: bool,
    waiters: Vec<oneshot::Sender<()>>,
    /// What came up while another thread was at the container: for that one to ask for again.
    missed: Missed,
}

/// Work that found another thread at the container. No thread ever waits for another: a slow file
/// would hold them up one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    /// A poll that somebody wants.
    pub poll: bool,
    /// A look at the OOM kill counter.
    pub oom_check: bool,
}

/// What is told of a container when its handler is made.
#[derive(Debug)]
pub struct NewHandler {
    /// Its name.
    pub name: ContainerName,
    /// Which of the containers of that name.
    pub incarnation: u64,
    /// When it was made, as far as is known.
    pub noticed: Timestamp,
    /// Whether it was there before the monitor: OOM kills that its counters have already are then
    /// none of ours.
    pub preexisting: bool,
    /// Whether it is polled at all, be it on demand.
    pub polled: bool,
}

/// What a poll has found beside the sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Polled {
    /// When to poll next; `None` if the container has gone.
    pub next: Option<Duration>,
    /// OOM kills since the last look.
    pub new_oom_kills: OomCounters,
    /// Whether this was the first look at their counter.
    pub first_count: bool,
    /// Whether the pulse alone was read.
    pub quiet: bool,
    /// Whether everything was read.
    pub in_full: bool,
    /// Whether nothing had changed.
    pub idle: bool,
    /// What is to be done again.
    pub missed: Missed,
}

impl Handler {
    /// A handler without directories yet.
    pub fn new(
        new: NewHandler,
        plan: &Arc<Plan>,
        budget: &Arc<FdBudget>,
        limits: Limits,
        interval: Duration,
    ) -> Self {
        let cgroup = Cgroup::new(new.name.clone(), Arc::clone(plan), Arc::clone(budget));
        let oom_kills = (!new.preexisting).then_some(OomCounters {
            kills: 0,
            groups: Some(0),
        });
        Self {
            name: new.name,
            incarnation: new.incarnation,
            noticed: new.noticed,
            made: (!new.preexisting).then(Instant::now),
            is_polled: new.polled,
            pending: Mutex::default(),
            members_changed: AtomicI64::new(i64::MIN),
            directories: Mutex::default(),
            reader: Mutex::new(Reader {
                cgroup,
                interval,
                oom_kills,
                spec_read: None,
                is_new: true,
                quiet: Quiet::default(),
            }),
            history: Mutex::new(Ring::new(limits)),
            summary: Mutex::default(),
            spec: RwLock::new(None),
            spec_is_old: AtomicBool::new(true),
            hastened: AtomicBool::new(false),
            demand: Mutex::default(),
            removed: AtomicBool::new(false),
            oom_kills: AtomicU64::new(0),
            oom_counter: Mutex::default(),
            continued: AtomicBool::new(false),
            peak_seen: AtomicU64::new(0),
            ticket: AtomicU64::new(0),
            oom_check_queued: AtomicBool::new(false),
        }
    }

    /// The container's name.
    pub fn name(&self) -> &ContainerName {
        &self.name
    }

    /// Tells it apart from others that had or will have its name.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// When the container was made, as far as is known.
    pub fn created_at(&self) -> Timestamp {
        self.spec
            .read()
            .as_ref()
            .and_then(|spec| spec.created_at)
            .unwrap_or(self.noticed)
    }

    /// Whether somebody has written to its settings since they were read.
    pub(crate) fn settings_are_old(&self) -> bool {
        self.spec_is_old.load(Relaxed)
    }

    /// Its settings; `None` before the first poll.
    pub fn spec(&self) -> Option<Arc<Spec>> {
        self.spec.read().clone()
    }

    /// The newest sample, written into `sample`. False if there is none yet.
    pub fn latest(&self, sample: &mut Sample) -> bool {
        self.history.lock().latest(sample)
    }

    /// When the newest sample was taken.
    pub fn latest_time(&self) -> Option<Timestamp> {
        self.history.lock().newest_time()
    }

    /// A part of its history.
    pub fn series(&self, range: Range) -> Series {
        self.history.lock().series(range)
    }

    /// What it used over the last minute, hour and day; `None` before the first sample.
    pub fn derived(&self) -> Option<Derived> {
        self.summary.lock().derived()
    }

    /// OOM kills of processes in it since it was noticed.
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills.load(Relaxed)
    }

    /// How many tasks there were, and how much memory was used, before its counter of OOM kills rose to
    /// `kills`.
    pub(crate) fn before_kills(&self, kills: u64) -> (Option<u64>, Option<u64>) {
        let newest = Range {
            newest: Some(SAMPLES_BEFORE_KILLS),
            ..Range::default()
        };
        let mut before = (None, None);
        self.series(newest).for_each(|sample| {
            if sample.memory_events_local.oom_kill < Some(kills) {
                before = (sample.pids.current, sample.memory.usage_bytes);
            }
        });
        before
    }

    /// What it had used at the newest sample, and when that was taken; `None` before the first.
    pub fn figures(&self) -> Option<(Figures, Sample)> {
        let mut sample = Sample::default();
        if !self.latest(&mut sample) {
            return None;
        }
        let mut figures = Figures::of(&sample, self.spec().as_deref());
        if sample.memory.peak_bytes.is_none() && figures.memory_peak_bytes.is_some() {
            let seen = self.peak_seen.load(Relaxed);
            figures.memory_peak_bytes = figures.memory_peak_bytes.max(Some(seen));
        }
        Some((figures, sample))
    }

    /// Its directories, those that have gone too.
    pub(crate) fn directories(&self) -> Vec<(HierarchyId, u64)> {
        self.directories.lock().clone()
    }

    /// Whether it has this very directory in `hierarchy`.
    pub(crate) fn is_at(&self, hierarchy: Option<HierarchyId>, inode: Option<u64>) -> bool {
        let directories = self.directories.lock();
        let mut found = directories.iter();
        found.any(|(of, number)| Some(*of) == hierarchy && Some(*number) == inode)
    }

    /// The kernel's counters of OOM kills in it at the last look, those before its time included.
    pub(crate) fn oom_counter(&self) -> Option<OomCounters> {
        *self.oom_counter.lock()
    }

    /// Says what its counters of OOM kills were when they were last told of: only what comes on top is
    /// new.
    pub(crate) fn assume_oom_counter(&self, counted: OomCounters) {
        self.pending.lock().push(Pending::Kills(counted));
    }

    /// The same, of an earlier run of the monitor: what comes on top happened while there was none.
    pub(crate) fn continue_oom_counter(&self, counted: OomCounters) {
        self.assume_oom_counter(counted);
        self.continued.store(true, Relaxed);
    }

    /// Whether OOM kills that are counted now may have happened before the monitor: true once.
    pub(crate) fn take_continued(&self) -> bool {
        self.continued.swap(false, Relaxed)
    }

    /// Whether the container has gone.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Relaxed)
    }

    /// Counts an OOM kill of a process in it.
    pub(crate) fn count_oom_kill(&self) {
        self.oom_kills.fetch_add(1, Relaxed);
    }

    /// The container has a directory in `hierarchy`. One without an inode was gone before it could be
    /// looked at: what has its name by the time of the poll is another container's.
    pub(crate) fn attach(&self, hierarchy: HierarchyId, inode: Option<u64>) {
        let Some(inode) = inode else { return };
        self.pending.lock().push(Pending::Attach(hierarchy, inode));
        self.directories.lock().push((hierarchy, inode));
        self.spec_is_old.store(true, Relaxed);
    }

    /// The container has lost its directory in `hierarchy`.
    pub(crate) fn detach(&self, hierarchy: HierarchyId) {
        self.pending.lock().push(Pending::Detach(hierarchy));
    }

    /// Processes have come or gone.
    pub(crate) fn members_changed(&self) {
        self.members_changed.store(Timestamp::now().0, Relaxed);
        let mut pending = self.pending.lock();
        if !matches!(pending.last(), Some(Pending::Members)) {
            pending.push(Pending::Members);
        }
    }

    /// Whether processes may have come or gone since then.
    pub(crate) fn members_changed_since(&self, when: Timestamp) -> bool {
        self.members_changed.load(Relaxed) >= when.0
    }

    /// Somebody wrote to a setting. True if a poll is to be hastened for it; false if one has been for
    /// an earlier write already.
    pub(crate) fn settings_changed(&self) -> bool {
        self.spec_is_old.store(true, Relaxed);
        self.is_polled && !self.hastened.swap(true, Relaxed)
    }

    /// The container has gone: nothing is read of it any more, and its descriptors are given back as
    /// soon as no poll is under way.
    pub(crate) fn remove(&self) {
        self.removed.store(true, Relaxed);
        self.demand.lock().waiters.clear();
        if let Some(mut reader) = self.reader.try_lock() {
            reader.close(self);
        }
    }

    /// Reads a container and adds the sample to the history: everything, unless nobody asks for it and
    /// everything was read not long ago. Then, if its pulse has not changed, nothing beyond that, and
    /// else what changes.
    pub(crate) fn poll(
        &self,
        context: &mut ReadContext,
        sample: &mut Sample,
        housekeeping: &Housekeeping,
    ) -> Polled {
        let (mut reader, waiters) = {
            let mut demand = self.demand.lock();
            let Some(reader) = self.reader.try_lock() else {
                demand.missed.poll = true;
                return Polled::default();
            };
            // Who asks from now on wants a later poll than this one.
            demand.queued = false;
            demand.missed.poll = false;
            self.hastened.store(false, Relaxed);
            (reader, std::mem::take(&mut demand.waiters))
        };
        if self.is_removed() {
            reader.close(self);
            return Polled::default();
        }
        let started = Instant::now();
        let in_full = reader.take_over(self)
            || !waiters.is_empty()
            || self.settings_are_old()
            || reader.quiet.is_over(started, housekeeping.full_interval);
        let mut polled = Polled::default();
        // What is not read this time is as it was.
        let in_part = !in_full && self.history.lock().latest(sample);
        if !in_part {
            context.clear(sample);
        }
        let pulse = reader.cgroup.read_pulse(context, sample);
        let mut reading = reader.quiet.feel(pulse, started);
        if in_full {
            reading = Reading::Everything;
        }
        if reading == Reading::Nothing && in_part {
            polled.quiet = true;
            polled.idle = true;
            reader.cgroup.leave_rest();
            self.history.lock().repeat(sample.timestamp);
            self.keep_summary(sample, reader.quiet.working_set_bytes);
            reader.interval = housekeeping.next(reader.interval, false);
        } else {
            let outcome = match (in_part, reading) {
                (false, _) => reader.cgroup.read_rest(context, sample, None),
                (true, Reading::Everything) => reader.cgroup.read(context, sample),
                (true, _) => {
                    let bound = housekeeping.full_interval;
                    reader.cgroup.read_rest(context, sample, Some(bound))
                }
            };
            // Before the sample is seen: whoever sees it finds the settings that go with it.
            reader.refresh_spec(self, context);
            polled.in_full = outcome != Outcome::Part;
            if outcome == Outcome::Gone {
                reader.quiet.forget();
            } else {
                let changed = self.history.lock().push(sample);
                let working_set_bytes = sample.memory.working_set_bytes();
                self.keep_summary(sample, working_set_bytes);
                reader.quiet.working_set_bytes = working_set_bytes;
                if polled.in_full {
                    reader.quiet.read_in_full(started);
                }
                reader.interval = housekeeping.next(reader.interval, changed);
                polled.idle = !changed;
                let used = sample.memory.usage_bytes.unwrap_or(0);
                self.peak_seen.fetch_max(used, Relaxed);
                let counted = OomCounters::of(&sample.memory_events_local);
                (polled.first_count, polled.new_oom_kills) = reader.new_oom_kills(self, counted);
            }
        }
        let young = (self.made).and_then(|made| housekeeping.young(made.elapsed()));
        if young.is_some() {
            // That it stands still in its first moments says little of how often to look later.
            reader.interval = housekeeping.interval;
        }
        let keep = match () {
            () if reader.interval > housekeeping.interval => KeepOpen::Nothing,
            () if reader.quiet.is_settled() => KeepOpen::Pulse,
            () if housekeeping.full_interval.is_zero() => KeepOpen::All,
            () => KeepOpen::Moving,
        };
        reader.cgroup.keep_open(keep);
        polled.next = Some(match young {
            Some(next) => next,
            None if std::mem::take(&mut reader.is_new) => housekeeping.splay(self.name.as_bytes()),
            None => reader.interval,
        });
        drop(reader);
        let mut demand = self.demand.lock();
        if polled.in_full {
            demand.polled = Some(Instant::now());
        }
        polled.missed = std::mem::take(&mut demand.missed);
        drop(demand);
        for waiter in waiters {
            // An error says that whoever asked has given up.
            let _ = waiter.send(());
        }
        polled
    }

    fn keep_summary(&self, sample: &Sample, working_set_bytes: Option<u64>) {
        self.summary
            .lock()
            .push(sample.timestamp, sample.cpu.usage_ns, working_set_bytes);
    }

    /// Looks only whether the OOM killer was here.
    pub(crate) fn check_oom_kills(&self, context: &mut ReadContext) -> Polled {
        self.oom_check_queued.store(false, Relaxed);
        let mut polled = Polled::default();
        let mut reader = {
            let mut demand = self.demand.lock();
            let Some(reader) = self.reader.try_lock() else {
                demand.missed.oom_check = true;
                return polled;
            };
            reader
        };
        if self.is_removed() {
            return polled;
        }
        reader.take_over(self);
        let counted = reader.cgroup.read_oom_kills(context);
        (polled.first_count, polled.new_oom_kills) = reader.new_oom_kills(self, counted);
        drop(reader);
        polled.missed = std::mem::take(&mut self.demand.lock().missed);
        polled
    }

    /// Notes that somebody wants a poll, unless one has finished within `max_age` or nobody will do
    /// it. True in the first place if it must be queued.
    fn demand(&self, max_age: Duration) -> Option<(bool, oneshot::Receiver<()>)> {
        let mut demand = self.demand.lock();
        let fresh = demand
            .polled
            .is_some_and(|polled| polled.elapsed() <= max_age);
        if fresh || !self.is_polled || self.is_removed() || demand.waiters.len() >= MAX_WAITERS {
            return None;
        }
        let (waiter, done) = oneshot::channel();
        demand.waiters.push(waiter);
        Some((!std::mem::replace(&mut demand.queued, true), done))
    }
}

impl Reader {
    /// Carries out what the manager has noted. True if there was anything.
    fn take_over(&mut self, handler: &Handler) -> bool {
        let all = std::mem::take(&mut *handler.pending.lock());
        let any = !all.is_empty();
        for pending in all {
            match pending {
                Pending::Attach(hierarchy, inode) => {
                    if let Err(error) = self.cgroup.attach(hierarchy, Some(inode)) {
                        tracing::debug!(%error, "container has gone, or may not be looked at");
                    }
                }
                Pending::Detach(hierarchy) => self.cgroup.detach(hierarchy),
                Pending::Members => self.cgroup.members_changed(),
                Pending::Kills(counted) => self.oom_kills = Some(counted),
            }
        }
        any
    }

    fn refresh_spec(&mut self, handler: &Handler, context: &mut ReadContext) {
        let expired = self
            .spec_read
            .is_none_or(|read| read.elapsed() > SPEC_REFRESH);
        if !handler.spec_is_old.swap(false, Relaxed) && !expired {
            return;
        }
        let mut spec = self.cgroup.read_spec(context);
        // The kernel forgets when it made a directory; what was seen first stays.
        let known = handler.spec.read().clone();
        let first = known.as_ref().and_then(|known| known.created_at);
        spec.created_at = first
            .or_else(|| Some(spec.created_at?.min(handler.noticed)))
            .or(Some(handler.noticed));
        self.spec_read = Some(Instant::now());
        if known.as_deref() != Some(&spec) {
            *handler.spec.write() = Some(Arc::new(spec));
        }
    }

    /// Whether this is the first look at them, and what is new.
    fn new_oom_kills(
        &mut self,
        handler: &Handler,
        counted: Option<OomCounters>,
    ) -> (bool, OomCounters) {
        let Some(counted) = counted else {
            return (false, OomCounters::default());
        };
        // A sample may have what was read some time ago: the kernel never counts down.
        let counted = self.oom_kills.map_or(counted, |before| before.max(counted));
        let first = handler.oom_counter.lock().replace(counted).is_none();
        let before = self.oom_kills.replace(counted);
        (first, counted.since(before.unwrap_or(counted)))
    }

    /// Gives back all descriptors.
    fn close(&mut self, handler: &Handler) {
        handler.pending.lock().clear();
        self.cgroup.close();
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
