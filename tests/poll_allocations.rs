//! A poll allocates nothing: not for paths, not for file contents, not for figures. Only the history
//! grows, by a block now and then.
//!
//! Unsafe code for one reason: an allocator that counts has to be one.

#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use cgauge::cache::{Limits, Ring};
use cgauge::cgroup::container::{KeepOpen, Outcome};
use cgauge::cgroup::file::FdBudget;
use cgauge::cgroup::network::NetworkNamespaces;
use cgauge::cgroup::plan::{Plan, ReadOptions};
use cgauge::cgroup::{Cgroup, ContainerName, Hierarchies, HierarchyId, ReadContext, Sample};

/// The system's allocator, with a count of what each thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations that `work` makes on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// A made-up host: one cgroup with one process, which has a network namespace of its own.
struct Host {
    directory: tempfile::TempDir,
    plan: Arc<Plan>,
    context: ReadContext,
    sample: Sample,
}

const FILES: &[(&str, &str)] = &[
    ("cgroup.procs", "7\n"),
    ("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n"),
    (
        "cpu.pressure",
        "some avg10=0.10 avg60=0.20 avg300=0.30 total=5\n",
    ),
    ("memory.current", "4096\n"),
    (
        "memory.stat",
        "anon 4096\nfile 0\ninactive_file 0\npgfault 7\n",
    ),
    ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"),
    ("memory.events.local", "oom_kill 0\n"),
    (
        "io.stat",
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n8:16 rbytes=1\n",
    ),
    ("pids.current", "1\n"),
    ("hugetlb.2MB.current", "0\n"),
];

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (root, procfs) = (
            directory.path().join("cgroup"),
            directory.path().join("proc"),
        );
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("cgroup.controllers"), "").unwrap();
        for (name, text) in FILES {
            fs::write(root.join("a").join(name), text).unwrap();
        }
        fs::create_dir_all(procfs.join("7/ns")).unwrap();
        fs::create_dir_all(procfs.join("7/net")).unwrap();
        fs::write(procfs.join("7/ns/net"), "").unwrap();
        let dev = "eth0: 9 9 0 0 0 0 0 0 9 9 0 0\n  lo: 1 1 0 0 0 0 0 0 1 1 0 0\neth1: 1 1 0 0 0 0 0 0 1 1 0 0\n";
        fs::write(procfs.join("7/net/dev"), dev).unwrap();

        let found = Hierarchies::detect(&procfs, Path::new("/"), Some(&root)).unwrap();
        let options = ReadOptions {
            per_cpu: true,
            network: true,
            huge_page_sizes: vec![2 << 20],
            ..ReadOptions::default()
        };
        let plan = Arc::new(Plan::new(Arc::new(found), &options));
        let context = ReadContext::new(Arc::new(NetworkNamespaces::new(&procfs)));
        Self {
            directory,
            plan,
            context,
            sample: Sample::default(),
        }
    }

    fn cgroup(&self, descriptors: usize) -> Cgroup {
        let budget = Arc::new(FdBudget::of(descriptors));
        let name = ContainerName::from_request("/a");
        let mut cgroup = Cgroup::new(name, Arc::clone(&self.plan), budget);
        cgroup.attach(HierarchyId(0), None).unwrap();
        cgroup
    }

    fn poll(&mut self, cgroup: &mut Cgroup) {
        let outcome = cgroup.read(&mut self.context, &mut self.sample);
        assert_eq!(outcome, Outcome::Read);
        let network = self
            .sample
            .network
            .as_ref()
            .map(|found| found.interfaces.len());
        assert_eq!(network, Some(2));
        assert_eq!(self.sample.io.len(), 2);
    }
}

#[test]
fn reading_a_container_allocates_nothing() {
    let mut host = Host::new();
    let mut cgroup = host.cgroup(100);
    // Long enough for the files that are not there to have been looked for twice.
    (0..70).for_each(|_| host.poll(&mut cgroup));
    // Longer than figures of a namespace are shared: they are read anew.
    std::thread::sleep(std::time::Duration::from_millis(310));
    let made = allocations(|| (0..100).for_each(|_| host.poll(&mut cgroup)));
    assert_eq!(made, 0, "in 100 polls");

    cgroup.keep_open(KeepOpen::Nothing);
    let made = allocations(|| (0..100).for_each(|_| host.poll(&mut cgroup)));
    assert_eq!(made, 0, "in 100 polls of an idle container");
    assert!(host.directory.path().exists());
}

#[test]
fn the_history_allocates_by_blocks() {
    let mut ring = Ring::new(Limits::default());
    let mut sample = Sample::default();
    let mut push = |at: u64| {
        sample.timestamp.0 += 1_000_000_000;
        sample.cpu.usage_ns = Some(at * 1_000_000);
        sample.memory.usage_bytes = Some(at % 7 * 4_096);
        ring.push(&sample);
    };
    (0..1_000).for_each(&mut push);
    let made = allocations(|| (1_000..2_000).for_each(&mut push));
    // A block of 32 samples has five lists, which may grow or shrink once.
    assert!(made < 1_000 / 32 * 10, "{made} allocations in 1000 samples");
}
