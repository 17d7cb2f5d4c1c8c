//! Any text as a container in a request, and any bytes as a directory name: always absolute, never
//! above the root, and a name that was printed is understood again.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cgauge::cgroup::ContainerName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let name = ContainerName::from_request(text);
        check(&name);
        assert_eq!(ContainerName::from_request(&name.to_string()), name);
    }
    // What the kernel gives: one element, any byte but these.
    let possible = !bytes.is_empty()
        && bytes != b"."
        && bytes != b".."
        && !bytes.iter().any(|byte| b"/\0\n".contains(byte));
    if possible {
        let child = ContainerName::root().child(OsStr::from_bytes(bytes));
        check(&child);
        assert!(child.is_child_of(&ContainerName::root()));
        let again = ContainerName::from_request(&child.to_string());
        // A name that spells out such an escape itself cannot be told from one that needs it.
        if !bytes.windows(2).any(|pair| pair == b"\\x") {
            assert_eq!(again, child);
        }
    }
});

fn check(name: &ContainerName) {
    let bytes = name.as_bytes();
    assert_eq!(bytes.first(), Some(&b'/'));
    assert!(name.is_root() || bytes.last() != Some(&b'/'));
    assert!(!name.relative().is_absolute());
    let root = Path::new("/sys/fs/cgroup");
    let below = name.below(root);
    assert!(below.starts_with(root));
    assert!(
        below
            .components()
            .all(|part| part != std::path::Component::ParentDir)
    );
    assert!(name.is_within(&ContainerName::root()) && name.is_within(name));
    assert_eq!(
        name.is_root(),
        !name.is_child_of(&ContainerName::root()) && bytes.len() == 1
    );
}
