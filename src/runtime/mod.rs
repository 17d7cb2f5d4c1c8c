//! NAME: who a container is, as its runtime tells.
//!
//! Comes in: what Docker, Podman, containerd and CRI say over their sockets. Goes out: an
//! [`Identity`] for a container id, kept in [`Names`]. To whom: `query`, which joins it to a
//! cgroup by the id in its path.
//!
//! Nothing waits for a name. A container has all its figures without one; when the runtime answers,
//! at start or an hour later, the name is there at the next question.

pub mod identity;
pub mod link;
pub mod names;

pub use identity::{Health, Identity, Image, Pod, Runtime, State};
pub use link::{Link, LinkError, LinkState, LinkStatus};
pub use names::{NameLimits, Names};
