//! What is wrong is said in one clear line, with the exit code that belongs to it.

use std::net::TcpListener;

use crate::support::agent::{assert_no_panic, run_to_end};
use crate::support::{Agent, SOON, shared, wait_until};

/// The one line of stderr; `run_to_end` has waited for the exit.
#[track_caller]
fn one_line(stderr: &str) -> &str {
    assert_no_panic(stderr);
    let lines: Vec<_> = stderr.lines().filter(|l| !l.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "one line:\n{stderr}");
    lines[0]
}

#[test]
fn missing_kmsg_is_said_and_survived() {
    let _machine = shared();
    let agent = Agent::builder()
        .arg("--kmsg")
        .arg("/nonexistent/kmsg")
        .start();
    wait_until(SOON, "stderr names the path", || {
        agent.stderr().contains("/nonexistent/kmsg").then_some(())
    });
    assert_eq!(agent.http().get("/healthz").unwrap().status, 200);
}

#[test]
fn missing_cgroup_root_ends_with_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let listen = format!("unix:{}", directory.path().join("s").display());
    let (code, _, stderr) =
        run_to_end(&["--listen", &listen, "--cgroup-root", "/nonexistent/cgroup"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        one_line(&stderr).contains("/nonexistent/cgroup"),
        "{stderr}"
    );
}

#[test]
fn taken_port_ends_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run_to_end(&["--listen", &address]);
    assert_eq!(code, Some(1), "{stderr}");
    let line = one_line(&stderr);
    assert!(line.contains(&address), "names the address: {line}");
    assert!(line.to_lowercase().contains("in use"), "says why: {line}");
}

#[test]
fn config_with_a_typo_ends_with_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cgauge.toml");
    std::fs::write(&path, "housekeeping_intervall = \"10s\"\n").unwrap();
    let (code, _, stderr) = run_to_end(&["--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{stderr}");
    assert_no_panic(&stderr);
    assert!(
        stderr.contains("housekeeping_intervall"),
        "names the key: {stderr}"
    );
    assert!(stderr.contains("cgauge.toml"), "names the file: {stderr}");
}

#[test]
fn missing_config_ends_with_the_path() {
    let (code, _, stderr) = run_to_end(&["--config", "/nonexistent/cgauge.toml"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        one_line(&stderr).contains("/nonexistent/cgauge.toml"),
        "{stderr}"
    );
}

#[test]
fn unknown_flag_is_a_usage_error_that_suggests() {
    for flag in ["--housekeeping-intervall=1s", "--housekeeping_intervall=1s"] {
        let (code, _, stderr) = run_to_end(&[flag]);
        assert_eq!(code, Some(2), "{stderr}");
        assert_no_panic(&stderr);
        let told = stderr.replace('_', "-");
        assert!(
            told.contains("housekeeping-interval"),
            "names the nearest: {stderr}"
        );
    }
}

#[test]
fn unreadable_values_are_usage_errors_that_name_them() {
    for (flag, value) in [("--housekeeping-interval", "soon"), ("--listen", "nowhere")] {
        let (code, _, stderr) = run_to_end(&[flag, value]);
        assert_eq!(code, Some(2), "{stderr}");
        assert_no_panic(&stderr);
        assert!(stderr.contains(flag) && stderr.contains(value), "{stderr}");
    }
}

#[test]
fn help_and_version_are_answers() {
    let (code, stdout, _) = run_to_end(&["--help"]);
    assert_eq!(code, Some(0));
    for word in ["--listen", "--config", "check", "events"] {
        assert!(stdout.contains(word), "--help has {word}:\n{stdout}");
    }
    let (code, stdout, _) = run_to_end(&["--version"]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains(env!("CARGO_PKG_VERSION")), "{stdout}");
}

#[test]
fn flags_work_as_the_predecessor_spells_them() {
    let _machine = shared();
    let agent = Agent::builder()
        .arg("-max_housekeeping_interval=30s")
        .arg("--global_housekeeping_interval=1m0s")
        .arg("--storage_duration=1m30s")
        .start();
    assert_eq!(agent.http().get("/healthz").unwrap().status, 200);
}
