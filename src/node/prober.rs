//! Asks file systems questions that may never be answered.
//!
//! `statvfs` on a mount whose server is down blocks for ever and cannot be interrupted. So it runs
//! on a thread of its own, with a deadline. When the deadline passes the thread is left to its
//! fate and the next question gets a new one. A mount with a stuck thread is not asked again, so
//! that there is at most one such thread for each mount; when it comes back, the mount is asked
//! again after a pause that doubles each time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::self_metrics::Counter;

/// How long a question may take.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// First pause after a mount hung; doubles up to [`MAX_PAUSE`].
pub const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Longest pause.
pub const MAX_PAUSE: Duration = Duration::from_secs(600);

/// Most threads that may be stuck at once; past it, no file system is asked until one returns.
pub const MAX_STUCK: usize = 64;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It did not come within the deadline, now or at an earlier question.
    #[error("the file system did not answer in time")]
    Hung,
    /// The thread to ask with could not be started (the node is out of threads or memory), or the
    /// question panicked.
    #[error("the thread that asks the file system could not be started or died")]
    NoThread,
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs questions with a deadline. Owns one thread, started at the first question.
#[derive(Debug)]
pub struct Prober {
    deadline: Duration,
    first_pause: Duration,
    worker: Mutex<Option<SyncSender<Job>>>,
    hung: Mutex<HashMap<PathBuf, Hung>>,
    hung_total: Counter,
}

#[derive(Debug)]
struct Hung {
    /// Set by the thread when the kernel let it go.
    returned: Arc<AtomicBool>,
    ask_again: Instant,
    pause: Duration,
}

impl Default for Prober {
    fn default() -> Self {
        Self::new(DEADLINE, FIRST_PAUSE)
    }
}

impl Prober {
    /// A prober with a deadline and first pause of one's own.
    pub fn new(deadline: Duration, first_pause: Duration) -> Self {
        Self {
            deadline,
            first_pause,
            worker: Mutex::default(),
            hung: Mutex::default(),
            hung_total: Counter::default(),
        }
    }

    /// Asks the file system mounted at `mount`, one question at a time.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the answer did not come within the deadline, or the mount still hangs since
    /// an earlier question.
    pub fn ask<T: Send + 'static>(
        &self,
        mount: &Path,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let mut worker = self.worker.lock();
        if self.must_wait(mount) {
            return Err(NoAnswer::Hung);
        }
        let returned = Arc::new(AtomicBool::new(false));
        let (reply, answer) = sync_channel(1);
        let flag = Arc::clone(&returned);
        let mut job: Job = Box::new(move || {
            let value = question();
            flag.store(true, Ordering::Release);
            let _ = reply.send(value);
        });
        if let Some(sender) = worker.take() {
            match sender.send(job) {
                Ok(()) => {
                    *worker = Some(sender);
                    job = Box::new(|| {});
                }
                // Its thread is gone: start another.
                Err(unsent) => job = unsent.0,
            }
        }
        if worker.is_none() {
            let sender = start().ok_or(NoAnswer::NoThread)?;
            sender.send(job).map_err(|_| NoAnswer::NoThread)?;
            *worker = Some(sender);
        }
        match answer.recv_timeout(self.deadline) {
            Ok(value) => {
                self.hung.lock().remove(mount);
                Ok(value)
            }
            Err(RecvTimeoutError::Timeout) => {
                // Without its sender the thread ends as soon as the kernel lets it go.
                *worker = None;
                self.note_hung(mount, returned);
                Err(NoAnswer::Hung)
            }
            Err(RecvTimeoutError::Disconnected) => {
                *worker = None;
                Err(NoAnswer::NoThread)
            }
        }
    }

    /// How often a file system did not answer in time.
    pub fn hung_total(&self) -> u64 {
        self.hung_total.get()
    }

    /// How many threads are stuck now.
    pub fn stuck(&self) -> usize {
        stuck(&self.hung.lock())
    }

    /// Forgets mounts that are gone, once their thread has returned.
    pub fn retain(&self, still_mounted: impl Fn(&Path) -> bool) {
        let keep = |mount: &PathBuf, hung: &mut Hung| {
            !hung.returned.load(Ordering::Acquire) || still_mounted(mount)
        };
        self.hung.lock().retain(keep);
    }

    fn must_wait(&self, mount: &Path) -> bool {
        let hung = self.hung.lock();
        let waits = hung.get(mount).is_some_and(|hung| {
            !hung.returned.load(Ordering::Acquire) || Instant::now() < hung.ask_again
        });
        waits || stuck(&hung) >= MAX_STUCK
    }

    fn note_hung(&self, mount: &Path, returned: Arc<AtomicBool>) {
        self.hung_total.inc();
        let mut hung = self.hung.lock();
        let pause = match hung.get(mount) {
            Some(before) => before.pause.saturating_mul(2).min(MAX_PAUSE),
            None => self.first_pause,
        };
        let ask_again = Instant::now() + pause;
        hung.insert(
            mount.to_path_buf(),
            Hung {
                returned,
                ask_again,
                pause,
            },
        );
    }
}

