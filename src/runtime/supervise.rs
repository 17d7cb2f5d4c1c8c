//! Keeps a link alive: runs it, waits when it has failed, tries it again.
//!
//! A runtime that hangs, answers garbage or is not there costs this task a pause and nobody else
//! anything. What it had told before stays known: only a runtime that answers can say that a container
//! has gone.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::endpoint::Mark;
use super::{Endpoint, Link, LinkError, LinkStatus, Names};

/// How often a place is looked at where nothing is, or where a runtime is that failed. One `stat`.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often a place is looked at that never held anything.
const FIRST_LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// A runtime that has just made its socket may need a moment before it listens there.
const SETTLE: Duration = Duration::from_millis(100);

/// What is thought of an endpoint where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// The runtime is not installed.
    IsNormal,
    /// The settings say that it is there.
    IsFailure,
}

/// Runs a link until `stop`. `place` is where it goes.
pub async fn run<L: Link>(
    mut link: L,
    place: &Endpoint,
    absence: Absence,
    names: &Names,
    status: &LinkStatus,
    stop: &CancellationToken,
) {
    // All links begin at once, so that their looks are one wake-up of the thread.
    let mut looks = tokio::time::interval(FIRST_LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let keep = async {
        let mut backoff = Backoff::default();
        let mut was_there = false;
        loop {
            if absence == Absence::IsNormal && !was_there {
                while place.mark().is_none() {
                    status.absent();
                    looks.tick().await;
                }
            }
            was_there = true;
            let mark = place.mark();
            let begun = Instant::now();
            let connects = status.counts().connects;
            let error = attempt(&mut link, names, status).await;
            let held = match status.counts().connects > connects {
                true => begun.elapsed(),
                false => Duration::ZERO,
            };
            match (&error, absence) {
                (LinkError::NotServed { .. }, Absence::IsNormal) => status.absent(),
                _ => status.failed(&error),
            }
            let dice = RandomState::new().hash_one(status.endpoint.as_str());
            let pause = backoff.after(held, dice);
            if wait_for_change(place, mark, pause).await {
                backoff.reset();
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep => {}
    }
}

/// Follows the runtime once. A defect of the link is a failure as any other.
async fn attempt<L: Link>(link: &mut L, names: &Names, status: &LinkStatus) -> LinkError {
    let endpoint = link.endpoint();
    match AssertUnwindSafe(link.follow(names, status))
        .catch_unwind()
        .await
    {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => error,
        Err(_) => LinkError::Defect { endpoint },
    }
}

/// Waits for `pause`, or until another socket is there: then the runtime has been started again.
async fn wait_for_change(place: &Endpoint, mark: Option<Mark>, pause: Duration) -> bool {
    let end = tokio::time::Instant::now() + pause;
    loop {
        let next = tokio::time::Instant::now() + LOOK_INTERVAL;
        tokio::time::sleep_until(next.min(end)).await;
        let now = place.mark();
        if now.is_some() && now != mark {
            tokio::time::sleep(SETTLE).await;
            return true;
        }
        if tokio::time::Instant::now() >= end {
            return false;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::convert::Infallible;
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::runtime::{Identity, LinkState, Runtime};

    /// What the link does the n-th time; the last again and again.
    #[derive(Clone, Copy)]
    enum Do {
        Panic,
        Close,
        NotServe,
        ConnectAndClose,
        Stay,
    }

    struct Fake {
        script: Vec<Do>,
        tries: Arc<AtomicU32>,
    }

    impl Link for Fake {
        fn runtime(&self) -> Runtime {
            Runtime::Docker
        }
        fn endpoint(&self) -> String {
            "/fake".to_owned()
        }
        async fn follow(
            &mut self,
            names: &Names,
            status: &LinkStatus,
        ) -> Result<Infallible, LinkError> {
            let at = self.tries.fetch_add(1, Ordering::SeqCst) as usize;
            let closed = || LinkError::Closed {
                endpoint: "/fake".to_owned(),
            };
            match self.script[at.min(self.script.len() - 1)] {
                Do::Panic => panic!("on purpose"),
                Do::Close => Err(closed()),
                Do::NotServe => Err(LinkError::NotServed {
                    endpoint: "/fake".to_owned(),
                    what: "this".to_owned(),
                }),
                Do::ConnectAndClose => {
                    names.put(Identity::new(Runtime::Docker, "a"));
                    status.connected("1");
                    Err(closed())
                }
                Do::Stay => {
                    status.connected("1");
                    std::future::pending().await
                }
            }
        }
    }

    struct Run {
        tries: Arc<AtomicU32>,
        names: Arc<Names>,
        status: Arc<LinkStatus>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn start(script: &[Do], place: Endpoint, absence: Absence) -> Run {
        let run = Run {
            tries: Arc::default(),
            names: Arc::default(),
            status: LinkStatus::new(Runtime::Docker, "/fake"),
            stop: CancellationToken::new(),
            task: tokio::spawn(async {}),
        };
        let link = Fake {
            script: script.to_vec(),
            tries: Arc::clone(&run.tries),
        };
        let (names, status) = (Arc::clone(&run.names), Arc::clone(&run.status));
        let stop = run.stop.clone();
        let task = tokio::spawn(async move {
            super::run(link, &place, absence, &names, &status, &stop).await;
        });
        Run { task, ..run }
    }

    impl Run {
        fn tries(&self) -> u32 {
            self.tries.load(Ordering::SeqCst)
        }
        async fn end(self) {
            self.stop.cancel();
            self.task.await.unwrap();
        }
    }

    /// Time that is only imagined: pauses take none.
    fn imagined<T>(test: impl Future<Output = T>) -> T {
        let executor = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        executor.block_on(async {
            tokio::time::pause();
            test.await
        })
    }

    fn seconds(number: u64) -> tokio::time::Sleep {
        tokio::time::sleep(Duration::from_secs(number))
    }

    fn there() -> Endpoint {
        Endpoint::Tcp("127.0.0.1:1".to_owned())
    }

    #[test]
    fn a_link_that_fails_or_panics_is_tried_again_and_names_stay() {
        imagined(async {
            let script = [Do::ConnectAndClose, Do::Panic, Do::Close, Do::Stay];
            let run = start(&script, there(), Absence::IsFailure);
            seconds(1).await;
            assert_eq!(run.status.is_up(), Some(false));
            assert!(run.names.get("a").is_some());
            seconds(20).await;
            assert_eq!(run.tries(), 4);
            assert_eq!(run.status.is_up(), Some(true));
            assert_eq!(run.names.living().len(), 1);
            let counts = run.status.counts();
            assert_eq!((counts.connects, counts.failures), (2, 3));
            seconds(100_000).await;
            assert_eq!(run.tries(), 4);
            run.end().await;
        });
    }

    #[test]
    fn what_is_not_served_is_absent_where_nobody_asked_for_it() {
        imagined(async {
            let usual = start(&[Do::NotServe], there(), Absence::IsNormal);
            let named = start(&[Do::NotServe], there(), Absence::IsFailure);
            let later = start(&[Do::NotServe, Do::Stay], there(), Absence::IsNormal);
            seconds(60).await;
            assert_eq!(usual.status.state().0, LinkState::Absent);
            assert_eq!(usual.status.counts().failures, 0);
            assert_eq!(named.status.is_up(), Some(false));
            assert_eq!(later.status.is_up(), Some(true));
            usual.end().await;
            named.end().await;
            later.end().await;
        });
    }

    #[test]
    fn tried_less_and_less_often() {
        imagined(async {
            let run = start(&[Do::Close], there(), Absence::IsFailure);
            seconds(3_600).await;
            let tries = run.tries();
            assert!((120..=250).contains(&tries), "{tries} in an hour");
            run.end().await;
        });
    }

    #[test]
    fn a_socket_made_anew_ends_the_pause() {
        imagined(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("s");
            let first = UnixListener::bind(&path).unwrap();
            let place = Endpoint::Unix(path.clone());
            let run = start(&[Do::Close], place, Absence::IsNormal);
            seconds(600).await;
            let before = run.tries();
            std::fs::rename(&path, directory.path().join("old")).unwrap();
            seconds(40).await;
            let _second = UnixListener::bind(&path).unwrap();
            let after = run.tries();
            assert!(after <= before + 5);
            seconds(5).await;
            assert!(run.tries() >= after + 2, "the pauses are short again");
            drop(first);
            run.end().await;
        });
    }

    #[test]
    fn what_is_not_there_is_no_failure_and_is_found_when_it_comes() {
        imagined(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("s");
            let place = Endpoint::Unix(path.clone());
            let run = start(&[Do::Stay], place.clone(), Absence::IsNormal);
            let named = start(&[Do::Close], place, Absence::IsFailure);
            seconds(60).await;
            assert_eq!(run.tries(), 0);
            assert_eq!(run.status.state().0, LinkState::Absent);
            assert_eq!(run.status.is_up(), None);
            assert_eq!(run.status.counts().failures, 0);
            assert_eq!(named.status.is_up(), Some(false));
            let _listener = UnixListener::bind(&path).unwrap();
            seconds(4).await;
            assert_eq!(run.status.is_up(), Some(true));
            run.end().await;
            named.end().await;
        });
    }
}
