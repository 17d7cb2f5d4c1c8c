//! Names from real runtimes, started by the tests on sockets of their own.

mod containerd;
mod containerd_host;
mod cri;
mod follow;
mod program;
