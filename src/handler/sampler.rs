//! The threads that poll: a queue of containers by time, and one of those that are wanted now.
//!
//! They read kernel files and nothing else; whoever answers requests waits for them at most, and is
//! never blocked by them. A thread that a slow file holds up holds up no other: while all are stuck,
//! more are started, up to a bound.

use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Handler, Housekeeping, Stretch};
use crate::cgroup::network::NetworkNamespaces;
use crate::cgroup::{OomCounters, ReadContext, Sample};
use crate::self_metrics::SelfMetrics;

/// Polls are done at multiples of this, so that a thread wakes for many and not for each: to wake costs three
/// times what a poll costs.
const GRID: Duration = Duration::from_millis(50);

/// And those that are wanted no sooner than after four of these, at multiples of this.
const COARSE_GRID: Duration = Duration::from_millis(250);

/// How long after its creation a container is polled for the first time.
const FIRST_POLL_AFTER: Duration = Duration::from_millis(5);

/// The same of one that was there before the monitor, unless the first listing is over sooner: listing and
/// polling get in each other's way, and what is listed is what others wait for.
const FIRST_POLL_WHILE_LISTING: Duration = Duration::from_secs(1);

/// Between two polls of a container because of writes to its settings: whoever owns a part of the tree
/// can write to it without end.
const POLL_AFTER_WRITE: Duration = Duration::from_millis(50);

/// When one thread has been at the polls of one point of the grid for longer, others are woken.
const HELP_AFTER: Duration = Duration::from_millis(2);

/// A thread that waits while another does so for the next polls looks whether they have been done so long
/// after: a slow file may hold that one up.
const STAND_BY: Duration = Duration::from_secs(1);

/// A thread that has been at one container for longer is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// The most threads there may be while others are stuck.
const MAX_THREADS: usize = 16;

/// When a poll is due whose time cannot be reckoned: never, as far as a process lives.
const FAR_AWAY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Queue entries below which void ones are left alone.
const MIN_TIDY: usize = 1_024;

/// Called with a container and the OOM kills that its counters newly tell, and at the first look at
/// them whatever they tell.
pub type OomKillsCounted = Arc<dyn Fn(&Arc<Handler>, OomCounters) + Send + Sync>;

/// What all sampler threads share.
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    housekeeping: Housekeeping,
    namespaces: Arc<NetworkNamespaces>,
    metrics: Arc<SelfMetrics>,
    on_oom_kills: OomKillsCounted,
    stretch: Mutex<Stretch>,
    started: Instant,
}

#[derive(Default)]
struct Queue {
    /// Wanted now, in order.
    urgent: VecDeque<(Arc<Handler>, Job)>,
    /// By time.
    timed: BinaryHeap<Timed>,
    /// The number of entries at which void ones are taken out.
    tidy_at: usize,
    /// The time for which a thread waits.
    awaited: Option<Instant>,
    last_ticket: u64,
    stopping: bool,
}

#[derive(Debug, Clone, Copy)]
enum Job {
    /// With the time at which it was due, if it is not wanted just now.
    Poll(Option<Instant>),
    CheckOomKills,
}

struct Timed {
    when: When,
    ticket: u64,
    handler: Weak<Handler>,
}

/// When a poll is wanted.
#[derive(Debug, Clone, Copy)]
struct When {
    /// By the container's own schedule.
    due: Instant,
    /// When it is done: at the next point of the grid. One that is wanted very soon is done when it is due: its
    /// container may be gone by then.
    wake: Instant,
}

impl Timed {
    /// Whether this is the newest entry of a container that is still there.
    fn is_valid(&self) -> bool {
        self.handler
            .upgrade()
            .is_some_and(|handler| handler.ticket.load(Relaxed) == self.ticket)
    }
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    /// The earliest is the greatest: `BinaryHeap` gives the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.when.wake, other.ticket).cmp(&(self.when.wake, self.ticket))
    }
}

/// The sampler threads and their queue.
pub struct Sampler {
    shared: Arc<Shared>,
    threads: Mutex<Vec<Worker>>,
    base_threads: usize,
}

