//! A kernel log of any bytes, a record a line, through the pre-filter and the tracker: at most one
//! kill a record, and none left after a flush.
#![no_main]

use cgauge::source::{
    kmsg::{self, Record},
    oom::{self, OomTracker},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|log: &[u8]| {
    let mut tracker = OomTracker::default();
    let (mut records, mut kills) = (0usize, 0usize);
    for raw in log.split(|&byte| byte == b'\n') {
        records += 1;
        let matters =
            oom::may_matter(raw) || (tracker.wants_continuation() && kmsg::is_continuation(raw));
        match Record::parse(raw) {
            Ok(record) if matters => tracker.push(&record, &mut |_| kills += 1),
            _ => tracker.skip(&mut |_| kills += 1),
        }
    }
    tracker.flush(&mut |_| kills += 1);
    assert!(kills <= records);
    assert!(!tracker.is_pending() && !tracker.wants_continuation());
});
