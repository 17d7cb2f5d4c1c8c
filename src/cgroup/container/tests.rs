#![allow(clippy::unwrap_used)]

use super::*;
use crate::cgroup::hierarchy::Hierarchies;
use crate::cgroup::plan::ReadOptions;
use std::fs;
use std::path::Path;

struct Tree {
    directory: tempfile::TempDir,
    plan: Arc<Plan>,
    context: ReadContext,
}

impl Tree {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let found = Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(directory.path()))
            .unwrap();
        let plan = Arc::new(Plan::new(Arc::new(found), &ReadOptions::default()));
        let namespaces = Arc::new(NetworkNamespaces::new(Path::new("/proc")));
        let context = ReadContext::new(namespaces);
        Self {
            directory,
            plan,
            context,
        }
    }

    fn put(&self, cgroup: &str, files: &[(&str, &str)]) {
        let path = self.directory.path().join(cgroup);
        fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
    }

    fn cgroup(&self, name: &str, descriptors: usize) -> Cgroup {
        let budget = Arc::new(FdBudget::of(descriptors));
        let mut cgroup = Cgroup::new(
            ContainerName::from_request(name),
            Arc::clone(&self.plan),
            budget,
        );
        cgroup.attach(HierarchyId(0), None).unwrap();
        cgroup
    }
}

const FILES: &[(&str, &str)] = &[
    ("cpu.stat", "usage_usec 5\n"),
    ("memory.current", "4096\n"),
    ("memory.events.local", "oom_kill 3\n"),
];

#[test]
fn a_cgroup_reads_the_same_with_descriptors_and_without() {
    let mut tree = Tree::new();
    tree.put("a", FILES);
    for descriptors in [100, 1, 0] {
        let mut cgroup = tree.cgroup("/a", descriptors);
        let mut sample = Sample::default();
        for _ in 0..3 {
            assert_eq!(cgroup.read(&mut tree.context, &mut sample), Outcome::Read);
            assert_eq!(sample.cpu.usage_ns, Some(5_000));
            assert_eq!(sample.memory.usage_bytes, Some(4_096));
            assert_eq!(sample.memory.peak_bytes, None);
        }
        let counted = cgroup.read_oom_kills(&mut tree.context);
        assert_eq!(counted.map(|counted| counted.kills), Some(3));
    }
}

#[test]
fn another_directory_under_the_same_name_is_not_read() {
    let mut tree = Tree::new();
    tree.put("a", FILES);
    let mut kept = tree.cgroup("/a", 100);
    let mut bare = tree.cgroup("/a", 0);
    let mut sample = Sample::default();
    kept.read(&mut tree.context, &mut sample);
    fs::rename(
        tree.directory.path().join("a"),
        tree.directory.path().join("old"),
    )
    .unwrap();
    fs::remove_dir_all(tree.directory.path().join("old")).unwrap();
    tree.put("a", &[("cpu.stat", "usage_usec 1\n")]);
    assert_eq!(bare.read(&mut tree.context, &mut sample), Outcome::Gone);
    kept.keep_open(KeepOpen::Nothing);
    assert_eq!(kept.read(&mut tree.context, &mut sample), Outcome::Gone);
    let stale = Some(1);
    assert!(kept.attach(HierarchyId(0), stale).is_err());
}

#[test]
fn absurd_figures_of_the_root_are_no_sum() {
    let mut tree = Tree::new();
    let huge = format!("anon {0}\nfile {0}\n", u64::MAX - 1);
    tree.put("", &[("memory.stat", &huge)]);
    let mut cgroup = tree.cgroup("/", 100);
    let mut sample = Sample::default();
    assert_eq!(cgroup.read(&mut tree.context, &mut sample), Outcome::Read);
    assert_eq!(sample.memory.anon_bytes, Some(u64::MAX - 1));
    assert_eq!(sample.memory.usage_bytes, None);
}

#[test]
fn a_file_that_appears_later_is_found() {
    let mut tree = Tree::new();
    tree.put("a", FILES);
    let mut cgroup = tree.cgroup("/a", 100);
    let mut sample = Sample::default();
    cgroup.read(&mut tree.context, &mut sample);
    tree.put("a", &[("memory.peak", "8192\n")]);
    for _ in 0..=LOOK_AGAIN_AFTER {
        cgroup.read(&mut tree.context, &mut sample);
    }
    assert_eq!(sample.memory.peak_bytes, Some(8192));
}

