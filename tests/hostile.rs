//! A made-up cgroup2 tree on a normal filesystem: names and files that no sane kernel gives.
//!
//! Everything is built aside and renamed into place, for a directory of a normal filesystem is not
//! whole at its birth as a cgroup is.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use tempfile::TempDir;

use crate::support::agent::assert_no_panic;
use crate::support::{Agent, SOON, shared, wait_until};

/// The files of a cgroup2 leaf, with values that a kernel could give.
const LEAF: [(&str, &str); 20] = [
    ("cgroup.controllers", "cpuset cpu io memory pids\n"),
    ("cgroup.subtree_control", ""),
    ("cgroup.procs", ""),
    ("cgroup.type", "domain\n"),
    ("cgroup.events", "populated 0\nfrozen 0\n"),
    ("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n"),
    (
        "cpu.stat",
        "usage_usec 1000\nuser_usec 600\nsystem_usec 400\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
    ),
    ("cpu.weight", "100\n"),
    ("cpu.max", "max 100000\n"),
    (
        "cpu.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    ),
    ("cpuset.cpus.effective", "0-1\n"),
    ("memory.current", "4096\n"),
    ("memory.peak", "8192\n"),
    ("memory.max", "max\n"),
    ("memory.min", "0\n"),
    (
        "memory.stat",
        "anon 4096\nfile 0\nkernel 0\ninactive_file 0\nactive_file 0\npgfault 7\npgmajfault 0\n",
    ),
    (
        "memory.events",
        "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    ),
    (
        "io.stat",
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
    ),
    ("pids.current", "0\n"),
    ("pids.max", "max\n"),
];

/// A made-up hierarchy with a place beside it on the same filesystem.
struct Tree {
    _directory: TempDir,
    root: PathBuf,
    aside: PathBuf,
}

impl Tree {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (root, aside) = (
            directory.path().join("cgroup"),
            directory.path().join("aside"),
        );
        fs::create_dir(&aside).unwrap();
        leaf(&root);
        Self {
            _directory: directory,
            root,
            aside,
        }
    }

    fn agent(&self) -> Agent {
        Agent::builder()
            .arg("--cgroup-root")
            .arg(&self.root)
            .arg("--kmsg=")
            .start()
    }

    /// A leaf below the root, built aside, changed by `change` before anyone can see it.
    fn add(&self, name: &[u8], change: impl FnOnce(&Path)) {
        let path = self.aside.join("next");
        leaf(&path);
        change(&path);
        fs::rename(&path, self.root.join(OsStr::from_bytes(name))).unwrap();
    }
}

fn leaf(path: &Path) {
    fs::create_dir(path).unwrap();
    for (file, text) in LEAF {
        fs::write(path.join(file), text).unwrap();
    }
}

/// The name as it is on the wire: bytes that are not UTF-8 as `\xNN`.
fn wire_name(name: &[u8]) -> String {
    let mut wire = String::new();
    for chunk in name.utf8_chunks() {
        wire.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|byte| wire.push_str(&format!("\\x{byte:02x}")));
    }
    wire
}

/// A thousand names that are hard on parsers of paths, JSON, URLs, HTML, labels and terminals.
fn hostile_names() -> Vec<Vec<u8>> {
    let kinds: [&[u8]; 20] = [
        b"new\nline",
        b"quo\"te",
        b"back\\slash",
        b"tab\tand\rreturn",
        b"%2F%00%zz",
        b"bad\xff\xfe\x80utf8",
        b"cut\xe2\x82",
        b"\xed\xa0\x80surrogate",
        "snow\u{2603}man\u{1f980}".as_bytes(),
        b" blank ",
        b"-rf",
        b"...",
        b"?a=b&c#d",
        b"{\"a\":[1,2",
        b"<script>x<b>&amp;",
        b"{id=\"x\"} 1",
        b"\x1b[31mred\x07",
        b"${HOME}`id`$(id)",
        b"\x01\x02\x7f",
        "\u{202e}rtl\u{0}".trim_end_matches('\0').as_bytes(),
    ];
    let mut names = Vec::with_capacity(1000);
    for number in 0..50 {
        for kind in kinds {
            let mut name = kind.to_vec();
            name.extend_from_slice(format!("~{number}").as_bytes());
            if number == 49 {
                // As long as a name can be.
                name.resize(255, kind[0]);
            }
            names.push(name);
        }
    }
    names
}

#[track_caller]
fn wait_names(agent: &Agent, expected: &BTreeSet<String>) {
    let shown = || agent.names_below("/").into_iter().collect::<BTreeSet<_>>();
    let complete = crate::support::wait_for(SOON, || (&shown() == expected).then_some(()));
    if complete.is_none() {
        let shown = shown();
        let missing: Vec<_> = expected.difference(&shown).take(5).collect();
        let extra: Vec<_> = shown.difference(expected).take(5).collect();
        panic!(
            "{} of {} shown; missing {missing:?}; not expected {extra:?}",
            shown.len(),
            expected.len()
        );
    }
}

