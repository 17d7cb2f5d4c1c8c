//! Makes Rust of `proto/`: what is asked of containerd and of CRI. No protoc is needed.

use std::path::{Path, PathBuf};
use std::{env, error, fs};

/// What the program asks, and the folder that its files import from.
const ASKED: [(&str, &[&str]); 2] = [
    ("proto/cri", &["runtime.proto"]),
    (
        "proto/containerd",
        &[
            "containers.proto",
            "event.proto",
            "events.proto",
            "images.proto",
            "namespaces.proto",
            "snapshots.proto",
            "tasks.proto",
            "version.proto",
        ],
    ),
];

/// What only the tests ask.
const DRIVEN: (&str, &[&str]) = ("proto/test", &["cri.proto"]);

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for (folder, files) in ASKED {
        let name = Path::new(folder).file_name().unwrap_or_default();
        let into = out.join(name);
        fs::create_dir_all(&into)?;
        tonic_prost_build::configure()
            .build_transport(false)
            // Unit tests answer as a runtime would.
            .server_mod_attribute(".", "#[cfg(test)]")
            .include_file("mod.rs")
            .out_dir(into)
            .compile_fds(protox::compile(files, [folder])?)?;
    }
    let into = out.join("test");
    fs::create_dir_all(&into)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .build_server(false)
        .out_dir(into)
        .compile_fds(protox::compile(DRIVEN.1, [DRIVEN.0])?)?;
    Ok(())
}
