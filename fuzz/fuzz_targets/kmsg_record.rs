//! One kernel log record of any bytes: a record or an error, and the pre-filters agree with it.
#![no_main]

use cgauge::source::kmsg::{self, KERNEL_FACILITY, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    if let Ok(record) = Record::parse(raw) {
        let line = raw.split(|&byte| byte == b'\n').next().unwrap_or_default();
        assert!(record.message.len() <= line.len().saturating_mul(3));
        // The filter may refuse more (odd spaces), never let another facility through.
        assert!(!kmsg::is_kernel(raw) || record.facility == KERNEL_FACILITY);
    }
    let _ = kmsg::is_continuation(raw);
    assert!(kmsg::raw_message(raw).len() <= raw.len());
});
