//! Containers by the names that their runtimes told.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::runtime::{Health, Identity, Image, LinkId, Pod, Runtime, RuntimeFigures, State};
use crate::units::Timestamp;

const WEB: &str = "6bb9be375ebd1e839c247dd4b7cfda520873ee770be37bb7084031847b25fcd4";
const WEB_2: &str = "6ba9be375ebd1e839c247dd4b7cfda520873ee770be37bb7084031847b25fcd4";
const POD: &str = "bdef82c42ae4f0a00c72562e7b7504ee05ed6e1cc3f237b63838dbb7dd4ef749";
const IN_POD: &str = "cdef82c42ae4f0a00c72562e7b7504ee05ed6e1cc3f237b63838dbb7dd4ef749";
const PODMAN: &str = "ddef82c42ae4f0a00c72562e7b7504ee05ed6e1cc3f237b63838dbb7dd4ef749";
const UID: &str = "1b9f2e0a-5c3d-4e6f-8a7b-0c1d2e3f4a5b";

fn docker(id: &str, name: &str) -> Identity {
    Identity {
        name: Some(name.to_owned()),
        image: Some(Image {
            reference: "sample/busybox:1".into(),
            digest: None,
        }),
        labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
        env: BTreeMap::from([("TEST_VAR".to_owned(), "FOO".to_owned())]),
        created: Some(Timestamp(1_000_000_000)),
        started: Some(Timestamp(2_000_000_000)),
        restart_count: Some(2),
        health: Some(Health::Healthy),
        state: Some(State::Running),
        ..Identity::new(Runtime::Docker, id)
    }
}

fn in_pod(id: &str, container: Option<&str>) -> Identity {
    Identity {
        is_sandbox: container.is_none(),
        state: Some(State::Running),
        pod: Some(Pod {
            name: "front".into(),
            namespace: "shop".into(),
            uid: UID.into(),
            container: container.map(str::to_owned),
        }),
        ..Identity::new(Runtime::Cri, id)
    }
}

async fn site() -> Site {
    let pod = format!("kubepods/pod{UID}");
    Site::with(&[
        ("docker", 5),
        (&format!("docker/{WEB}"), 1_000_000),
        (&format!("docker/{WEB}/init.scope"), 4),
        (&format!("docker/{WEB_2}"), 6),
        (&format!("system.slice/docker-{WEB}.scope"), 7),
        (&pod, 8),
        (&format!("{pod}/{POD}"), 9),
        (&format!("{pod}/{IN_POD}"), 0),
        ("machine.slice/own", 10),
        (&format!("user.slice/docker-{PODMAN}.scope"), 11),
    ])
    .await
}

