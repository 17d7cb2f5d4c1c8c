//! ASK: the read-only view of what is known. No sockets, no serialisation.
//!
//! [`View`] is what every surface (HTTP, metrics, the library) asks. It is cheap to clone, holds no
//! lock while its answers are used, and never waits for a kernel file except where it says so.

pub mod answer;
pub mod error;
pub mod join;
pub mod rates;
pub mod view;
mod named;

pub use answer::{ContainerInfo, InfoRequest, RequestOptions};
pub use error::QueryError;
pub use join::{Joined, is_elsewhere};
pub use rates::{CpuCounters, CpuRates};
pub use view::{Polled, View};
