//! Any bytes as a packed history: refused or read to an end, in bounded memory, and what was read
//! packs and unpacks to the same.
#![no_main]

use cgauge::cache::codec;
use cgauge::cgroup::stats::Sample;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut words, mut rest) = (Vec::new(), bytes);
    let (mut before, mut packed) = (Vec::new(), Vec::new());
    while let Some(tail) = codec::decode(rest, &mut words) {
        assert!(tail.len() < rest.len(), "each sample takes at least a byte");
        rest = tail;
        let mut sample = Sample::default();
        codec::fill(&words, &mut sample);
        packed.clear();
        let mut after = before.clone();
        codec::encode(&sample, &mut after, &mut packed);
        let end = codec::decode(&packed, &mut before).expect("what was encoded decodes");
        assert!(end.is_empty());
        let mut again = Sample::default();
        codec::fill(&before, &mut again);
        assert_eq!(again, sample);
    }
});