fn series<'a>(page: &'a str, family: &str) -> Vec<&'a str> {
    let of = |line: &&str| line.split('{').next() == Some(family);
    page.lines().filter(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_has_all_its_figures_before_its_name_and_its_series_change_once() {
    let site = site().await;
    let view = site.monitor.view();
    let web = format!("/docker/{WEB}");
    let before = site.get("/metrics").await.text();
    assert!(before.contains(&format!(
        "container_cpu_usage_seconds_total{{cpu=\"total\",id=\"{web}\"}} 1\n"
    )));
    assert_eq!(site.get("/api/v1.3/docker").await.json(), json!({}));
    view.names().put(docker(WEB, "web"));
    let after = site.get("/metrics").await.text();
    let base = format!(
        "container_env_test_var=\"FOO\",container_label_tier=\"front\",cpu=\"total\",id=\"{web}\",image=\"sample/busybox:1\",name=\"web\""
    );
    assert!(
        after.contains(&format!("container_cpu_usage_seconds_total{{{base}}} 1\n")),
        "{after}"
    );
    // As many series as before, and those that only a runtime fills.
    let of = |page: &str| {
        let lines = page.lines().filter(|line| line.contains(&web));
        lines
            .map(|line| line.split('{').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let (mut had, has) = (of(&before), of(&after));
    let at = had
        .iter()
        .position(|name| name == "container_last_seen")
        .unwrap();
    had.insert(at, "container_health_state".to_owned());
    assert_eq!(had, has);
    // Neither what lies in it, nor what somebody else named like it.
    for line in after.lines().filter(|line| line.contains("name=\"web\"")) {
        let its_own = [format!(",id=\"{web}\""), format!("container_id=\"{WEB}\"")];
        assert!(its_own.iter().any(|label| line.contains(label)), "{line}");
    }
    // What changes often is in no label.
    view.names().put(Identity {
        restart_count: Some(3),
        health: Some(Health::Unhealthy),
        ..docker(WEB, "web")
    });
    let later = site.get("/metrics").await.text();
    assert_eq!(
        series(&later, "container_memory_usage_bytes"),
        series(&after, "container_memory_usage_bytes")
    );
    assert_eq!(
        series(&later, "cgauge_container_restarts_total"),
        [format!(
            "cgauge_container_restarts_total{{container_id=\"{WEB}\",image=\"sample/busybox:1\",name=\"web\",runtime=\"docker\"}} 3"
        )]
    );
    // The runtime is gone: the name stays.
    view.names().remove(Runtime::Docker, WEB);
    let orphaned = site.get("/metrics").await.text();
    assert_eq!(
        series(&orphaned, "container_memory_usage_bytes"),
        series(&after, "container_memory_usage_bytes")
    );
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_is_asked_by_name_id_and_what_they_begin_with() {
    let site = site().await;
    let names = site.monitor.view();
    let names = names.names();
    names.put(docker(WEB, "web"));
    names.put(docker(WEB_2, "web2"));
    names.put(Identity {
        state: Some(State::Exited {
            code: Some(137),
            reason: Some("OOMKilled".into()),
            finished: None,
        }),
        ..docker(&"e".repeat(64), "job")
    });
    let at = format!("/docker/{WEB}");
    for question in ["web", WEB, "6bb9"] {
        let answer = site
            .get(&format!("/api/v1.3/docker/{question}"))
            .await
            .json();
        let map = answer.as_object().unwrap();
        assert_eq!(map.keys().collect::<Vec<_>>(), [&at], "{question}");
        let found = &map[&at];
        assert_eq!(found["id"], WEB);
        assert_eq!(found["aliases"], json!(["web", WEB]));
        assert_eq!(found["namespace"], "docker");
        let spec = &found["spec"];
        assert_eq!(spec["creation_time"], "1970-01-01T00:00:01Z");
        assert_eq!(spec["start_time"], "1970-01-01T00:00:02Z");
        assert_eq!(
            spec["labels"],
            json!({"restartcount": "2", "tier": "front"})
        );
        assert_eq!(spec["envs"], json!({"test_var": "FOO"}));
        assert_eq!(spec["image"], "sample/busybox:1");
        let stats = found["stats"].as_array().unwrap();
        assert_eq!(
            stats.last().unwrap()["health"],
            json!({"status": "healthy"})
        );
    }
    let all = site.get("/api/v1.2/docker/").await.json();
    assert_eq!(all.as_object().unwrap().len(), 2);
    let spec = site.get("/api/v2.1/spec/web?type=docker").await.json();
    assert_eq!(spec[&at]["aliases"], json!(["web", WEB]));
    assert_eq!(spec[&at]["namespace"], "docker");
    let all = site
        .get("/api/v2.1/stats/?type=docker&recursive=true")
        .await
        .json();
    assert_eq!(all.as_object().unwrap().len(), 2);
    for (path, status, message) in [
        (
            "/api/v1.3/docker/nosuch",
            500,
            "failed to get Docker container \"nosuch\" with error: unable to find container \"nosuch\" in \"docker\" namespace",
        ),
        (
            "/api/v1.3/docker/6b",
            500,
            "failed to get Docker container \"6b\" with error: unable to find container in \"docker\" namespace. Container \"6b\" is not unique",
        ),
        (
            "/api/v1.3/docker/job",
            404,
            "failed to get Docker container \"job\" with error: container \"job\" in \"docker\" namespace has ended with exit code 137 (OOMKilled)",
        ),
        (
            "/api/v2.0/stats/?type=docker",
            500,
            "unable to find container in \"docker\" namespace. Container \"\" is not unique",
        ),
        (
            "/api/v2.1/ps/job?type=docker",
            404,
            "process listing failed: container \"job\" in \"docker\" namespace has ended with exit code 137 (OOMKilled)",
        ),
        (
            "/api/v2.1/spec/web?type=podman",
            500,
            "unable to find container \"web\" in \"podman\" namespace",
        ),
    ] {
        let answer = site.get(path).await;
        assert_eq!(
            (answer.status, answer.text().trim_end()),
            (status, message),
            "{path}"
        );
    }
    let page = site.get("/metrics?type=docker").await.text();
    assert_eq!(series(&page, "container_memory_usage_bytes").len(), 2);
    assert!(
        site.get("/metrics?type=podman")
            .await
            .text()
            .contains("machine_memory_bytes")
    );
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_have_their_names_and_a_sandboxed_container_no_zeros() {
    let site = site().await;
    let view = site.monitor.view();
    view.names().put(in_pod(POD, None));
    view.names().put(Identity {
        oci_runtime: Some("io.containerd.kata.v2".into()),
        ..in_pod(IN_POD, Some("web"))
    });
    let page = site.get("/metrics").await.text();
    let pod = format!("/kubepods/pod{UID}");
    let memory = series(&page, "container_memory_usage_bytes");
    for line in [
        format!("id=\"{pod}\",namespace=\"shop\",pod=\"front\"}} 4096"),
        format!("id=\"{pod}/{POD}\",name=\"{POD}\",namespace=\"shop\",pod=\"front\"}} 4096"),
    ] {
        assert!(
            memory.iter().any(|found| found.ends_with(&line)),
            "{line}\n{memory:#?}"
        );
    }
    assert!(
        !memory.iter().any(|line| line.contains(IN_POD)),
        "{memory:#?}"
    );
    let info = series(&page, "cgauge_container_info");
    let info = info.iter().find(|line| line.contains(IN_POD)).unwrap();
    assert!(info.contains("isolation=\"machine\""), "{info}");
    let told = site
        .get(&format!("/api/v1.3/containers{pod}/{IN_POD}"))
        .await
        .json();
    assert!(told.get("stats").is_none(), "{told}");
    assert!(
        told["spec"]["no_stats_reason"]
            .as_str()
            .unwrap()
            .contains("sandbox")
    );
    // What the runtime says of it is said, and nothing else.
    view.runtimes().stats().put(
        IN_POD,
        RuntimeFigures {
            at: Timestamp::now(),
            cpu_usage_ns: Some(1_500_000_000),
            memory_usage_bytes: Some(8192),
            ..RuntimeFigures::default()
        },
    );
    let page = site.get("/metrics").await.text();
    let of_it = |family| {
        let mut lines = series(&page, family);
        lines.retain(|line| line.contains(IN_POD));
        lines
    };
    let memory = of_it("container_memory_usage_bytes");
    assert!(
        memory[0].ends_with("} 8192") && memory.len() == 1,
        "{memory:?}"
    );
    let cpu = of_it("container_cpu_usage_seconds_total");
    assert!(cpu[0].ends_with("} 1.5") && cpu.len() == 1, "{cpu:?}");
    assert!(of_it("container_memory_cache").is_empty());
    let told = site
        .get(&format!("/api/v1.3/containers{pod}/{IN_POD}"))
        .await
        .json();
    assert_eq!(told["stats"].as_array().unwrap().len(), 1);
    assert_eq!(told["stats"][0]["cpu"]["usage"]["total"], 1_500_000_000);
    assert_eq!(told["stats"][0]["memory"]["usage"], 8192);
    assert!(told["spec"].get("no_stats_reason").is_none());
    let summary = site.get("/stats/summary").await.json();
    assert_eq!(
        summary["pods"][0]["podRef"],
        json!({"name": "front", "namespace": "shop", "uid": UID})
    );
    let containers = summary["pods"][0]["containers"].as_array().unwrap();
    let names: Vec<_> = containers
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["web"]);
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cgroups_without_an_id_are_found_by_what_the_runtime_says_and_users_name_only_what_is_theirs()
 {
    let site = site().await;
    let view = site.monitor.view();
    let told = Identity {
        name: Some("own".into()),
        cgroup: Some("/machine.slice/own".into()),
        ..Identity::new(Runtime::Podman, "1234")
    };
    view.names().put(told.clone());
    let found = site.get("/api/v2.0/spec/own?type=podman").await.json();
    assert!(found.get("/machine.slice/own").is_some(), "{found}");
    let user = view.names().for_link(LinkId {
        of_user: true,
        number: 9,
    });
    user.put(docker(PODMAN, "mine"));
    user.put(Identity {
        cgroup: Some("/docker".into()),
        ..docker("5678", "evil")
    });
    user.put(docker(WEB, "evil"));
    let all = site.get("/api/v1.3/docker").await.json();
    let names: Vec<_> = all.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, [format!("/user.slice/docker-{PODMAN}.scope")]);
    site.monitor.shutdown().await;
}
