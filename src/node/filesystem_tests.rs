#![allow(clippy::unwrap_used)]

use super::*;
use crate::node::test_tree::TestTree;

const MOUNTS: &str = "1 0 259:1 / / rw - ext4 /dev/nvme0n1p1 rw\n\
                      2 1 0:30 / /tmp rw - tmpfs tmpfs rw\n\
                      3 1 0:31 / /gone rw - tmpfs tmpfs rw\n\
                      4 1 0:32 / /fuse rw - fuse.x x rw\n";

fn made_up() -> (TestTree, Filesystems) {
    let tree = TestTree::new();
    tree.file("proc/self/mountinfo", MOUNTS)
        .file("proc/diskstats", "259 1 nvme0n1p1 5 0 0 0 0 0 0 0 0 0 0\n")
        .dir("root/tmp")
        .dir("root/fuse/below")
        .dir("root/var/lib/docker");
    let filesystems = Filesystems::new(tree.roots.clone());
    (tree, filesystems)
}

#[test]
fn each_file_system_is_measured_and_a_failing_one_is_a_problem() {
    let (tree, filesystems) = made_up();
    let table = filesystems.table();
    let devices: Vec<_> = table
        .filesystems
        .iter()
        .map(|fs| fs.device.as_str())
        .collect();
    assert_eq!(devices, ["/dev/nvme0n1p1", "/tmp"]);
    assert_eq!(table.problems.len(), 1);
    assert_eq!(table.problems[0].path, Path::new("/gone"));
    let root = filesystems.root_fs_info().unwrap();
    assert_eq!(root.io.unwrap().reads_completed, 5);
    assert_eq!(table.by_device("/tmp").unwrap().io, None);
    let truth = statvfs(&tree.roots.rootfs).unwrap();
    assert_eq!(root.capacity_bytes, truth.blocks() * truth.fragment_size());
    assert_eq!(root.inodes, (truth.files() > 0).then(|| truth.files()));
}

#[test]
fn labels_follow_the_directories_that_were_said() {
    let (_tree, filesystems) = made_up();
    assert!(matches!(
        filesystems.fs_info(Some("docker-images")),
        Err(FsError::NoLabel { .. })
    ));
    filesystems.set_labelled_paths(vec![LabelledPath {
        label: "docker-images".to_owned(),
        path: "/var/lib/docker".into(),
    }]);
    let found = filesystems.fs_info(Some("docker-images")).unwrap();
    assert_eq!(found[0].labels, ["docker-images", "root"]);
    assert_eq!(filesystems.fs_info(None).unwrap().len(), 2);
}

#[test]
fn a_directory_is_held_by_the_nearest_mount_behind_its_links() {
    let (tree, filesystems) = made_up();
    std::os::unix::fs::symlink("../../tmp", tree.roots.rootfs.join("var/lib/link")).unwrap();
    let device = |path: &str| filesystems.dir_fs_info(Path::new(path)).map(|fs| fs.device);
    assert_eq!(device("/tmp").unwrap(), "/tmp");
    assert_eq!(device("/var/lib").unwrap(), "/dev/nvme0n1p1");
    assert_eq!(device("/var/lib/link").unwrap(), "/tmp");
    assert!(matches!(
        device("/fuse/below"),
        Err(FsError::NotMeasured { .. })
    ));
    assert!(matches!(device("/none"), Err(FsError::Directory { .. })));
    assert!(matches!(device("/gone"), Err(FsError::Directory { .. })));
}

#[test]
fn a_uuid_leads_to_the_file_system_on_its_device() {
    let (tree, filesystems) = made_up();
    tree.dir("root/dev/disk/by-uuid");
    let link = |uuid: &str, to: &str| {
        std::os::unix::fs::symlink(to, tree.roots.rootfs.join("dev/disk/by-uuid").join(uuid))
            .unwrap();
    };
    // Mounted by another name, as device mapper is.
    link("aa-11", "../../dm-7");
    tree.file("sys/class/block/dm-7/dev", "259:1\n");
    link("bb-22", "../../nvme0n1p1");
    link("cc-33", "../../sdz9");
    let device = |uuid: &str| filesystems.fs_by_uuid(uuid).map(|fs| fs.device);
    assert_eq!(device("aa-11").unwrap(), "/dev/nvme0n1p1");
    assert_eq!(device("bb-22").unwrap(), "/dev/nvme0n1p1");
    for uuid in ["cc-33", "none", "", "../by-uuid/aa-11"] {
        assert!(
            matches!(device(uuid), Err(FsError::NoUuid { .. })),
            "{uuid}"
        );
    }
}

#[test]
fn a_table_is_kept_for_its_age_and_then_sees_new_mounts() {
    let (tree, _) = made_up();
    let kept = Filesystems::new(tree.roots.clone());
    let always_new = Filesystems::with(tree.roots.clone(), Duration::ZERO, Prober::default());
    assert!(kept.latest().is_none());
    let (first, other) = (kept.table(), always_new.table());
    tree.file(
        "proc/self/mountinfo",
        &format!("{MOUNTS}5 1 0:33 / /new rw - tmpfs t rw\n"),
    );
    tree.dir("root/new");
    assert!(Arc::ptr_eq(&first, &kept.table()));
    assert!(other.by_device("/new").is_none());
    assert!(always_new.table().by_device("/new").is_some());
    assert!(kept.refresh().by_device("/new").is_some());
}

#[test]
fn this_node_has_a_root() {
    let filesystems = Filesystems::new(Roots::default());
    let root = filesystems.root_fs_info().unwrap();
    assert!(root.capacity_bytes >= root.usage_bytes);
    assert_eq!(root.mount_point, Path::new("/"));
    assert!(filesystems.dir_fs_info(Path::new("/proc/self")).is_err());
}
