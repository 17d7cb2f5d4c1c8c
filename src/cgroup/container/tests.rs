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