#[test]
fn a_thousand_hostile_names_are_listed() {
    let _machine = shared();
    let tree = Tree::new();
    let names = hostile_names();
    let mut expected: BTreeSet<String> =
        names.iter().map(|n| format!("/{}", wire_name(n))).collect();
    expected.insert("/".into());
    assert_eq!(expected.len(), 1001);
    // Half are there at the start, half come later.
    names[..500].iter().for_each(|n| tree.add(n, |_| {}));
    let agent = tree.agent();
    names[500..].iter().for_each(|n| tree.add(n, |_| {}));
    wait_names(&agent, &expected);
    for name in expected.iter().step_by(7) {
        let container = agent.wait_container(name);
        assert_eq!(container["name"], name.as_str());
        assert_eq!(
            container["stats"][0]["cpu"]["usage"]["total"], 1_000_000,
            "{name:?}"
        );
    }
    // One line for each sample and none broken by a name.
    let metrics = agent.http().get("/metrics").unwrap().text();
    for line in metrics
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let value = line
            .rsplit_once("} ")
            .map_or_else(|| line.split_once(' ').map(|p| p.1), |p| Some(p.1));
        let value = value.and_then(|v| v.split(' ').next()).unwrap_or_default();
        assert!(value.parse::<f64>().is_ok(), "not a sample line: {line:?}");
    }
    assert_no_panic(&agent.stderr());
    // They go as they came.
    let outside = tree.aside.join("gone");
    for name in &names {
        fs::rename(tree.root.join(OsStr::from_bytes(name)), &outside).unwrap();
        fs::remove_dir_all(&outside).unwrap();
    }
    wait_names(&agent, &BTreeSet::from(["/".into()]));
}

#[test]
fn nesting_deeper_than_a_path_can_be_is_listed() {
    const LEVELS: usize = 24;
    let _machine = shared();
    let tree = Tree::new();
    let element = "d".repeat(200);
    // No path reaches the bottom: each level is made relative to the one above.
    tree.add(b"deep", |top| {
        let mut directory = fs::File::open(top).unwrap();
        for _ in 0..LEVELS {
            mkdirat(&directory, element.as_str(), Mode::S_IRWXU).unwrap();
            let below = openat(
                &directory,
                element.as_str(),
                OFlag::O_DIRECTORY,
                Mode::empty(),
            )
            .unwrap();
            for (file, text) in LEAF {
                let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
                let file = openat(&below, file, flags, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
                nix::unistd::write(&file, text.as_bytes()).unwrap();
            }
            directory = below.into();
        }
    });
    let mut expected = BTreeSet::from(["/".to_owned()]);
    let mut name = "/deep".to_owned();
    for _ in 0..=LEVELS {
        expected.insert(name.clone());
        name = format!("{name}/{element}");
    }
    assert!(name.len() > 4096);
    let agent = tree.agent();
    wait_names(&agent, &expected);
    assert_no_panic(&agent.stderr());
}

/// What can be wrong with a file.
fn spoil(path: &Path, how: usize) {
    let text = fs::read(path).unwrap();
    match how {
        0 => fs::write(path, b"").unwrap(),
        1 => fs::write(path, &text[..text.len() / 2]).unwrap(),
        2 => fs::write(path, (0..=255).cycle().take(5000).collect::<Vec<u8>>()).unwrap(),
        3 => fs::write(path, text.repeat((1 << 20) / text.len().max(1)).as_slice()).unwrap(),
        4 => fs::write(path, vec![b'9'; 1 << 20]).unwrap(),
        5 => fs::write(path, b"-1\n").unwrap(),
        6 => fs::write(
            path,
            b"usage_usec 99999999999999999999999\nanon -5\n8:0 rbytes= =1 8:\nsome total\n",
        )
        .unwrap(),
        7 => fs::remove_file(path).unwrap(),
        8 => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }
        _ => {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("loop", path.with_file_name("loop")).unwrap();
            std::os::unix::fs::symlink("loop", path).unwrap();
        }
    }
}

#[test]
fn spoilt_kernel_files_lose_a_value_not_a_container() {
    const WAYS: usize = 10;
    let _machine = shared();
    let tree = Tree::new();
    let mut expected = BTreeSet::from(["/".to_owned(), "/sound".to_owned()]);
    tree.add(b"sound", |_| {});
    let agent = tree.agent();
    for (file, _) in LEAF {
        for how in 0..WAYS {
            let name = format!("{file}~{how}");
            tree.add(name.as_bytes(), |leaf| spoil(&leaf.join(file), how));
            expected.insert(format!("/{name}"));
            if how == 8 {
                // A directory in a cgroup is a cgroup.
                expected.insert(format!("/{name}/{file}"));
            }
        }
    }
    wait_names(&agent, &expected);
    // All that is sound is still read: from every container, but for what was spoilt.
    for (file, _) in LEAF
        .iter()
        .filter(|(file, _)| !file.starts_with("cpu.stat"))
    {
        for how in 0..WAYS {
            let container = agent.wait_container(&format!("/{file}~{how}"));
            assert_eq!(
                container["stats"][0]["cpu"]["usage"]["total"], 1_000_000,
                "{file}~{how}: {container}"
            );
        }
    }
    for how in 0..WAYS {
        let container = agent.wait_container(&format!("/cpu.stat~{how}"));
        assert_eq!(
            container["stats"][0]["memory"]["usage"], 4096,
            "cpu.stat~{how}: {container}"
        );
    }
    let last = |agent: &Agent| agent.wait_container("/sound")["stats"][0]["timestamp"].clone();
    let before = last(&agent);
    wait_until(SOON, "the sound one is polled as before", || {
        (last(&agent) != before).then_some(())
    });
    assert_no_panic(&agent.stderr());
}
