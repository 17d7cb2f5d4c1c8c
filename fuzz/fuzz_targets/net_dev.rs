//! Any bytes as `/proc/PID/net/dev`: no panic, no interface that is to be hidden, none without the
//! figures that make it one; and names that are known already change nothing.
#![no_main]

use cgauge::cgroup::network::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut interfaces = Vec::new();
    parse(text, &mut interfaces);
    for (name, interface) in &interfaces {
        assert!(!name.as_bytes().starts_with(b"lo") && !name.starts_with("veth"));
        assert!(interface.rx_bytes.is_some() && interface.tx_bytes.is_some());
    }
    let lines = text.split(|&byte| byte == b'\n').count();
    assert!(interfaces.len() <= lines);
    let first = interfaces.clone();
    parse(text, &mut interfaces);
    assert_eq!(interfaces, first);
});