fn stuck(hung: &HashMap<PathBuf, Hung>) -> usize {
    hung.values()
        .filter(|hung| !hung.returned.load(Ordering::Acquire))
        .count()
}

fn start() -> Option<SyncSender<Job>> {
    let (sender, jobs) = sync_channel::<Job>(1);
    let thread = thread::Builder::new().name("statvfs".to_owned());
    let run = move || jobs.into_iter().for_each(|job| job());
    thread.spawn(run).map(|_| sender).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn wait_until(what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            thread::yield_now();
        }
    }

    /// A question that is not answered before the returned sender is dropped.
    fn stuck_question() -> (SyncSender<()>, impl FnOnce() -> u32) {
        let (release, wait) = sync_channel::<()>(0);
        (release, move || {
            let _ = wait.recv();
            7
        })
    }

    #[test]
    fn a_hung_mount_delays_no_other_and_has_one_stuck_thread() {
        let prober = Prober::new(Duration::from_millis(200), Duration::ZERO);
        let dead = Path::new("/dead");
        let (release, question) = stuck_question();
        assert_eq!(prober.ask(dead, question), Err(NoAnswer::Hung));
        assert_eq!(prober.ask(Path::new("/alive"), || 1), Ok(1));
        // Not asked again: the question would answer.
        assert_eq!(prober.ask(dead, || 2), Err(NoAnswer::Hung));
        assert_eq!((prober.stuck(), prober.hung_total()), (1, 1));
        drop(release);
        wait_until("the thread returns", || prober.stuck() == 0);
        assert_eq!(prober.ask(dead, || 3), Ok(3));
        assert!(prober.hung.lock().is_empty());
    }

    #[test]
    fn a_mount_that_came_back_is_asked_after_a_pause_that_doubles() {
        let prober = Prober::new(Duration::from_millis(200), Duration::from_secs(3600));
        let dead = Path::new("/dead");
        let (release, question) = stuck_question();
        assert_eq!(prober.ask(dead, question), Err(NoAnswer::Hung));
        drop(release);
        wait_until("the thread returns", || prober.stuck() == 0);
        assert_eq!(prober.ask(dead, || 1), Err(NoAnswer::Hung));
        prober.note_hung(dead, Arc::new(AtomicBool::new(true)));
        assert_eq!(prober.hung.lock()[dead].pause, MAX_PAUSE);
        prober.retain(|_| false);
        assert_eq!(prober.ask(dead, || 1), Ok(1));
    }

    #[test]
    fn a_question_that_panics_costs_only_its_answer() {
        let prober = Prober::new(Duration::from_secs(10), Duration::ZERO);
        let panics = || -> u32 { std::panic::resume_unwind(Box::new("no message")) };
        assert_eq!(prober.ask(Path::new("/a"), panics), Err(NoAnswer::NoThread));
        assert_eq!(prober.ask(Path::new("/a"), || 1), Ok(1));
    }
}
