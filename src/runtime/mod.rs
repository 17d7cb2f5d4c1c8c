//! NAME: who a container is, as its runtime tells.
//!
//! Comes in: what Docker, Podman, containerd and CRI say over their sockets. Goes out: an
//! [`Identity`] for a container id, kept in [`Names`]. To whom: `query`, which joins it to a
//! cgroup by the id in its path.
//!
//! Nothing waits for a name. A container has all its figures without one; when the runtime answers,
//! at start or an hour later, the name is there at the next question.

mod backoff;
mod bounded;
pub mod containerd;
pub mod cri;
mod docker;
pub mod endpoint;
pub mod ends;
mod grpc;
mod http;
pub mod identity;
pub mod isolation;
pub mod link;
pub mod names;
mod oci;
mod podman;
mod proto;
pub mod settings;
mod start;
pub mod stats;
pub mod supervise;
mod users;

pub use containerd::ContainerdLink;
pub use cri::CriLink;
pub use endpoint::Endpoint;
pub use ends::End;
pub use identity::{Health, Identity, Image, Pod, Runtime, State};
pub use isolation::Isolation;
pub use link::{Link, LinkCounts, LinkError, LinkState, LinkStatus};
pub use names::{Known, LinkId, NameLimits, Names};
pub use settings::{Ask, RuntimeSettings};
pub use start::{Runtimes, Supervisor};
pub use stats::{RuntimeFigures, RuntimeStats};