struct Worker {
    /// Milliseconds since `Shared::started` at which the present job was begun, plus one; 0 between
    /// jobs.
    busy_since: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("base_threads", &self.base_threads)
            .finish_non_exhaustive()
    }
}

impl Sampler {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        threads: usize,
        housekeeping: Housekeeping,
        namespaces: Arc<NetworkNamespaces>,
        metrics: Arc<SelfMetrics>,
        on_oom_kills: OomKillsCounted,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            housekeeping,
            namespaces,
            metrics,
            on_oom_kills,
            stretch: Mutex::new(Stretch::NONE),
            started: Instant::now(),
        });
        let sampler = Self {
            shared,
            threads: Mutex::default(),
            base_threads: threads.max(1),
        };
        for _ in 0..sampler.base_threads {
            sampler.add_thread()?;
        }
        Ok(sampler)
    }

    fn add_thread(&self) -> io::Result<()> {
        let mut threads = self.threads.lock();
        let busy_since = Arc::new(AtomicU64::new(0));
        let (shared, busy) = (Arc::clone(&self.shared), Arc::clone(&busy_since));
        let thread = std::thread::Builder::new()
            .name("cgauge-sampler".into())
            .spawn(move || shared.run(&busy))?;
        threads.push(Worker { busy_since, thread });
        self.shared.metrics.samplers.set(threads.len() as u64);
        Ok(())
    }

    /// How far intervals are stretched now.
    pub fn stretch(&self) -> Stretch {
        *self.shared.stretch.lock()
    }

    /// Stretches intervals from each container's next poll on.
    pub fn set_stretch(&self, stretch: Stretch) {
        *self.shared.stretch.lock() = stretch;
    }

    /// The housekeeping settings.
    pub fn housekeeping(&self) -> Housekeeping {
        self.shared.housekeeping
    }

    /// Polls a new container in a moment, and from then on by its schedule. Not at once: it has no
    /// processes yet, and a burst of new ones is for the watcher to see first. Who asks for it
    /// sooner has it polled sooner.
    ///
    /// Until all that is there is `listed`, in a second, or when it [is](Self::begin).
    pub fn add(&self, handler: &Arc<Handler>, listed: bool) {
        let after = match listed {
            true => FIRST_POLL_AFTER,
            false => FIRST_POLL_WHILE_LISTING,
        };
        if self.shared.schedule(handler, None, after) {
            self.shared.wake.notify_one();
        }
    }

    /// All that is there is listed: has these polled.
    pub fn begin(&self, handlers: &[Arc<Handler>]) {
        for handler in handlers.iter().filter(|handler| handler.is_polled) {
            self.shared.schedule(handler, None, Duration::ZERO);
        }
        self.shared.wake.notify_all();
    }

    /// Asks for a poll of what was polled longer than `max_age` ago. The receiver resolves when it is
    /// done, with an error if the container has gone meanwhile; `None` if there is nothing to wait for.
    /// However many ask, one poll serves them.
    pub fn request(
        &self,
        handler: &Arc<Handler>,
        max_age: Duration,
    ) -> Option<oneshot::Receiver<()>> {
        let (queue, done) = handler.demand(max_age)?;
        if queue {
            self.shared
                .queue
                .lock()
                .urgent
                .push_back((Arc::clone(handler), Job::Poll(None)));
            self.shared.wake.notify_one();
        }
        Some(done)
    }

    /// The same of several at once, in their order.
    pub fn request_all(
        &self,
        handlers: impl IntoIterator<Item = Arc<Handler>>,
        max_age: Duration,
    ) -> Vec<(Arc<Handler>, Option<oneshot::Receiver<()>>)> {
        let mut urgent = Vec::new();
        let asked = handlers.into_iter().map(|handler| {
            let demanded = handler.demand(max_age);
            if matches!(demanded, Some((true, _))) {
                urgent.push((Arc::clone(&handler), Job::Poll(None)));
            }
            (handler, demanded.map(|(_, done)| done))
        });
        let asked = asked.collect();
        if !urgent.is_empty() {
            self.shared.queue.lock().urgent.extend(urgent);
            self.shared.wake.notify_one();
        }
        asked
    }

    /// Polls as settings have been written: at once, or in a moment if it has just been done.
    pub fn hasten(&self, handler: &Arc<Handler>) {
        if self.request(handler, POLL_AFTER_WRITE).is_none()
            && self.shared.schedule(handler, None, POLL_AFTER_WRITE)
        {
            self.shared.wake.notify_one();
        }
    }

    /// Asks for a look at the OOM kill counter alone.
    pub fn check_oom_kills(&self, handler: &Arc<Handler>) {
        if !handler.oom_check_queued.swap(true, Relaxed) {
            self.shared
                .queue
                .lock()
                .urgent
                .push_back((Arc::clone(handler), Job::CheckOomKills));
            self.shared.wake.notify_one();
        }
    }

    /// Starts another thread if all are stuck. To be called about once a second.
    pub fn relieve(&self) {
        let now = self.shared.now_ms();
        let all_stuck = {
            let threads = self.threads.lock();
            threads.len() < MAX_THREADS
                && threads.iter().all(|worker| {
                    let since = worker.busy_since.load(Relaxed);
                    since != 0 && now.saturating_sub(since) > STUCK_AFTER.as_millis() as u64
                })
        };
        if all_stuck {
            tracing::warn!(
                "all samplers are held up by slow files: starting another (see cgauge_file_slow_reads_total)"
            );
            if let Err(error) = self.add_thread() {
                tracing::error!(%error, "cannot start a sampler thread");
            }
        }
    }

    /// Stops all threads, and waits for those that are not stuck until `deadline`.
    pub fn stop(&self, deadline: Instant) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_all();
        for worker in std::mem::take(&mut *self.threads.lock()) {
            while !worker.thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !worker.thread.is_finished() {
                tracing::warn!("a sampler is held up by a slow file and is left behind");
            } else if worker.thread.join().is_err() {
                tracing::error!("a sampler had panicked");
            }
        }
    }
}

