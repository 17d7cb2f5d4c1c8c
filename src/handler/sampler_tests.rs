#![allow(clippy::unwrap_used)]

use super::*;
use crate::cgroup::file::FdBudget;
use crate::cgroup::plan::{Plan, ReadOptions};
use crate::cgroup::{ContainerName, Hierarchies};
use crate::handler::NewHandler;
use crate::units::Timestamp;
use std::path::Path;

fn handler() -> Option<Arc<Handler>> {
    let directory = tempfile::tempdir().ok()?;
    std::fs::write(directory.path().join("cgroup.controllers"), "").ok()?;
    let root = Some(directory.path());
    let found = Hierarchies::detect(Path::new("/proc"), Path::new("/"), root).ok()?;
    let plan = Arc::new(Plan::new(Arc::new(found), &ReadOptions::default()));
    let new = NewHandler {
        name: ContainerName::root(),
        incarnation: 1,
        noticed: Timestamp::default(),
        preexisting: true,
        polled: true,
    };
    let budget = Arc::new(FdBudget::of(0));
    let handler = Handler::new(new, &plan, &budget, Default::default(), Duration::ZERO);
    Some(Arc::new(handler))
}

#[test]
fn polls_on_demand_leave_the_queue_bounded() {
    let (mut queue, handlers) = (Queue::default(), [handler(), handler()]);
    for _ in 0..100 * MIN_TIDY {
        for handler in handlers.iter().flatten() {
            let due = Instant::now() + Duration::from_secs(60);
            queue.schedule(handler, When { due, wake: due });
        }
    }
    let valid = queue.timed.iter().filter(|timed| timed.is_valid()).count();
    assert_eq!(valid, 2);
    assert!(queue.timed.len() <= MIN_TIDY, "{}", queue.timed.len());
}

#[test]
fn polls_are_gathered_at_points_of_a_grid_as_coarse_as_they_are_apart() {
    let ms = Duration::from_millis;
    assert_eq!(on_grid(ms(1_013), ms(13)), ms(1_013), "at once");
    assert_eq!(on_grid(ms(1_013), ms(60)), ms(1_050));
    assert_eq!(on_grid(ms(1_050), ms(999)), ms(1_050));
    assert_eq!(on_grid(ms(1_050), ms(1_000)), ms(1_250));
    assert_eq!(on_grid(Duration::MAX, Duration::MAX), Duration::MAX);
}

#[test]
fn a_container_keeps_its_place_unless_its_poll_comes_far_too_late() {
    let shared = Shared {
        queue: Mutex::default(),
        wake: Condvar::new(),
        housekeeping: Housekeeping::default(),
        namespaces: Arc::new(NetworkNamespaces::new(Path::new("/proc"))),
        metrics: Arc::default(),
        on_oom_kills: Arc::new(|_, _| {}),
        stretch: Mutex::new(Stretch::NONE),
        started: Instant::now() - Duration::from_secs(60),
    };
    let (handler, second) = (handler().unwrap(), Duration::from_secs(1));
    let next = |last: Instant| {
        shared.schedule(&handler, Some(last), second);
        shared.queue.lock().timed.drain().next().unwrap().when
    };
    let due = Instant::now() - Duration::from_millis(130);
    let when = next(due);
    assert_eq!(when.due, due + second, "not 130 ms later");
    assert!(when.wake >= when.due && when.wake < when.due + COARSE_GRID);
    let late = Instant::now() - 20 * second;
    let when = next(late);
    assert!(when.due >= late + 21 * second, "once, and not for each");
}

#[test]
fn an_interval_beyond_all_time_is_never() {
    let now = Instant::now();
    assert!(due_at(now, Duration::from_secs(9), Duration::MAX) > now + FAR_AWAY);
    let second = Duration::from_secs(1);
    assert_eq!(due_at(now, second, second), now + 2 * second);
    let housekeeping = Housekeeping {
        interval: Duration::MAX,
        max_interval: Duration::MAX,
        ..Housekeeping::default()
    };
    assert_eq!(housekeeping.next(Duration::MAX, false), Duration::MAX);
    housekeeping.splay(b"/a");
}
