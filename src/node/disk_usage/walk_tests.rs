#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::*;

const ALL: Budget = Budget {
    entries: u32::MAX,
    time: Duration::from_secs(60),
};

fn walk(path: &Path) -> Walk {
    Walk::new(fs::File::open(path).unwrap().into()).unwrap()
}

fn total(path: &Path) -> Total {
    match walk(path).step(ALL).unwrap() {
        Step::Done(total) => total,
        Step::More => Total::default(),
    }
}

/// Files and directories to be counted; the number of inodes.
fn tree(root: &Path) -> u64 {
    for directory in 0..5 {
        let directory = root.join(format!("d{directory}/e"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..10 {
            fs::write(directory.join(format!("f{file}")), vec![7; 5000]).unwrap();
        }
    }
    1 + 5 * (2 + 10)
}

#[test]
fn a_tree_is_counted_as_du_counts_it() {
    let root = tempfile::tempdir().unwrap();
    let inodes = tree(root.path());
    let file = root.path().join("d0/e/f0");
    fs::hard_link(&file, root.path().join("d1/again")).unwrap();
    symlink("/usr", root.path().join("d2/usr")).unwrap();
    fs::File::create(root.path().join("d3/sparse"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let found = total(root.path());
    assert_eq!((found.inodes, found.entries), (inodes + 2, inodes - 1 + 3));
    let du = Command::new("du")
        .args(["-s", "-B1"])
        .arg(root.path())
        .output();
    let du = String::from_utf8(du.unwrap().stdout).unwrap();
    let bytes: u64 = du.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(found.bytes, bytes);
    let one = total(&file);
    assert_eq!((one.inodes, one.bytes % 512), (1, 0), "a file by itself");
    assert!(one.bytes >= 5000);
}

#[test]
fn a_step_does_no_more_than_it_may() {
    let root = tempfile::tempdir().unwrap();
    tree(root.path());
    let mut small_steps = walk(root.path());
    let small = Budget { entries: 3, ..ALL };
    let mut steps = 0;
    let found = loop {
        let before = small_steps.total.entries;
        let step = small_steps.step(small).unwrap();
        assert!(small_steps.total.entries - before <= 3);
        steps += 1;
        if let Step::Done(total) = step {
            break total;
        }
    };
    assert!(steps > 20, "{steps}");
    assert_eq!(found, total(root.path()));
    let mut walk = walk(root.path());
    let none = Budget {
        time: Duration::ZERO,
        ..ALL
    };
    assert_eq!(walk.step(none), Ok(Step::More));
    assert_eq!(walk.total.entries, 0, "no time is no time");
}

#[test]
fn links_beyond_the_bound_count_their_share() {
    let root = tempfile::tempdir().unwrap();
    for file in 0..20 {
        let name = |link: u32| root.path().join(format!("{file}-{link}"));
        fs::write(name(0), vec![1; 4096]).unwrap();
        for link in 1..3 {
            fs::hard_link(name(0), name(link)).unwrap();
        }
    }
    let exact = total(root.path());
    assert_eq!(exact.inodes, 21);
    let mut walk = walk(root.path());
    walk.max_linked = 5;
    let Step::Done(found) = walk.step(ALL).unwrap() else {
        return assert!(false, "not done");
    };
    assert_eq!(walk.linked.len(), 5);
    assert_eq!(found.inodes, exact.inodes);
    assert!(exact.bytes - found.bytes < 20 * 3, "{exact:?} {found:?}");
}

#[test]
fn what_changes_under_the_walk_does_not_end_it() {
    let root = tempfile::tempdir().unwrap();
    tree(root.path());
    let outside = tempfile::tempdir().unwrap();
    tree(outside.path());
    let mut walk = walk(root.path());
    // Root's entries are known, its directories not read yet.
    while walk.pending.len() < 5 {
        walk.step(Budget { entries: 1, ..ALL }).unwrap();
    }
    fs::remove_dir_all(root.path().join("d0")).unwrap();
    fs::remove_dir_all(root.path().join("d1")).unwrap();
    symlink(outside.path(), root.path().join("d1")).unwrap();
    fs::remove_dir_all(root.path().join("d2")).unwrap();
    fs::write(root.path().join("d2"), "a file").unwrap();
    let Step::Done(found) = walk.step(ALL).unwrap() else {
        return assert!(false, "not done");
    };
    assert_eq!(found.inodes, 1 + 5 + 2 * 11, "no link was followed");
}

#[test]
fn another_file_system_is_not_entered() {
    let found = total(Path::new("/dev"));
    let own = fs::metadata("/dev").unwrap();
    let shm = fs::metadata("/dev/shm").unwrap();
    use std::os::unix::fs::MetadataExt;
    if own.dev() == shm.dev() {
        return;
    }
    let du = Command::new("du")
        .args(["-s", "-x", "-B1", "/dev"])
        .output();
    let du = String::from_utf8(du.unwrap().stdout).unwrap();
    let bytes: u64 = du.split_whitespace().next().unwrap().parse().unwrap();
    assert!(found.bytes <= bytes, "{found:?} {bytes}");
}

#[test]
fn what_is_too_large_or_too_deep_has_no_figure() {
    let root = tempfile::tempdir().unwrap();
    tree(root.path());
    let mut small = walk(root.path());
    small.max_entries = 10;
    assert_eq!(small.step(ALL), Err(WalkError::TooLarge));
    let deep = tempfile::tempdir().unwrap();
    let mut path = deep.path().to_owned();
    for _ in 0..=MAX_DEPTH {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    assert_eq!(walk(deep.path()).step(ALL), Err(WalkError::TooDeep));
}

/// As many entries as a step of a large walk has, with the memory of a few: what is kept is bounded by
/// directories that are still to be read and by inodes with several links, never by files.
#[test]
fn files_take_no_memory() {
    let root = tempfile::tempdir().unwrap();
    for file in 0..20_000 {
        fs::File::create(root.path().join(format!("{file}"))).unwrap();
    }
    let mut walk = walk(root.path());
    let budget = Budget {
        entries: 500,
        ..ALL
    };
    loop {
        assert!(walk.pending_bytes < 100 && walk.linked.is_empty());
        if let Step::Done(found) = walk.step(budget).unwrap() {
            assert_eq!(found.inodes, 20_001);
            break;
        }
    }
    walk.pending_bytes = MAX_PENDING_BYTES;
    assert_eq!(walk.push(Box::default()), Err(WalkError::TooLarge));
}
