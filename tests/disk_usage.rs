//! Disk usage of a container whose root is a real overlay.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::support::{
    Agent, Helper, SOON, TestCgroup, in_guest, needs_cgroups, not_here, shared, skip, wait_until,
};

/// What `du` says of a directory: bytes, and inodes.
fn du(directory: &Path) -> (u64, u64) {
    fn add(path: &Path, seen: &mut std::collections::BTreeMap<u64, u64>) {
        let stat = fs::symlink_metadata(path).unwrap();
        seen.insert(stat.ino(), stat.blocks() * 512);
        if stat.is_dir() {
            for entry in fs::read_dir(path).unwrap().flatten() {
                add(&entry.path(), seen);
            }
        }
    }
    let mut seen = std::collections::BTreeMap::new();
    add(directory, &mut seen);
    (seen.values().sum(), seen.len() as u64)
}

/// The value of a series of `/metrics`, by the beginning of its line.
fn metric(page: &str, begins: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(begins))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn what_a_container_has_written_is_known_if_somebody_asks() {
    needs_cgroups!();
    if in_guest() {
        not_here!("the root of the guest cannot be exchanged (pivot_root)");
    }
    let _machine = shared();
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    for name in ["lower", "up, per", "work", "merged"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("lower/of-the-image"), vec![1; 100_000]).unwrap();
    let script = format!(
        "cd {} && exec unshare --mount --propagation private sh -c '\
         mount -t overlay overlay -o \"lowerdir=$PWD/lower,upperdir=$PWD/up\\\\, per,workdir=$PWD/work\" merged && \
         mkdir merged/old && cd merged && pivot_root . old && echo ready && read forever'",
        files.path().display()
    );
    let mut cgroup = TestCgroup::new("layer");
    let said = cgroup.add(Helper::held(&script)).go_and_read();
    if said != "ready" {
        skip!("an overlay cannot be mounted and made the root here");
    }
    let upper = at("up, per");
    assert!(upper.join("old").is_dir(), "the container writes there");
    fs::create_dir(upper.join("data")).unwrap();
    fs::write(upper.join("data/file"), vec![7; 1_000_000]).unwrap();
    fs::hard_link(upper.join("data/file"), upper.join("data/again")).unwrap();
    let (bytes, inodes) = du(&upper);
    assert!(bytes > 1_000_000 && inodes == 4, "{bytes} {inodes}");

    let agent = Agent::builder().arg("--disk-usage=walk").start();
    let layer_of = |container: &Value| {
        let last = container["stats"].as_array()?.last()?.clone();
        last["filesystem"].as_array()?.first().cloned()
    };
    let layer = wait_until(SOON, "the layer is measured", || {
        layer_of(&agent.container(cgroup.name(), -1)?)
    });
    assert_eq!(
        (&layer["usage"], &layer["base_usage"], &layer["inodes"]),
        (&bytes.into(), &bytes.into(), &inodes.into())
    );
    assert_eq!(layer["has_inodes"], false);
    let capacity = nix::sys::statvfs::statvfs(files.path()).unwrap();
    let capacity = capacity.blocks() * capacity.fragment_size();
    assert_eq!(layer["capacity"], capacity);
    let spec = &agent.wait_container(cgroup.name())["spec"];
    assert_eq!(spec["has_filesystem"], true);
    let v2 = agent.json(&format!("/api/v2.1/stats{}?count=1", cgroup.name()));
    let v2 = &v2[cgroup.name()]["stats"][0]["filesystem"];
    assert_eq!(
        (&v2["totalUsageBytes"], &v2["containter_inode_usage"]),
        (&bytes.into(), &inodes.into())
    );
    assert_eq!(v2["measured"], layer["measured"]);
    let page = agent.http().get("/metrics").unwrap().text();
    let device = layer["device"].as_str().unwrap();
    let of = |family: &str| {
        let begins = format!("{family}{{device=\"{device}\",id=\"{}\"}} ", cgroup.name());
        metric(&page, &begins)
    };
    assert_eq!(of("container_fs_usage_bytes"), Some(bytes as f64));
    assert_eq!(of("container_fs_limit_bytes"), Some(capacity as f64));
    assert_eq!(of("container_fs_inodes_total"), Some(inodes as f64));
    assert!(of("container_fs_usage_time_seconds").is_some());
    assert!(metric(&page, "cgauge_disk_usage_walks_total ").unwrap() >= 1.0);

    // Nobody asked: the layer is known, and not walked.
    let agent = Agent::start();
    let page = wait_until(SOON, "the layer is found", || {
        let page = agent.http().get("/metrics").unwrap().text();
        (metric(&page, "cgauge_disk_usage_layers ")? >= 1.0).then_some(page)
    });
    assert_eq!(metric(&page, "cgauge_disk_usage_entries_total "), Some(0.0));
    let container = agent.wait_container(cgroup.name());
    assert_eq!(layer_of(&container), None);
    assert_eq!(container["spec"]["has_filesystem"], false);
}
