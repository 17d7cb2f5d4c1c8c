//! API v2.0 and v2.1.

pub mod container;
pub mod process;
pub mod spec;
pub mod stats;
pub mod summary;

pub use container::{ContainerInfo, DeprecatedHistory, MachineHistory};
pub use process::ProcessInfo;
pub use spec::ContainerSpec;
pub use summary::DerivedStats;

#[cfg(test)]
mod tests;
