//! The description and the routes say the same.

use std::collections::BTreeSet;

use super::Site;
use crate::serve::routes::api::VERSIONS;

/// What the index page lists, less the version: every route that is no part of `/api`.
const BESIDE: [&str; 10] = [
    "/api/cgauge/v1/ledger",
    "/",
    "/healthz",
    "/version",
    "/validate/",
    "/metrics",
    "/metrics/resource",
    "/stats/summary",
    "/api/cgauge/v1/events",
    "/openapi.json",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_described_is_served_and_what_is_served_is_described() {
    let site = Site::new().await;
    let description = site.get("/openapi.json").await.json();
    let paths = description["paths"].as_object().unwrap();
    let mut expected: BTreeSet<String> = BESIDE.map(str::to_owned).into();
    for (version, _, kinds) in VERSIONS {
        for kind in kinds {
            expected.insert(format!("/api/{version}/{}", kind.as_str()));
        }
    }
    let described: BTreeSet<String> = paths
        .keys()
        .filter(|path| !path.ends_with("{name}"))
        .cloned()
        .collect();
    assert_eq!(described, expected);
    for (path, item) in paths {
        let at = path.replace("{name}", "a");
        let get = &item["get"];
        let answer = site.get(&at).await;
        let media = answer.headers["content-type"].to_str().unwrap();
        let declared = get["responses"][answer.status.to_string()]["content"].as_object();
        let declared =
            declared.unwrap_or_else(|| panic!("{at}: {} {}", answer.status, answer.text()));
        assert!(
            declared
                .keys()
                .any(|declared| media.starts_with(declared.as_str())),
            "{at}: {media}"
        );
        assert!(
            answer.status == 200 || at.contains("/docker/"),
            "{at}: {}",
            answer.text()
        );
        // A parameter is read: what is no value of it is refused, or changes the answer.
        for parameter in get["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            if path.starts_with("/api/cgauge/") && !matches!(name, "container" | "name") {
                let refused = site.get(&format!("{at}?{name}=!")).await;
                assert_eq!(refused.status, 400, "{at}?{name}");
            } else if matches!(name, "type" | "count" | "max_age" | "label" | "uuid") {
                let refused = site.get(&format!("{at}?{name}=!")).await;
                assert_eq!(refused.status, 500, "{at}?{name}");
            }
        }
    }
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_and_the_kubelets_shapes_are_answered() {
    let site = Site::new().await;
    let report = site.get("/validate").await.text();
    assert!(
        report.contains("\nKernel version: [") && report.contains("\t/a/b \"<c>\n"),
        "{report}"
    );
    let summary = site
        .get("/stats/summary?only_cpu_and_memory=true")
        .await
        .json();
    assert_eq!(
        summary["node"]["cpu"]["usageCoreNanoSeconds"],
        9_000_000_000_u64
    );
    assert!(summary["node"].get("fs").is_none());
    let page = site.get("/metrics/resource").await.text();
    assert!(page.contains("\nnode_cpu_usage_seconds_total 9 "), "{page}");
    site.monitor.shutdown().await;
}
