//! SPEAK: what leaves the process, as thin views that borrow the domain types.
//!
//! In: samples, specs, events and machine facts. Out: `serde::Serialize` values whose keys, order
//! and units are those that clients of the older monitor know. Nothing is copied and no tree of
//! values is built: a view is a reference, and a history is unpacked one sample at a time while it
//! is written.
//!
//! *Absent is absent*: a figure that the kernel does not give is a key that is left out; typed
//! clients read a missing key as zero. Objects that clients count on (`cfs`, `psi`, `events` …) are
//! always there, if need be empty.
//!
//! | folder | holds |
//! |---|---|
//! | [`shared`] | shapes that all API versions have in common |
//! | [`v1`] | API v1.0 to v1.3 |
//! | [`v2`] | API v2.0 and v2.1 |
//! | [`kubelet`] | the kubelet's summary and resource metrics |
//! | [`ledger`] | lives of containers, those that have gone too |
//! | [`own`] | cgauge's own API |
//! | [`machine`] | machine info and attributes |

mod object;
pub mod time;
pub mod ledger;
pub mod machine;
pub mod shared;
pub mod kubelet;
pub mod v1;
pub mod v2;
pub mod own;

#[cfg(test)]
mod tests;
