//! API v2 over a made-up tree.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use super::Site;

/// The keys of an object, in order.
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_in_both_shapes() {
    let site = Site::new().await;
    let new = site.get("/api/v2.1/stats/a?count=1").await.json();
    assert_eq!(keys(&new), ["/a"]);
    let stats = &new["/a"]["stats"][0];
    assert_eq!(stats["cpu"]["usage"]["total"], 1_500_000_000_u64);
    assert_eq!(stats["memory"]["working_set"], 4_000);
    assert_eq!(stats.get("cpu_inst"), None, "the first has none");
    assert_eq!(new["/a"]["spec"]["has_cpu"], true);
    let old = site.get("/api/v2.0/stats/a?count=1").await.json();
    assert_eq!(old["/a"][0]["has_memory"], true);
    assert_eq!(old["/a"][0]["has_diskio"], false);
    assert_eq!(old["/a"][0]["cpu"]["usage"]["total"], 1_500_000_000_u64);
    // The root is in the old shape alone.
    assert_eq!(site.get("/api/v2.1/stats").await.json(), json!({}));
    assert_eq!(keys(&site.get("/api/v2.0/stats").await.json()), ["/"]);
    let all = site
        .get("/api/v2.1/stats?recursive=true&count=0")
        .await
        .json();
    assert_eq!(keys(&all), ["/a", "/a/b \"<c>", "/ab"]);
    assert_eq!(keys(&all["/ab"]), ["spec"]);
    let below = site.get("/api/v2.0/stats/a?recursive=true").await.json();
    assert_eq!(keys(&below), ["/a", "/a/b \"<c>"]);
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn max_age_polls_and_rates_are_between_samples_of_the_answer() {
    let site = Site::new().await;
    site.get("/api/v2.1/stats/a").await.json();
    // In place and of the same length: a poll sees the one or the other.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(site.root.path().join("a/cpu.stat"));
    file.unwrap().write_all(b"usage_usec 2500000\n").unwrap();
    let fresh = site
        .get("/api/v2.1/stats/a?count=-1&max_age=0s")
        .await
        .json();
    let stats = fresh["/a"]["stats"].as_array().unwrap();
    let last = stats.last().unwrap();
    assert_eq!(last["cpu"]["usage"]["total"], 2_500_000_000_u64);
    // Between the poll that first saw the change and the one before it.
    let rates = stats
        .iter()
        .filter_map(|sample| sample["cpu_inst"]["usage"]["total"].as_u64());
    assert!(rates.max().unwrap() > 0, "{fresh}");
    assert_eq!(stats[0].get("cpu_inst"), None);
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_tells() {
    let site = Site::new().await;
    assert_eq!(
        site.get("/api/v2.0/version").await.text(),
        format!("{:?}", env!("CARGO_PKG_VERSION"))
    );
    assert!(site.get("/api/v2.1/attributes").await.json()["num_cores"].is_u64());
    assert!(site.get("/api/v2.1/machine/x").await.json()["num_cores"].is_u64());
    let storage = site.get("/api/v2.1/storage").await.json();
    let first = &storage[0];
    assert!(
        first["capacity"].is_u64() && first["mountpoint"].is_string(),
        "{storage}"
    );
    let root = site.get("/api/v2.0/storage?label=root").await;
    if root.status == 200 {
        assert_eq!(root.json()[0]["mountpoint"], "/");
    }
    let machine = site
        .get("/api/v2.1/machinestats?count=1&max_age=0s")
        .await
        .json();
    assert_eq!(machine.as_array().unwrap().len(), 1);
    assert_eq!(machine[0]["cpu"]["usage"]["total"], 9_000_000_000_u64);
    assert!(
        machine[0]["filesystem"][0]["inline"].is_object(),
        "{machine}"
    );
    assert_eq!(
        site.get("/api/v2.1/machinestats?count=0").await.json(),
        Value::Null
    );
    assert_eq!(
        site.get("/api/v2.1/machinestats?type=docker&count=1")
            .await
            .status,
        200
    );
    // The samples of / have the file systems too, in API v1 and v2.0.
    let root = site.get("/api/v1.3/containers").await.json();
    assert_eq!(root["spec"]["has_filesystem"], true);
    assert_eq!(root["stats"][0]["filesystem"][0]["type"], "vfs");
    let old = site.get("/api/v2.0/stats").await.json();
    assert_eq!(old["/"][0]["has_filesystem"], true);
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn specs_summaries_processes_and_events() {
    let site = Site::new().await;
    let specs = site.get("/api/v2.1/spec?recursive=true").await.json();
    assert_eq!(keys(&specs).len(), 4);
    assert_eq!(specs["/a"]["memory"]["limit"], u64::MAX);
    let summary = site.get("/api/v2.0/summary/a").await.json();
    assert_eq!(summary["/a"]["latest_usage"]["memory"], 4_000);
    assert_eq!(summary["/a"]["minute_usage"]["cpu"]["present"], false);
    assert_eq!(
        keys(&site.get("/api/v2.0/summary?recursive=true").await.json()).len(),
        4
    );
    assert_eq!(site.get("/api/v2.1/ps/a").await.json(), json!([]));
    let all = site.get("/api/v2.1/ps").await.json();
    let own = all
        .as_array()
        .unwrap()
        .iter()
        .find(|process| process["pid"] == std::process::id())
        .unwrap();
    assert_eq!(
        keys(own),
        [
            "cgroup_path",
            "cmd",
            "fd_count",
            "parent_pid",
            "percent_cpu",
            "percent_mem",
            "pid",
            "psr",
            "rss",
            "running_time",
            "start_time",
            "status",
            "user",
            "virtual_size"
        ]
    );
    assert_eq!(
        site.get("/api/v2.1/appmetrics/a").await.text(),
        r#"{"/a":{}}"#
    );
    let events = site
        .get("/api/v2.0/events/a?creation_events=true")
        .await
        .json();
    assert_eq!(events[0]["event_type"], "containerCreation");
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_question() {
    let site = Site::new().await;
    for (path, message) in [
        ("stats/no", "unknown container \"/no\""),
        ("stats/no?recursive=true", "unknown container: \"/no\""),
        ("spec/no", "unknown container \"/no\""),
        ("appmetrics/no", "unknown container \"/no\""),
        ("ps/no", "process listing failed: unknown container \"/no\""),
        (
            "stats/web?type=docker",
            "unable to find container \"web\" in \"docker\" namespace",
        ),
        (
            "ps/web?type=podman",
            "process listing failed: unable to find container \"web\" in \"podman\" namespace",
        ),
        (
            "stats/web?type=docker&recursive=true",
            "invalid request for docker container \"/web\" with subcontainers",
        ),
        ("version?type=x", "unknown 'type' \"x\""),
        (
            "machine?count=-7",
            "invalid 'count' option: only -1 and larger values allowed, not -7",
        ),
        ("attributes?count=x", "failed to parse 'count' option: x"),
        ("storage?label=nosuch", "non-existent label \"nosuch\""),
    ] {
        let answer = site.get(&format!("/api/v2.1/{path}")).await;
        assert_eq!(
            (answer.status, answer.text()),
            (500, format!("{message}\n")),
            "{path}"
        );
    }
    let uuid = site.get("/api/v2.1/storage?uuid=../../etc/passwd").await;
    assert_eq!(
        (uuid.status, uuid.text().contains("no such device")),
        (500, true)
    );
    assert_eq!(
        site.get("/api/v2.1/stats?type=docker&recursive=true")
            .await
            .json(),
        json!({})
    );
    site.monitor.shutdown().await;
}
