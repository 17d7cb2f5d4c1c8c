//! What a handler does, on a made-up cgroup2 tree.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::*;
use crate::cgroup::Hierarchies;
use crate::cgroup::network::NetworkNamespaces;
use crate::cgroup::plan::ReadOptions;

const TREE: HierarchyId = HierarchyId(0);

struct Made {
    directory: tempfile::TempDir,
    plan: Arc<Plan>,
    context: ReadContext,
    sample: Sample,
}

impl Made {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("cgroup.controllers"), "memory").unwrap();
        let found = Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(directory.path()))
            .unwrap();
        Self {
            directory,
            plan: Arc::new(Plan::new(Arc::new(found), &ReadOptions::default())),
            context: ReadContext::new(Arc::new(NetworkNamespaces::new(Path::new("/proc")))),
            sample: Sample::default(),
        }
    }

    /// Makes `/a`, and gives its inode.
    fn cgroup(&self, usage: &str) -> u64 {
        let path = self.directory.path().join("a");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("memory.current"), usage).unwrap();
        fs::write(path.join("memory.events.local"), "oom_kill 2\n").unwrap();
        fs::metadata(path).unwrap().ino()
    }

    fn handler(&self) -> Handler {
        self.handler_that_is(true)
    }

    fn handler_that_is(&self, polled: bool) -> Handler {
        let new = NewHandler {
            name: ContainerName::from_request("/a"),
            incarnation: 1,
            noticed: Timestamp::now(),
            preexisting: false,
            polled,
        };
        let budget = Arc::new(FdBudget::of(100));
        let interval = Housekeeping::default().interval;
        Handler::new(new, &self.plan, &budget, Limits::default(), interval)
    }

    fn poll(&mut self, handler: &Handler) -> Polled {
        handler.poll(
            &mut self.context,
            &mut self.sample,
            &Housekeeping::default(),
        )
    }
}

#[test]
fn of_a_container_that_stands_still_the_pulse_alone_is_read() {
    let mut made = Made::new();
    let inode = made.cgroup("4096");
    let path = made.directory.path().join("a");
    let write = |file: &str, text: &str| fs::write(path.join(file), text).unwrap();
    write("cpu.stat", "usage_usec 5\n");
    write("memory.stat", "anon 1\n");
    let mut handler = made.handler();
    handler.made = None;
    handler.attach(TREE, Some(inode));
    let anon = |handler: &Handler| {
        let mut sample = Sample::default();
        assert!(handler.latest(&mut sample));
        sample.memory.anon_bytes.unwrap()
    };
    assert!(!made.poll(&handler).quiet);
    let first = handler.latest_time().unwrap();
    write("memory.stat", "anon 2\n");
    assert!(made.poll(&handler).quiet);
    assert_eq!(anon(&handler), 1, "as of the last full read");
    assert!(handler.latest_time().unwrap() > first);
    assert_eq!(handler.series(Range::default()).len(), 2);
    // Each of these leads to a full read.
    write("cpu.stat", "usage_usec 6\n");
    assert!(!made.poll(&handler).quiet);
    assert_eq!(anon(&handler), 2);
    write("memory.stat", "anon 3\n");
    let (_, asked) = handler.demand(Duration::ZERO).unwrap();
    assert!(!made.poll(&handler).quiet, "somebody asks");
    assert_eq!(anon(&handler), 3);
    drop(asked);
    assert!(made.poll(&handler).quiet);
    assert!(
        handler.demand(Duration::from_secs(60)).is_none(),
        "read in full just now"
    );
    write("memory.current", "8192");
    assert!(!made.poll(&handler).quiet);
    assert!(made.poll(&handler).quiet);
    handler.members_changed();
    assert!(!made.poll(&handler).quiet, "processes came or went");
    handler.settings_changed();
    assert!(!made.poll(&handler).quiet, "settings were written");
    let always = Housekeeping {
        full_interval: Duration::ZERO,
        ..Housekeeping::default()
    };
    let polled = handler.poll(&mut made.context, &mut made.sample, &always);
    assert!(!polled.quiet);
    // Without the CPU time nothing says that a container stands still.
    fs::remove_file(path.join("cpu.stat")).unwrap();
    assert!((0..3).all(|_| !made.poll(&handler).quiet));
}

#[test]
fn a_directory_that_was_gone_before_it_was_looked_at_is_not_taken_from_the_next() {
    let mut made = Made::new();
    made.cgroup("4096");
    let handler = made.handler();
    handler.attach(TREE, None);
    made.poll(&handler);
    assert_eq!(handler.latest_time(), None, "that is another's directory");
}

#[test]
fn a_thread_does_not_wait_for_one_that_is_at_the_container() {
    let mut made = Made::new();
    let inode = made.cgroup("4096");
    let handler = made.handler();
    handler.attach(TREE, Some(inode));
    let (queue, mut done) = handler.demand(Duration::ZERO).unwrap();
    assert!(queue);
    {
        let _slow = handler.reader.lock();
        assert_eq!(made.poll(&handler), Polled::default());
        assert_eq!(
            handler.check_oom_kills(&mut made.context),
            Polled::default()
        );
        assert!(done.try_recv().is_err(), "nobody has polled yet");
        let (queue, _) = handler.demand(Duration::ZERO).unwrap();
        assert!(!queue, "the one that is at it will see to it");
    }
    let missed = Missed {
        poll: true,
        oom_check: true,
    };
    assert_eq!(handler.demand.lock().missed, missed);
    // The next one to finish says what is to be done again; the poll it is itself.
    let missed = Missed {
        poll: false,
        oom_check: true,
    };
    assert_eq!(made.poll(&handler).missed, missed);
    assert_eq!(done.try_recv(), Ok(()));
}

#[test]
fn what_is_left_unpolled_is_not_polled_on_demand() {
    let made = Made::new();
    let handler = made.handler_that_is(false);
    assert!(handler.demand(Duration::ZERO).is_none());
}

#[test]
fn writes_to_settings_hasten_one_poll() {
    let mut made = Made::new();
    let inode = made.cgroup("4096");
    let handler = made.handler();
    handler.attach(TREE, Some(inode));
    assert!(handler.settings_changed());
    assert!(!handler.settings_changed(), "one is enough");
    made.poll(&handler);
    assert!(handler.settings_changed());
}

#[test]
fn a_young_container_is_polled_often_and_then_as_set() {
    let mut made = Made::new();
    let inode = made.cgroup("4096");
    let housekeeping = Housekeeping::default();
    let young = made.handler();
    young.attach(TREE, Some(inode));
    for _ in 0..10 {
        let next = made.poll(&young).next.unwrap();
        assert!(next < housekeeping.interval / 10, "{next:?}");
    }
    let mut old = made.handler();
    old.made = None;
    old.attach(TREE, Some(inode));
    let first = made.poll(&old).next;
    assert_eq!(first, Some(housekeeping.splay(b"/a")));
    // Standing still while it was young has not made its interval longer.
    let mut grown = young;
    grown.made = Instant::now().checked_sub(Duration::from_secs(60));
    assert_eq!(made.poll(&grown).next, Some(housekeeping.splay(b"/a")));
    let next = made.poll(&grown).next;
    assert_eq!(
        next,
        Some(4 * housekeeping.interval),
        "twice it stood still"
    );
}
