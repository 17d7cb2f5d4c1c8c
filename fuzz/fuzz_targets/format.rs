//! Any bytes as a number, a limit, a device, a pressure file: what is accepted reads back the same
//! when it is printed as the kernel prints it.
#![no_main]

use cgauge::cgroup::format;
use cgauge::cgroup::stats::{Pressure, Stall};
use cgauge::units::Limit;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Some(value) = format::number(text) {
        assert_eq!(format::number(value.to_string().as_bytes()), Some(value));
        assert_eq!(format::limit(text), Some(Limit::Max(value)));
    }
    if let Some(Limit::Unlimited) = format::limit(text) {
        assert_eq!(format::number(text), None);
    }
    if let Some(device) = format::device(text) {
        let printed = format!("{}:{}", device.major, device.minor);
        assert_eq!(format::device(printed.as_bytes()), Some(device));
    }
    for (key, _) in format::flat_keyed(text) {
        assert!(!key.contains(&b' ') && !key.contains(&b'\n'));
    }
    for (key, _) in format::pairs(format::words(text)) {
        assert!(!key.contains(&b'='));
    }
    let mut pressure = Pressure::default();
    let found = format::pressure(text, &mut pressure);
    assert!(found || pressure == Pressure::default());
    if let Some(printed) = print(&pressure) {
        let mut again = Pressure::default();
        assert!(format::pressure(printed.as_bytes(), &mut again));
        assert_eq!(again, pressure);
    }
});

/// As the kernel prints it, if every figure is there.
fn print(pressure: &Pressure) -> Option<String> {
    let line = |name: &str, stall: &Stall| {
        let centi = |value: u64| format!("{}.{:02}", value / 100, value % 100);
        Some(format!(
            "{name} avg10={} avg60={} avg300={} total={}\n",
            centi(stall.avg10_centi?),
            centi(stall.avg60_centi?),
            centi(stall.avg300_centi?),
            stall.total_ns? / 1_000,
        ))
    };
    Some(line("some", &pressure.some)? + &line("full", &pressure.full)?)
}
