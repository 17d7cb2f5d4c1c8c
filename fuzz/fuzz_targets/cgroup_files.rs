//! Any bytes as the text of every file that a poll reads, on v1 and v2, all into one sample, as a
//! hostile or truncated file would be: no panic, the verdict is right about emptiness, and what was
//! understood survives the packed history.
#![no_main]

use cgauge::cache::codec::{self, Shape};
use cgauge::cgroup::plan::{Parsed, Row};
use cgauge::cgroup::stats::{HugetlbStats, Sample};
use cgauge::cgroup::{v1, v2};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let blank = text.trim_ascii().is_empty();
    let (mut words, mut packed, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    let mut sample = Sample::default();
    for table in [v1::files::ROWS, v2::files::ROWS, v2::files::PRESSURE_ROWS] {
        for Row { names, parse, .. } in table {
            let parsed = parse(text, &mut sample);
            assert!(!blank || parsed != Parsed::Malformed, "{names:?}");
            if blank {
                // Only a table of lists may be "empty"; no figure comes out of nothing.
                assert_ne!(parsed, Parsed::Data, "{names:?}");
            }
        }
        for (names, parse) in v1::files::HUGETLB.iter().chain(v2::files::HUGETLB) {
            let parsed = parse(text, &mut HugetlbStats::default());
            assert!(!blank || parsed == Parsed::Empty, "{names:?}");
            parse(text, sample.hugetlb_mut(2 << 20));
        }
        // A change of shape closes a block: the differences begin anew.
        let shape = Shape::of(&sample);
        assert!(shape.fits(&sample));
        words.clear();
        codec::encode(&sample, &mut words, &mut packed);
        assert!(!codec::encode(&sample, &mut words, &mut Vec::new()));
        samples.push((shape, sample.clone()));
    }
    let mut rest = &packed[..];
    for (shape, expected) in &samples {
        let mut words = Vec::new();
        rest = codec::decode(rest, &mut words).expect("what was encoded decodes");
        let mut unpacked = Sample::default();
        shape.shape(&mut unpacked);
        codec::fill(&words, &mut unpacked);
        assert_eq!(&unpacked, expected);
    }
    assert!(rest.is_empty());
});
