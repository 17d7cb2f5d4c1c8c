//! What is shipped beside the binary works with it: the systemd unit, the example settings.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{in_guest, not_here, skip};

fn shipped(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd")
        .join(file)
}

#[test]
fn systemd_understands_the_unit() {
    if in_guest() {
        not_here!("the guest has no systemd");
    }
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        skip!("systemd-analyze is not installed");
    }
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("cgauge.service");
    let text = fs::read_to_string(shipped("cgauge.service")).unwrap();
    let start = "ExecStart=/usr/bin/cgauge";
    assert!(text.contains(start));
    // systemd looks whether the program is there.
    let here = format!("ExecStart={}", env!("CARGO_BIN_EXE_cgauge"));
    fs::write(&unit, text.replace(start, &here)).unwrap();
    let out = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let about_us: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("cgauge"))
        .collect();
    assert!(out.status.success() && about_us.is_empty(), "{said}");
}

#[test]
fn the_example_settings_are_understood() {
    if in_guest() {
        not_here!("the guest has no copy of the repository");
    }
    let out = Command::new(env!("CARGO_BIN_EXE_cgauge"))
        .arg("check")
        .arg("--config")
        .arg(shipped("cgauge.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let found = String::from_utf8(out.stdout).unwrap();
    assert!(found.contains("cgroups ("), "{found}");
}
