//! Any bytes as a cgroup's path: no panic; ids are hexadecimal and stand in the path; what lies inside
//! a container is not the container; and no unit but a scope is one.
#![no_main]

use cgauge::cgroup::CgroupPath;
use cgauge::cgroup::path::CgroupKind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    let found = CgroupPath::of_bytes(path);
    let stands = |id: &str| path.windows(id.len()).any(|part| part == id.as_bytes());
    if let Some(id) = found.container {
        assert!(id.len() >= 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && stands(id));
    }
    if let CgroupKind::Container { id, .. } = found.kind {
        assert_eq!(found.container, Some(id));
    }
    assert!(found.pod.is_none() || found.qos.is_some());
    assert!(!found.kind.as_str().is_empty());
    if path.ends_with(b".mount") || path.ends_with(b".service") {
        assert_eq!(found.own_container(), None);
    }
    if let Some(id) = found.own_container() {
        let mut inside = path.to_vec();
        inside.extend_from_slice(b"/inside");
        let inside = CgroupPath::of_bytes(&inside);
        assert_eq!((inside.container, inside.own_container()), (Some(id), None));
    }
});
