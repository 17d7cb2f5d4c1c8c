//! Black-box tests of the `cgauge` binary on real cgroups: one integration binary, which runs on a v1
//! or hybrid machine as it is, and unchanged inside a guest with a pure v2 hierarchy (`.ci/run`).
//!
//! What a test lacks (root, a controller) it says and skips; see `support` for the variables.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice
)]

mod support;

mod architecture;
mod churn;
mod disk_usage;
mod errors;
mod hostile;
mod identity;
mod ledger;
mod ledger_kills;
mod journal;
mod names;
mod nobody;
mod oom;
mod packaging;
mod pipeline;
mod prometheus;
mod restart;
mod runtimes;
mod shutdown;
mod streams;
