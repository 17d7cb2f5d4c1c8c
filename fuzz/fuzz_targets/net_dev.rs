//! Any bytes as `/proc/PID/net/dev`, through a procfs of our own: no panic, no interface that is to
//! be hidden, none without the figures that make it one.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use cgauge::cgroup::file::ReadBuffer;
use cgauge::cgroup::network::NetworkNamespaces;
use libfuzzer_sys::fuzz_target;

/// A procfs with one process, in memory where there is `/dev/shm`.
fn procfs() -> &'static PathBuf {
    static PROCFS: OnceLock<PathBuf> = OnceLock::new();
    PROCFS.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let root = base.join(format!("cgauge-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(root.join("7/net")).expect("a directory of our own");
        root
    })
}

fuzz_target!(|text: &[u8]| {
    let root = procfs();
    std::fs::write(root.join("7/net/dev"), text).expect("a file of our own");
    // Anew each time: figures of a namespace are shared for a while.
    let namespaces = NetworkNamespaces::new(root);
    assert!(!namespaces.host_is_known());
    let stats = namespaces
        .read(1, 7, true, &mut ReadBuffer::default())
        .expect("the file is there");
    for (name, interface) in &stats.interfaces {
        assert!(!name.as_bytes().starts_with(b"lo") && !name.starts_with("veth"));
        assert!(interface.rx_bytes.is_some() && interface.tx_bytes.is_some());
    }
    let lines = text.split(|&byte| byte == b'\n').count();
    assert!(stats.interfaces.len() <= lines);
});
