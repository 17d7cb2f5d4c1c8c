//! Names from real runtimes, started by the tests on sockets of their own.

mod docker;
mod dockerd;
mod place;
mod podman;
mod watched;
