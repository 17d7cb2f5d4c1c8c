#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::node::test_tree::TestTree;

struct Setting {
    tree: TestTree,
    store: Arc<LayerUsages>,
    metrics: Arc<SelfMetrics>,
    incarnation: Arc<AtomicU64>,
    walker: Option<Walker>,
}

fn name() -> ContainerName {
    ContainerName::from_request("/docker/ab")
}

impl Setting {
    /// A container whose process 7 has its root on an overlay; incarnation 0 is no container.
    fn new(mode: Mode) -> Self {
        let tree = TestTree::new();
        tree.file("sys/cgroup/cgroup.controllers", "memory")
            .file("sys/cgroup/docker/ab/cgroup.procs", "7\n")
            .file(
                "proc/7/mountinfo",
                "2 1 0:60 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/var/layers/ab/diff,workdir=/w\n",
            )
            .file("proc/1/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
            .file("proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
            .file("root/var/layers/ab/diff/etc/file", "written")
            .file("root/var/logs/ab.log", "said");
        let cgroups = tree.roots.sysfs.join("cgroup");
        let hierarchies =
            Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(&cgroups)).unwrap();
        let mut setting = Self {
            store: Arc::default(),
            metrics: Arc::default(),
            incarnation: Arc::new(AtomicU64::new(1)),
            walker: None,
            tree,
        };
        let incarnation = Arc::clone(&setting.incarnation);
        let list = move || match incarnation.load(Ordering::Relaxed) {
            0 => Vec::new(),
            incarnation => vec![Container {
                name: name(),
                incarnation,
            }],
        };
        let node = Arc::new(Node::read(setting.tree.roots.clone()));
        let walker = Walker::spawn(
            mode,
            node,
            Arc::new(hierarchies),
            Box::new(list),
            Arc::clone(&setting.store),
            Arc::clone(&setting.metrics),
        );
        setting.walker = Some(walker.unwrap());
        setting
    }

    fn layer(&self) -> PathBuf {
        self.tree.roots.rootfs.join("var/layers/ab/diff")
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn last(&self, incarnation: u64) -> Option<Arc<LayerUsage>> {
        self.store.of(&name(), incarnation).last().cloned()
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        self.walker.take().into_iter().for_each(Walker::stop);
    }
}

#[test]
fn a_layer_is_found_walked_and_forgotten_with_its_container() {
    let setting = Setting::new(Mode::Walk);
    let usage = setting.wait("a figure", |setting| setting.last(1));
    assert_eq!((usage.inodes, usage.source), (Some(3), Source::Walk));
    assert_eq!(usage.usage_bytes, usage.base_bytes);
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap());
    let layer = setting.layer();
    let want = blocks(&layer) + blocks(&layer.join("etc")) + blocks(&layer.join("etc/file"));
    assert_eq!(usage.usage_bytes, want * 512);
    assert!(Timestamp::now().since(usage.measured) < Duration::from_secs(20));
    let own = &setting.metrics.disk_usage;
    assert_eq!((own.walks.get(), own.entries.get()), (1, 2));
    setting.incarnation.store(2, Ordering::Relaxed);
    setting.wait("the next container of that name", |setting| setting.last(2));
    assert_eq!(setting.last(1), None);
    setting.incarnation.store(0, Ordering::Relaxed);
    setting.wait("nothing is left", |setting| {
        setting.last(2).is_none().then_some(())
    });
    assert_eq!(own.layers.get(), 0);
}

#[test]
fn a_runtime_knows_better_and_its_logs_are_no_part_of_the_base() {
    let setting = Setting::new(Mode::Walk);
    let location = Location {
        layer: "/var/layers/ab/diff/etc".into(),
        extra: Some("/var/logs/ab.log".into()),
    };
    assert!(setting.store.set_location(&name(), Some(location)));
    let usage = setting.wait("a figure with logs", |setting| {
        setting
            .last(1)
            .filter(|usage| usage.usage_bytes > usage.base_bytes)
    });
    assert_eq!(usage.inodes, Some(2));
    assert!(setting.store.set_location(&name(), None));
    setting.wait("a figure without", |setting| {
        setting.last(1).filter(|usage| usage.inodes == Some(3))
    });
}

#[test]
fn nothing_is_walked_unasked() {
    let setting = Setting::new(Mode::Quota);
    setting.wait("the layer is found", |setting| {
        (setting.metrics.disk_usage.layers.get() == 1).then_some(())
    });
    // A second place is tried after the first: by then a walk would have begun.
    let location = Location {
        layer: "/nowhere".into(),
        extra: None,
    };
    assert!(setting.store.set_location(&name(), Some(location)));
    setting.wait("the second place is tried", |setting| {
        let failed = setting
            .metrics
            .disk_usage
            .failed(DiskUsageFailure::NotFound);
        (failed.get() == 1).then_some(())
    });
    assert_eq!(setting.last(1), None);
    assert_eq!(setting.metrics.disk_usage.entries.get(), 0);
}

#[test]
fn what_is_not_there_is_counted_and_ends_nothing() {
    let setting = Setting::new(Mode::Walk);
    let location = Location {
        layer: "/nowhere".into(),
        extra: None,
    };
    assert!(setting.store.set_location(&name(), Some(location)));
    setting.wait("a failure", |setting| {
        let failed = setting
            .metrics
            .disk_usage
            .failed(DiskUsageFailure::NotFound);
        (failed.get() == 1).then_some(())
    });
    assert!(setting.store.set_location(&name(), None));
    setting.wait("a figure after all", |setting| setting.last(1));
}

#[test]
fn stopping_takes_no_time() {
    let mut setting = Setting::new(Mode::Walk);
    let begun = Instant::now();
    setting.walker.take().unwrap().stop();
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let layer = setting.layer();
    assert!(fs::metadata(layer).is_ok());
}