#[test]
fn the_network_of_a_container_is_found_through_the_cgroups_that_runtimes_make_in_it() {
    let mut tree = Tree::new();
    let found = Hierarchies::detect(
        Path::new("/proc"),
        Path::new("/"),
        Some(tree.directory.path()),
    );
    let options = ReadOptions {
        network: true,
        ..ReadOptions::default()
    };
    tree.plan = Arc::new(Plan::new(Arc::new(found.unwrap()), &options));
    let own = std::process::id().to_string();
    let id = "ab".repeat(32);
    let podman = format!("machine.slice/libpod-{id}.scope");
    for (at, procs) in [
        (podman.clone(), ""),
        (format!("{podman}/container"), &own),
        ("some.scope".to_owned(), ""),
        ("some.scope/container".to_owned(), &own),
    ] {
        tree.put(&at, FILES);
        tree.put(&at, &[("cgroup.procs", procs)]);
    }
    let mut has_network = |name: &str| {
        let mut sample = Sample::default();
        tree.cgroup(name, 8).read(&mut tree.context, &mut sample);
        sample.network.is_some()
    };
    assert!(has_network(&podman));
    assert!(!has_network("some.scope"), "not a runtime's");
}

/// One poll of a container whose newest sample is in `sample`.
fn poll(tree: &mut Tree, cgroup: &mut Cgroup, sample: &mut Sample) -> Outcome {
    const BOUND: Duration = Duration::from_secs(30);
    cgroup.read_pulse(&mut tree.context, sample);
    let outcome = cgroup.read_rest(&mut tree.context, sample, Some(BOUND));
    cgroup.epoch.set_forward(Duration::from_secs(1));
    outcome
}

#[test]
fn what_has_stood_still_is_left_out_and_is_as_it_was() {
    let mut tree = Tree::new();
    tree.put("a", FILES);
    let files = [
        ("memory.stat", "anon 1\n"),
        ("io.stat", "8:0 rbytes=7 wbytes=0 rios=1 wios=0\n"),
    ];
    tree.put("a", &files);
    let mut cgroup = tree.cgroup("/a", 100);
    cgroup.keep_open(KeepOpen::Moving);
    let mut sample = Sample::default();
    let polls = |tree: &mut Tree, cgroup: &mut Cgroup, sample: &mut Sample, times| {
        let outcomes = (0..times).map(|_| poll(tree, cgroup, sample));
        outcomes.collect::<Vec<_>>()
    };
    let first = polls(&mut tree, &mut cgroup, &mut sample, 5);
    let (read, part) = (Outcome::Read, Outcome::Part);
    assert_eq!(first, [read, read, read, part, read], "at 0, 1, 2 and 4 s");
    tree.put("a", &[("io.stat", "8:0 rbytes=9 wbytes=0 rios=2 wios=0\n")]);
    tree.put(
        "a",
        &[
            ("memory.stat", "anon 2\n"),
            ("memory.events.local", "oom_kill 4\n"),
        ],
    );
    assert_eq!(poll(&mut tree, &mut cgroup, &mut sample), part);
    assert_eq!(sample.io[0].bytes.read, Some(7), "as it was");
    assert_eq!(sample.memory.anon_bytes, Some(1), "as it was");
    assert_eq!(sample.memory_events_local.oom_kill, Some(4), "always read");
    // Memory that moves is read as a whole.
    tree.put("a", &[("memory.current", "8192\n")]);
    assert_eq!(poll(&mut tree, &mut cgroup, &mut sample), part);
    assert_eq!(
        (sample.io[0].bytes.read, sample.memory.anon_bytes),
        (Some(7), Some(2))
    );
    assert_eq!(sample.memory.usage_bytes, Some(8_192));
    // Seven and eight seconds in, what stood still for four is read again.
    assert_eq!(polls(&mut tree, &mut cgroup, &mut sample, 2), [part, read]);
    assert_eq!(sample.io[0].bytes.read, Some(9));
    assert_eq!(sample.memory.anon_bytes, Some(2));
    // Without anything kept from the newest sample everything is read.
    tree.put(
        "a",
        &[("io.stat", "8:0 rbytes=10 wbytes=0 rios=3 wios=0\n")],
    );
    assert_eq!(cgroup.read(&mut tree.context, &mut sample), read);
    assert_eq!(sample.io[0].bytes.read, Some(10));
}

