//! Requests that mean no good, and clients that read nothing.

use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;

use super::{PATIENCE, Site, make_cgroup};

#[tokio::test(flavor = "multi_thread")]
async fn absurd_requests_get_a_clear_answer() {
    let site = Site::new().await;
    // Longer ones are no URIs any more: the server refuses them before the routes.
    let long = "a".repeat(60_000);
    for (path, statuses) in [
        (format!("/api/v1.3/containers/{long}"), &[500][..]),
        (format!("/api/v2.1/stats/{long}?recursive=true"), &[500]),
        (format!("/api/v2.1/stats?type={long}"), &[500]),
        (format!("/api/{long}"), &[500]),
        ("/api/v2.1/stats/a?count=-2".into(), &[500]),
        ("/api/v2.1/stats/a?count=1e9".into(), &[500]),
        ("/api/v2.1/stats/a?count=9223372036854775807".into(), &[200]),
        ("/api/v2.1/stats/a?max_age=-1h".into(), &[200]),
        ("/api/v2.1/stats/a?max_age=1e400s".into(), &[500]),
        ("/api/v2.1/stats/a?max_age=9999999h".into(), &[200]),
        ("/api/v2.0/stats/../../../etc?count=1".into(), &[500]),
        ("/api/v2.0/stats/%2e%2e/%2e%2e/etc/passwd".into(), &[500]),
        ("/api/v2.1/ps/..%2f..%2fetc".into(), &[500]),
        (
            "/api/v2.1/storage?uuid=..%2f..%2fetc%2fpasswd".into(),
            &[500],
        ),
        ("/api/v2.1/storage?label=%00".into(), &[500]),
        ("/api/v1.3/containers/%00%ff%0a".into(), &[500]),
        (
            "/api/v1.3/events?max_events=99999999999999999999".into(),
            &[200],
        ),
        ("/api/v1.3/events?max_events=-9".into(), &[200]),
        ("/stats/summary/../../etc/passwd".into(), &[404]),
        ("/static/../../etc/passwd".into(), &[404]),
        ("/validate/x".into(), &[404]),
    ] {
        let shown: String = path.chars().take(60).collect();
        let answer = site.get(&path).await;
        assert!(
            statuses.contains(&answer.status),
            "{shown}: {}",
            answer.status
        );
        assert!(!answer.text().contains("root:"), "{shown}");
        if answer.status != 200 {
            assert_eq!(
                answer.headers["content-type"], "text/plain; charset=utf-8",
                "{shown}"
            );
            assert!(answer.body.len() > 10, "{shown}: no reason given");
        }
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"] {
        let request = Request::builder().method(method).uri("/api/v2.1/spec/a");
        let answer = site
            .send(request.body(Full::from("not json")).unwrap())
            .await;
        assert_eq!(answer.status, 200, "{method}");
    }
    for body in [
        "{\"num_stats\":1e30}",
        "[[[[",
        "{\"num_stats\":-5}",
        "{\"start\":7}",
        "\u{0}",
        "\"x\"",
    ] {
        let request = Request::post("/api/v1.3/subcontainers/a");
        let answer = site.send(request.body(Full::from(body)).unwrap()).await;
        assert_eq!(answer.status, 500, "{body}");
    }
    let nested = format!("{{\"x\":{}", "[".repeat(60_000));
    let request = Request::post("/api/v1.3/containers/a");
    let answer = site.send(request.body(Full::from(nested)).unwrap()).await;
    assert_eq!(answer.status, 500, "deep nesting");
    // A start after the end is an empty range.
    let range = r#"{"start":"2030-01-01T00:00:00Z","end":"2020-01-01T00:00:00Z"}"#;
    let request = Request::post("/api/v1.3/containers/a");
    let answer = site.send(request.body(Full::from(range)).unwrap()).await;
    assert_eq!(answer.json().get("stats"), None);
    site.monitor.shutdown().await;
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/status").unwrap();
    crate::node::processes::parse::status(&statm)
        .resident_bytes
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_of_large_answers_hold_little_and_delay_nobody() {
    const CONTAINERS: usize = 200;
    const SLOW: usize = 200;
    let site = Site::new().await;
    let aside = tempfile::tempdir().unwrap();
    for number in 0..CONTAINERS {
        make_cgroup(&aside.path().join(format!("many/{number:03}")), 5);
    }
    make_cgroup(&aside.path().join("many"), 5);
    std::fs::rename(aside.path().join("many"), site.root.path().join("many")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while site.monitor.container_count() < CONTAINERS + 5 {
        assert!(
            Instant::now() < deadline,
            "{}",
            site.monitor.container_count()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // Some history for each.
    for _ in 0..10 {
        site.get("/api/v2.1/stats?recursive=true&max_age=0s&count=1")
            .await;
    }
    let path = "/api/v2.0/stats?recursive=true&count=-1";
    let whole = site.get(path).await;
    let size = whole.body.len();
    assert_eq!(whole.json().as_object().unwrap().len(), CONTAINERS + 5);
    assert!(size > 1_000_000, "{size}");
    drop(whole);
    let before = resident();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let request = Request::get(path).body(Full::<Bytes>::default()).unwrap();
        let mut body = Box::pin(site.ask(request).await.into_body());
        // The first piece, and then no more.
        let first = timeout(PATIENCE, body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let first = first.into_data().unwrap().len();
        assert!(first <= 64 * 1024 + size / CONTAINERS * 2, "{first}");
        slow.push(body);
    }
    let held = resident().saturating_sub(before);
    assert!(
        held < 80_000_000,
        "{held} bytes for {SLOW} clients of {size} bytes each"
    );
    // The others are neither refused nor polled less.
    let fast = site.get(path).await;
    assert_eq!(fast.json().as_object().unwrap().len(), CONTAINERS + 5);
    let fresh = site.get("/api/v2.1/stats/a?max_age=0s&count=1").await;
    assert_eq!(fresh.status, 200);
    // And a slow one gets all of it, late.
    let mut late = slow.pop().unwrap();
    let mut rest = 0;
    while let Some(frame) = timeout(PATIENCE, late.frame()).await.unwrap() {
        rest += frame.unwrap().into_data().unwrap().len();
    }
    assert!(rest > size - 64 * 1024 - size / CONTAINERS * 2, "{rest}");
    drop(slow);
    site.monitor.shutdown().await;
}