impl Queue {
    /// Says whether no thread waits for a time as early as that.
    fn schedule(&mut self, handler: &Arc<Handler>, when: When) -> bool {
        self.last_ticket += 1;
        handler.ticket.store(self.last_ticket, Relaxed);
        // Polls on demand leave void entries behind, which would stay until they are due.
        if self.timed.len() >= self.tidy_at.max(MIN_TIDY) {
            self.timed.retain(Timed::is_valid);
            self.tidy_at = self.timed.len() * 2;
        }
        self.timed.push(Timed {
            when,
            ticket: self.last_ticket,
            handler: Arc::downgrade(handler),
        });
        self.awaited.is_none_or(|awaited| when.wake < awaited)
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// Wants a poll `after` now, or after the one that was due at `last`: then a container keeps its
    /// place, however late its polls are done, unless the next would come too soon.
    /// Says whether somebody is to be woken for it.
    fn schedule(&self, handler: &Arc<Handler>, last: Option<Instant>, after: Duration) -> bool {
        let now = self.started.elapsed();
        let last = last.map(|last| last.saturating_duration_since(self.started));
        let kept = last.map(|last| self.housekeeping.due(last, after));
        let wanted = kept
            .filter(|due| due.saturating_sub(now) >= after / 2)
            .unwrap_or_else(|| self.housekeeping.due(now, after));
        let when = When {
            due: due_at(self.started, now, wanted.saturating_sub(now)),
            wake: due_at(
                self.started,
                now,
                on_grid(wanted, after).saturating_sub(now),
            ),
        };
        self.queue.lock().schedule(handler, when)
    }

    fn run(&self, busy_since: &AtomicU64) {
        let mut context = ReadContext::new(Arc::clone(&self.namespaces));
        let mut sample = Sample::default();
        while let Some((handler, job)) = self.next() {
            busy_since.store(self.now_ms(), Relaxed);
            let work = std::panic::AssertUnwindSafe(|| {
                self.work(&handler, job, &mut context, &mut sample)
            });
            if std::panic::catch_unwind(work).is_err() {
                tracing::error!(container = %handler.name(), "polling panicked: this is a bug of cgauge; the container is left alone from now on");
            }
            busy_since.store(0, Relaxed);
        }
    }

    fn work(
        &self,
        handler: &Arc<Handler>,
        job: Job,
        context: &mut ReadContext,
        sample: &mut Sample,
    ) {
        let polled = match job {
            Job::CheckOomKills => handler.check_oom_kills(context),
            Job::Poll(due) => {
                let started = Instant::now();
                let polled = handler.poll(context, sample, &self.housekeeping);
                self.metrics.polls.inc();
                if polled.quiet {
                    self.metrics.polls_quiet.inc();
                }
                self.metrics
                    .poll_ns
                    .add(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
                if let Some(interval) = polled.next {
                    let stretch = self.stretch.lock();
                    let by = if polled.idle {
                        stretch.idle
                    } else {
                        stretch.busy
                    };
                    drop(stretch);
                    // Beyond all time is never.
                    let interval = Duration::try_from_secs_f64(interval.as_secs_f64() * by)
                        .unwrap_or(Duration::MAX);
                    let last = due.filter(|_| interval >= self.housekeeping.interval);
                    self.schedule(handler, last, interval);
                }
                polled
            }
        };
        let again = [
            (polled.missed.poll, Job::Poll(None)),
            (polled.missed.oom_check, Job::CheckOomKills),
        ];
        for (_, job) in again.into_iter().filter(|(missed, _)| *missed) {
            self.queue
                .lock()
                .urgent
                .push_back((Arc::clone(handler), job));
        }
        if !polled.new_oom_kills.is_zero() || polled.first_count {
            (self.on_oom_kills)(handler, polled.new_oom_kills);
        }
    }

    /// The next job, when it is due. `None` to stop.
    ///
    /// One thread at a time waits for the next point of the grid; the others are woken if there is much to
    /// do, and stand by.
    fn next(&self) -> Option<(Arc<Handler>, Job)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopping {
                return None;
            }
            if let Some(job) = queue.urgent.pop_front() {
                if !queue.urgent.is_empty() {
                    self.wake.notify_one();
                }
                return Some(job);
            }
            let now = Instant::now();
            let Some(first) = queue.timed.peek() else {
                self.wake.wait(&mut queue);
                continue;
            };
            let wake = first.when.wake;
            if wake > now {
                let is_awaited = (queue.awaited).is_some_and(|awaited| awaited <= wake);
                if is_awaited {
                    self.wake.wait_until(&mut queue, wake + STAND_BY);
                } else {
                    queue.awaited = Some(wake);
                    self.wake.wait_until(&mut queue, wake);
                    queue.awaited = queue.awaited.filter(|awaited| *awaited != wake);
                }
                continue;
            }
            let Some(timed) = queue.timed.pop() else {
                continue;
            };
            // A later entry for the same container, or none any more: this one is void.
            let Some(handler) = timed.handler.upgrade() else {
                continue;
            };
            if handler.ticket.load(Relaxed) != timed.ticket {
                continue;
            }
            if now.duration_since(timed.when.wake) > self.housekeeping.interval {
                self.metrics.polls_late.inc();
            }
            let is_behind = now.duration_since(timed.when.wake) > HELP_AFTER;
            if is_behind && queue.timed.peek().is_some_and(|next| next.when.wake <= now) {
                self.wake.notify_one();
            }
            return Some((handler, Job::Poll(Some(timed.when.due))));
        }
    }
}

/// The next point of the grid at or after `due`, which is `after` the poll before, counted from when polling
/// began.
fn on_grid(due: Duration, after: Duration) -> Duration {
    let grid = match () {
        () if after < GRID => return due,
        () if after < COARSE_GRID * 4 => GRID,
        () => COARSE_GRID,
    };
    let points = due.as_nanos().div_ceil(grid.as_nanos());
    let nanos = u64::try_from(points.saturating_mul(grid.as_nanos()));
    nanos.map_or(due, Duration::from_nanos)
}

/// `after` the moment that is `since` after `started`, or far away if there is no such time.
fn due_at(started: Instant, since: Duration, after: Duration) -> Instant {
    let now = started + since;
    now.checked_add(after).unwrap_or(now + FAR_AWAY)
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