#[test]
fn a_file_that_goes_away_takes_its_figures_with_it() {
    let mut tree = Tree::new();
    tree.put("a", FILES);
    tree.put("a", &[("memory.peak", "9000\n"), ("pids.current", "3\n")]);
    // Nothing is kept open: an ordinary file that is open outlives its name.
    let mut cgroup = tree.cgroup("/a", 0);
    let mut sample = Sample::default();
    for _ in 0..6 {
        poll(&mut tree, &mut cgroup, &mut sample);
    }
    let path = tree.directory.path().join("a");
    fs::remove_file(path.join("memory.events.local")).unwrap();
    fs::remove_file(path.join("memory.peak")).unwrap();
    assert_eq!(
        poll(&mut tree, &mut cgroup, &mut sample),
        Outcome::Read,
        "all anew"
    );
    assert_eq!(sample.memory_events_local.oom_kill, None);
    assert_eq!(
        sample.memory.peak_bytes, None,
        "it would not have been its turn"
    );
    fs::remove_file(path.join("pids.current")).unwrap();
    assert_eq!(poll(&mut tree, &mut cgroup, &mut sample), Outcome::Read);
    assert_eq!(
        (sample.pids.current, sample.cpu.usage_ns),
        (None, Some(5_000))
    );
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(poll(&mut tree, &mut cgroup, &mut sample), Outcome::Gone);
    assert_eq!(
        sample,
        Sample {
            timestamp: sample.timestamp,
            ..Sample::default()
        }
    );
}

#[test]
fn of_a_busy_container_only_what_moves_stays_open() {
    let mut tree = Tree::new();
    tree.put("a", FILES);
    tree.put("a", &[("io.stat", "8:0 rbytes=7 wbytes=0 rios=1 wios=0\n")]);
    let mut cgroup = tree.cgroup("/a", 100);
    cgroup.keep_open(KeepOpen::Moving);
    let mut sample = Sample::default();
    let mut open = Vec::new();
    for _ in 0..10 {
        poll(&mut tree, &mut cgroup, &mut sample);
        let slots = cgroup.slots.iter();
        open.push(
            slots
                .filter(|slot| matches!(slot.state, State::Open(_)))
                .count(),
        );
    }
    // cpu.stat, memory.current and memory.events.local stay, io.stat goes when it has stood for 8 s.
    assert_eq!(open, [4, 4, 4, 4, 4, 4, 4, 4, 3, 3]);
}

#[test]
fn what_is_not_read_beside_files_is_not_as_it_was() {
    let mut tree = Tree::new();
    tree.put("a", FILES);
    tree.put("a", &[("io.stat", "8:0 rbytes=7 wbytes=0 rios=1 wios=0\n")]);
    let mut cgroup = tree.cgroup("/a", 100);
    let mut sample = Sample::default();
    for _ in 0..3 {
        poll(&mut tree, &mut cgroup, &mut sample);
    }
    sample.processes.processes = Some(3);
    sample.sched.run_ns = Some(1);
    // Something is left out, so that this is no reading anew.
    tree.put("a", &[("cpu.stat", "usage_usec 6\n")]);
    assert_eq!(poll(&mut tree, &mut cgroup, &mut sample), Outcome::Part);
    let beside = (sample.processes.processes, sample.sched.run_ns);
    assert_eq!(beside, (None, None));
}

/// A container on v1 with block I/O alone.
fn container_of_v1() -> (Tree, Cgroup) {
    let mut tree = Tree::new();
    tree.directory = tempfile::tempdir().unwrap();
    tree.put("blkio/a", &[]);
    let found = Hierarchies::detect(
        Path::new("/proc"),
        Path::new("/"),
        Some(tree.directory.path()),
    );
    tree.plan = Arc::new(Plan::new(Arc::new(found.unwrap()), &ReadOptions::default()));
    let cgroup = tree.cgroup("/a", 100);
    (tree, cgroup)
}

