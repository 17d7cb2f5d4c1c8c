//! The bytes of a journal's segment, whatever became of them on disk.

#![no_main]

use cgauge::event::{EventLimits, Past, stored};
use cgauge::journal::Kind;
use cgauge::journal::frame::{self, FRAME_BYTES, Header, Piece};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Header::decode(data);
    // Every byte is part of a record or told to be damaged, in order.
    let mut at = 0;
    let mut past = Past::new(EventLimits::default());
    for piece in frame::pieces(data, 0) {
        match piece {
            Piece::Record(record) => {
                at += FRAME_BYTES + record.payload.len();
                past.take(&record);
            }
            Piece::Damage(offset, length) => {
                assert_eq!(offset, at);
                assert!(length > 0);
                at += length;
            }
        }
    }
    assert_eq!(at, data.len());
    // What is written between two damaged stretches is found.
    let mut bytes = data.to_vec();
    let begin = bytes.len();
    assert!(frame::encode(7, Kind::EVENT, b"{}", &mut bytes));
    let end = bytes.len();
    bytes.extend_from_slice(data);
    let found = frame::pieces(&bytes, begin).next();
    assert!(matches!(found, Some(Piece::Record(record)) if record.sequence == 7), "{begin} {end}");
    let _ = stored::decode(data);
});
