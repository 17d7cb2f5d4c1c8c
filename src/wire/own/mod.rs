//! cgauge's own API, `/api/cgauge/v1`.

mod event;

pub use event::{Event, Missed, Position};
