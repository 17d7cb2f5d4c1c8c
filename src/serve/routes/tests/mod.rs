//! The routes, asked without a socket, over a made-up tree.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;
use tower_service::Service;

use super::{Options, all};
use crate::monitor::Monitor;
use crate::runtime::RuntimeSettings;

mod golden;
mod hostile;
mod named;
mod openapi;
mod v2;

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A monitor of a made-up v2 tree.
struct Site {
    root: TempDir,
    monitor: Monitor,
    options: Options,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    fn json(&self) -> Value {
        assert_eq!(
            (self.status, self.headers["content-type"].to_str().unwrap()),
            (200, "application/json"),
            "{}",
            self.text()
        );
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn make_cgroup(at: &Path, usage: u64) {
    fs::create_dir_all(at).unwrap();
    for (file, text) in [
        ("cgroup.controllers", "cpu memory pids\n".to_owned()),
        ("cgroup.procs", String::new()),
        (
            "cpu.stat",
            format!("usage_usec {usage}\nuser_usec 1\nsystem_usec 2\n"),
        ),
        ("cpu.max", "max 100000\n".to_owned()),
        ("cpu.weight", "100\n".to_owned()),
        ("memory.current", "4096\n".to_owned()),
        ("memory.max", "max\n".to_owned()),
        (
            "memory.stat",
            "anon 1\nfile 2\ninactive_file 96\n".to_owned(),
        ),
    ] {
        fs::write(at.join(file), text).unwrap();
    }
}

impl Site {
    async fn new() -> Self {
        Self::with(&[("a", 1_500_000), ("a/b \"<c>", 7), ("ab", 8)]).await
    }

    /// With these cgroups below the root, and microseconds of CPU time that they used.
    async fn with(cgroups: &[(&str, u64)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        make_cgroup(root.path(), 9_000_000);
        for (name, usage) in cgroups {
            make_cgroup(&root.path().join(name), *usage);
        }
        let monitor = Monitor::builder()
            .cgroup_root(root.path())
            .kmsg(None)
            .runtimes(RuntimeSettings::none())
            .start()
            .await
            .unwrap();
        let site = Self {
            root,
            monitor,
            options: Options::default(),
        };
        timeout(PATIENCE, site.monitor.view().ready())
            .await
            .unwrap();
        site
    }

    async fn ask(
        &self,
        request: Request<Full<Bytes>>,
    ) -> http::Response<impl http_body::Body<Data = Bytes, Error: std::fmt::Debug> + use<>> {
        let mut service = warp::service(all(&self.monitor.view(), &self.options));
        timeout(PATIENCE, service.call(request))
            .await
            .unwrap()
            .unwrap()
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self.ask(request).await.into_parts();
        let body = timeout(PATIENCE, body.collect())
            .await
            .unwrap()
            .unwrap()
            .to_bytes();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Full::default()).unwrap())
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_routes_and_what_is_no_route() {
    let site = Site::new().await;
    let health = site.get("/healthz").await;
    assert_eq!((health.status, health.text().as_str()), (200, "ok"));
    assert!(site.get("/").await.text().contains("/metrics"));
    assert_eq!(
        site.get("/version").await.json()["version"],
        env!("CARGO_PKG_VERSION")
    );
    for path in ["/nosuch", "/healthz/x", "/apix", "/containers/"] {
        let answer = site.get(path).await;
        assert_eq!(
            (
                answer.status,
                answer.text().contains("/api/v1.3/containers/")
            ),
            (404, true),
            "{path}"
        );
    }
    for (path, status, text) in [
        (
            "/api",
            400,
            "Supported API versions: v1.0,v1.1,v1.2,v1.3,v2.0,v2.1\n",
        ),
        (
            "/api/v1.1/",
            400,
            "Supported request types: \"containers,machine,subcontainers\"\n",
        ),
        (
            "/api/v9.9/machine",
            500,
            "unsupported API version \"v9.9\"\n",
        ),
        ("/api/v1.3/nosuch", 500, "unknown request type \"nosuch\"\n"),
        (
            "/api/v1.3/containers/nosuch",
            500,
            "failed to get container \"/nosuch\" with error: unknown container \"/nosuch\"\n",
        ),
        (
            "/api/v1.3/subcontainers/x",
            500,
            "failed to get subcontainers for container \"/x\" with error: no containers found\n",
        ),
        (
            "/api/v1.3/docker/x",
            500,
            "failed to get Docker container \"x\" with error: unable to find container \"x\" in \"docker\" namespace\n",
        ),
    ] {
        let answer = site.get(path).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, text),
            "{path}"
        );
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    assert_eq!(site.get("/api/v1.2/docker/").await.text(), "{}");
    assert!(site.get("/api/v1.0/machine").await.json()["num_cores"].is_u64());
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_by_name() {
    let site = Site::new().await;
    let a = site.get("/api/v1.0/containers//a/").await.json();
    assert_eq!(a["name"], "/a");
    assert_eq!(a["subcontainers"][0]["name"], "/a/b \"<c>");
    assert_eq!(a["stats"][0]["cpu"]["usage"]["total"], 1_500_000_000_u64);
    assert_eq!(a["stats"][0]["memory"]["working_set"], 4_000);
    assert_eq!(a["spec"]["memory"]["limit"], u64::MAX);
    let odd = site.get("/api/v1.3/containers/a/b%20%22%3Cc%3E").await;
    assert!(
        odd.text().starts_with(r#"{"name":"/a/b \"\u003cc\u003e","#),
        "{}",
        odd.text()
    );
    let post = |body: &'static str| {
        Request::post("/api/v1.3/containers/a")
            .body(Full::from(body))
            .unwrap()
    };
    assert_eq!(
        site.send(post(r#"{"num_stats":0}"#))
            .await
            .json()
            .get("stats"),
        None
    );
    assert!(
        site.send(post("{"))
            .await
            .text()
            .starts_with("unable to decode the json value: ")
    );
    let big = Request::post("/api/v1.3/containers/a")
        .body(Full::from(vec![b' '; 100_000]))
        .unwrap();
    assert_eq!(site.send(big).await.status, 413);
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subcontainers_are_all_below_and_not_what_begins_alike() {
    let site = Site::new().await;
    let names = |list: Value| -> Vec<String> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|info| info["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(site.get("/api/v1.1/subcontainers/a").await.json()),
        ["/a", "/a/b \"<c>"]
    );
    assert_eq!(
        names(site.get("/api/v1.3/subcontainers").await.json()).len(),
        4
    );
    let zipped = Request::get("/api/v1.3/subcontainers/")
        .header("accept-encoding", "gzip")
        .body(Full::default())
        .unwrap();
    let zipped = site.send(zipped).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    let mut plain = String::new();
    std::io::Read::read_to_string(
        &mut flate2::read::MultiGzDecoder::new(&zipped.body[..]),
        &mut plain,
    )
    .unwrap();
    assert_eq!(names(serde_json::from_str(&plain).unwrap()).len(), 4);
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_events_and_events_as_they_happen() {
    let site = Site::new().await;
    let past = site
        .get("/api/v1.3/events/a?creation_events=true&subcontainers=true")
        .await
        .json();
    assert_eq!(past.as_array().unwrap().len(), 2, "{past}");
    assert_eq!(past[0]["event_type"], "containerCreation");
    assert_eq!(
        site.get("/api/v1.3/events?subcontainers=true").await.text(),
        "[]"
    );
    let bad = site
        .get("/api/v1.3/events?stream=true&start_time=2020-01-01T00:00:00Z")
        .await;
    assert_eq!(bad.status, 500);

    let request = Request::get("/api/v1.3/events/?all_events=1&subcontainers=1&stream=1")
        .body(Full::default())
        .unwrap();
    let response = site.ask(request).await;
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers().get("content-type")
        ),
        (200, None)
    );
    let mut body = std::pin::pin!(response.into_body());
    make_cgroup(&site.root.path().join("new"), 1);
    let line = timeout(PATIENCE, body.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert!(line.ends_with(b"\n") && !line[..line.len() - 1].contains(&b'\n'));
    let event: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(
        (&event["container_name"], &event["event_type"]),
        (&"/new".into(), &"containerCreation".into())
    );
    site.monitor.shutdown().await;
    // What was said before the end may still come; the end itself must be a clean one.
    while let Some(frame) = timeout(PATIENCE, body.frame()).await.unwrap() {
        assert!(frame.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_as_fresh_as_it_asks_for() {
    let site = Site::new().await;
    let page = site.get("/metrics?max_age=0s").await;
    assert_eq!(
        (page.status, &page.headers["content-type"]),
        (
            200,
            &"text/plain; version=0.0.4; charset=utf-8".parse().unwrap()
        )
    );
    assert!(
        page.text()
            .contains("container_cpu_usage_seconds_total{cpu=\"total\",id=\"/a\"} 1.5\n"),
        "{}",
        page.text()
    );
    assert!(page.text().contains("id=\"/a/b \\\"<c>\""));
    assert!(page.text().contains("\ncontainer_scrape_error 0\n"));
    fs::write(site.root.path().join("a/cpu.stat"), "usage_usec 2500000\n").unwrap();
    let page = site.get("/metrics?max_age=0").await;
    assert!(
        page.text()
            .contains("container_cpu_usage_seconds_total{cpu=\"total\",id=\"/a\"} 2.5\n")
    );
    let bad = site.get("/metrics?max_age=soon").await;
    assert_eq!(
        (
            bad.status,
            bad.text()
                .starts_with("No metrics gathered, last error:\n\n")
        ),
        (500, true)
    );
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_answered_in_the_format_and_at_the_place_that_is_wanted() {
    let mut site = Site::new().await;
    site.options.prometheus_endpoint = "/my/metrics".into();
    assert_eq!(site.get("/metrics").await.status, 404);
    assert_eq!(site.get("/my/metrics/").await.status, 404);
    for (accept, content_type, end) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", "\n"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "\n# EOF\n",
        ),
    ] {
        let request = Request::get("/my/metrics").header("accept", accept);
        let page = site.send(request.body(Full::default()).unwrap()).await;
        assert_eq!(
            (page.status, page.headers["content-type"].to_str().unwrap()),
            (200, content_type)
        );
        assert!(page.text().ends_with(end));
        let vary: Vec<_> = page.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["accept-encoding", "accept"]);
    }
    let none = site.get("/my/metrics?type=docker").await;
    assert_eq!(none.status, 200);
    assert!(
        !none.text().contains("container_last_seen") && none.text().contains("machine_cpu_cores")
    );
    assert!(
        site.get("/my/metrics")
            .await
            .text()
            .contains("cgauge_scrapes_total 4\n")
    );
    let wrong = site.get("/my/metrics?count=-2").await;
    assert_eq!(wrong.status, 500);
    site.monitor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_in_time_is_left_out_and_counted() {
    let site = Site::new().await;
    // Everybody's poll is done by now; a scraper without patience gets nothing that it had to wait
    // for, and is told so.
    site.get("/metrics?max_age=0").await;
    let request = Request::get("/metrics?max_age=0")
        .header("x-prometheus-scrape-timeout-seconds", "0")
        .body(Full::default())
        .unwrap();
    let page = site.send(request).await.text();
    let late: usize = page
        .lines()
        .find_map(|line| line.strip_prefix("cgauge_scrape_late_containers "))
        .unwrap()
        .parse()
        .unwrap();
    let shown = page.matches("container_last_seen{").count();
    assert_eq!(late + shown, 4, "{page}");
    site.monitor.shutdown().await;
}
