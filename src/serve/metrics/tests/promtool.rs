//! The judge that users have: `promtool check metrics`. Not installed everywhere: then this says so and
//! passes, unless all tests were asked for.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

/// What it says of names and labels that the field has used for ten years; nothing else is let pass.
const KNOWN: [&str; 13] = [
    "cadvisor_version_info label names should be written in 'snake_case' not 'camelCase'",
    "container_cpu_load_d_average_10s metric names should not contain abbreviated units",
    "container_fs_inodes_total non-counter metrics should not have \"_total\" suffix",
    "container_hugetlb_failcnt counter metrics should have \"_total\" suffix",
    "container_memory_failcnt counter metrics should have \"_total\" suffix",
    "container_network_advance_tcp_stats_total non-counter metrics should not have \"_total\" suffix",
    "container_network_tcp6_usage_total non-counter metrics should not have \"_total\" suffix",
    "container_network_tcp_usage_total non-counter metrics should not have \"_total\" suffix",
    "container_network_udp6_usage_total non-counter metrics should not have \"_total\" suffix",
    "container_network_udp_usage_total non-counter metrics should not have \"_total\" suffix",
    "machine_dimm_count non-histogram and non-summary metrics should not have \"_count\" suffix",
    "machine_node_hugepages_count non-histogram and non-summary metrics should not have \"_count\" suffix",
    "machine_thread_siblings_count non-histogram and non-summary metrics should not have \"_count\" suffix",
];

/// What promtool says of a page, but for [`KNOWN`]; `None` if it is not there.
fn complaints(page: &str) -> Option<Vec<String>> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(
            std::env::var_os("CGAUGE_TEST_ALL").is_none_or(|all| all != "1"),
            "promtool is not installed"
        );
        eprintln!("skipped: promtool is not installed");
        return None;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    let lines = said.lines().filter(|line| !KNOWN.contains(line));
    Some(lines.map(str::to_owned).collect())
}

#[test]
fn promtool_finds_nothing_to_say() {
    let containers = || {
        vec![
            container("/", spec(), full(1)),
            container("/a\n\"\\", spec(), full(u64::MAX - 1)),
        ]
    };
    for profile in Profile::ALL {
        for timestamps in [false, true] {
            let options = Options {
                profile,
                timestamps,
                ..everything()
            };
            let Some(complaints) = complaints(&page_with(containers(), &options)) else {
                return;
            };
            assert!(complaints.is_empty(), "{profile:?}: {complaints:#?}");
        }
    }
    for golden in ["v1.txt", "v2.txt"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/metrics")
            .join(golden);
        let complaints = complaints(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(complaints.is_empty(), "{golden}: {complaints:#?}");
    }
}
