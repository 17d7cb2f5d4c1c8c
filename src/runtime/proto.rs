//! What runtimes are asked in gRPC, as `build.rs` makes it of `proto/`.

#![allow(missing_docs, unused_qualifications, rust_2018_idioms, clippy::all)]

/// The Kubernetes container runtime interface.
pub mod cri {
    include!(concat!(env!("OUT_DIR"), "/cri/mod.rs"));
}

/// containerd's own services.
pub mod native {
    include!(concat!(env!("OUT_DIR"), "/containerd/mod.rs"));
}
