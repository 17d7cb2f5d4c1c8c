//! API v1.0 to v1.3.

pub mod container;
pub mod event;
pub mod network;
pub mod spec;
pub mod stats;

pub use container::ContainerInfo;
pub use event::{Event, Kill};

#[cfg(test)]
mod tests;
