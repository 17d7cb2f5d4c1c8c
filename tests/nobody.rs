//! Run by an unprivileged user: what is readable is shown, what is not is said.

use std::process::{Command, Stdio};

use crate::support::{Agent, SOON, TestCgroup, needs_cgroups, shared, wait_until};

/// The user and group `nobody`, by convention.
const NOBODY: u32 = 65_534;

fn nobody_can_open_kmsg() -> bool {
    use std::os::unix::process::CommandExt;
    Command::new("sh")
        .args(["-c", ": </dev/kmsg"])
        .uid(NOBODY)
        .gid(NOBODY)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn nobody_sees_the_containers_and_is_told_what_is_missing() {
    needs_cgroups!();
    let _machine = shared();
    let cgroup = TestCgroup::new("nobody");
    cgroup.limit_memory(32 << 20);
    let agent = Agent::builder().user(NOBODY).start();
    let container = agent.wait_container(cgroup.name());
    assert_eq!(container["spec"]["memory"]["limit"], 32 << 20);
    assert!(
        container["stats"][0]["memory"]["usage"].is_u64(),
        "{container}"
    );
    assert!(agent.names_below("/").iter().any(|n| n == cgroup.name()));
    let later = TestCgroup::new("nobody-later");
    agent.wait_container(later.name());
    if !nobody_can_open_kmsg() {
        wait_until(
            SOON,
            "stderr says that the kernel's log is not readable",
            || agent.stderr().contains("/dev/kmsg").then_some(()),
        );
    }
}