const THROTTLE: &str = "blkio.throttle.io_service_bytes_recursive";
const BFQ: &str = "blkio.bfq.io_service_bytes_recursive";

fn read_bytes(tree: &mut Tree, cgroup: &mut Cgroup, sample: &mut Sample) -> Option<u64> {
    cgroup.read(&mut tree.context, sample);
    sample.io.first()?.bytes.read
}

#[test]
fn the_first_io_is_seen_by_the_next_reading() {
    let (mut tree, mut cgroup) = container_of_v1();
    let mut sample = Sample::default();
    tree.put("blkio/a", &[(THROTTLE, "Total 0\n"), (BFQ, "Total 0\n")]);
    assert_eq!(read_bytes(&mut tree, &mut cgroup, &mut sample), None);
    tree.put("blkio/a", &[(THROTTLE, "8:0 Read 512\nTotal 512\n")]);
    assert_eq!(read_bytes(&mut tree, &mut cgroup, &mut sample), Some(512));
    // The device has gone: so have its figures, in polls in part, too.
    tree.put("blkio/a", &[(THROTTLE, "Total 0\n")]);
    cgroup.epoch.set_forward(Duration::from_secs(60));
    poll(&mut tree, &mut cgroup, &mut sample);
    assert!(sample.io.is_empty(), "{:?}", sample.io);
}

#[test]
fn a_stand_in_is_looked_for_less_and_less_often_unless_one_has_data_somewhere() {
    let (mut tree, mut cgroup) = container_of_v1();
    let mut sample = Sample::default();
    tree.put("blkio/a", &[(THROTTLE, "Total 0\n"), (BFQ, "Total 0\n")]);
    read_bytes(&mut tree, &mut cgroup, &mut sample);
    tree.put("blkio/a", &[(BFQ, "8:0 Read 1024\nTotal 1024\n")]);
    let polls_until_found = |tree: &mut Tree, cgroup: &mut Cgroup| {
        (1..5_000).find(|_| {
            let mut sample = Sample::default();
            read_bytes(tree, cgroup, &mut sample) == Some(1024)
        })
    };
    assert_eq!(
        polls_until_found(&mut tree, &mut cgroup),
        Some(LOOK_AGAIN_AFTER)
    );
    // From now on it is known that they fill up here.
    let mut other = tree.cgroup("/a", 100);
    tree.put("blkio/a", &[(BFQ, "Total 0\n")]);
    for _ in 0..20 * LOOK_AGAIN_AFTER {
        read_bytes(&mut tree, &mut other, &mut sample);
    }
    tree.put("blkio/a", &[(BFQ, "8:0 Read 1024\nTotal 1024\n")]);
    let found = polls_until_found(&mut tree, &mut other);
    assert!(found <= Some(LOOK_AGAIN_AFTER), "{found:?}");
    // Where none ever has: after 30, 60, 120, ... polls.
    let (mut tree, mut cgroup) = container_of_v1();
    tree.put("blkio/a", &[(THROTTLE, "Total 0\n"), (BFQ, "Total 0\n")]);
    for _ in 0..=LOOK_AGAIN_AFTER {
        read_bytes(&mut tree, &mut cgroup, &mut sample);
    }
    tree.put("blkio/a", &[(BFQ, "8:0 Read 1024\nTotal 1024\n")]);
    assert_eq!(
        polls_until_found(&mut tree, &mut cgroup),
        Some(2 * LOOK_AGAIN_AFTER)
    );
}

#[test]
fn a_stand_in_is_read_where_the_first_is_not_there() {
    let (mut tree, mut cgroup) = container_of_v1();
    let mut sample = Sample::default();
    tree.put(
        "blkio/a",
        &[("blkio.throttle.io_service_bytes", "Total 0\n")],
    );
    assert_eq!(read_bytes(&mut tree, &mut cgroup, &mut sample), None);
    let text = "8:0 Read 2048\nTotal 2048\n";
    tree.put("blkio/a", &[("blkio.throttle.io_service_bytes", text)]);
    assert_eq!(read_bytes(&mut tree, &mut cgroup, &mut sample), Some(2048));
}
