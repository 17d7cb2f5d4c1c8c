//! Any bytes as a mount table: at most a mount a line, and what is told of a line does not depend on
//! the lines around it.
#![no_main]

use cgauge::cgroup::mountinfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let all = mountinfo::parse(text);
    let lines = text.split(|&byte| byte == b'\n');
    assert!(all.len() <= lines.clone().count());
    let one_by_one: Vec<_> = lines.flat_map(mountinfo::parse).collect();
    assert_eq!(all, one_by_one);
    for mount in &all {
        assert!(!mount.mount_point.as_os_str().is_empty() && !mount.fs_type.is_empty());
        let _ = mount.has_option("rw") || mount.has_super_option("memory");
    }
});
