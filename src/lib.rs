//! cgauge: a monitor for the containers of one Linux node.
//!
//! It notices every cgroup that appears or goes and every OOM kill, polls each container's cgroup
//! files into a bounded in-memory history, and answers questions about them: to a Rust program
//! through [`Monitor`], to everyone else over HTTP.
//!
//! # The pipeline
//!
//! ```text
//! kernel ─▶ source ─▶ event ─▶ manager ─▶ handler ─▶ cache ─▶ query ─▶ wire ─▶ serve
//! ```
//!
//! Each stage is a module and one verb. They are listed below in import order: a module may use
//! only those above it (`tests/architecture.rs` checks this).

pub mod units;
mod pack;
pub mod self_metrics;
pub mod cgroup;
pub mod node;
pub mod runtime;
pub mod journal;
pub mod event;
pub mod source;
pub mod cache;
pub mod ledger;
pub mod handler;
pub mod manager;
pub mod query;
pub mod monitor;
pub mod wire;
pub mod serve;
pub mod config;
pub mod agent;

pub use monitor::{Monitor, MonitorBuilder};
