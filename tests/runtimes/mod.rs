//! Names from real runtimes, started by the tests on sockets of their own.

mod containerd;
mod containerd_host;
mod cri;
mod docker;
mod docker_served;
mod dockerd;
mod follow;
mod networks;
mod outage;
mod program;
mod place;
mod podman;
mod sandboxed;
mod watched;
