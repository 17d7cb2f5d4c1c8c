//! KEEP: a bounded history of samples for each container.
//!
//! In: samples, from the container's handler. Out: [`Series`], a part of the history that costs its
//! reader no lock, and [`Summary`], what is derived of minutes, hours and days, for `query`.

pub mod codec;
pub mod ring;
pub mod summary;

pub use ring::{Limits, Range, Ring, Series};
pub use summary::{Derived, Summary};
