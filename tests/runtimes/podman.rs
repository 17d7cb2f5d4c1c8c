//! A real Podman.
