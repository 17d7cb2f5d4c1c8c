//! A real Prometheus scrapes while containers come and go.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Address, Agent, Client, Helper, SOON, TestCgroup, alone, in_guest, needs_cgroups, not_here,
    scaled, skip, wait_until,
};

/// How often Prometheus scrapes.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(2);

/// After how many scrapes at most a series has ended: the one under way when the container went, the
/// one that misses it, and one for slow machines. Without staleness it would be five minutes.
const STALE_WITHIN: u32 = 4;

/// For how long it scrapes; `CGAUGE_PROMETHEUS_SECONDS=120` for a longer look.
fn duration() -> Duration {
    let seconds = std::env::var("CGAUGE_PROMETHEUS_SECONDS");
    Duration::from_secs(seconds.ok().and_then(|s| s.parse().ok()).unwrap_or(20))
}

fn free_address() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Address::Tcp(listener.local_addr().unwrap())
}

fn port(address: &Address) -> u16 {
    match address {
        Address::Tcp(address) => address.port(),
        Address::Unix(_) => panic!("not TCP"),
    }
}

/// A Prometheus that scrapes one target. Dropping it kills it.
struct Prometheus {
    child: Child,
    client: Client,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &Address) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: {s}s, scrape_timeout: {s}s}}\n\
             scrape_configs:\n- job_name: cgauge\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            port(target),
            s = SCRAPE_INTERVAL.as_secs(),
        );
        let path = directory.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let address = free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{}", port(&address)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let prometheus = Self {
            child,
            client: Client::new(address),
            _directory: directory,
        };
        wait_until(SOON, "Prometheus is ready", || {
            let ready = prometheus.client.get("/-/ready").ok()?;
            (ready.status == 200).then_some(())
        });
        Some(prometheus)
    }

    /// The series and values that a query has now.
    fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self
            .client
            .get(&format!("/api/v1/query?query={encoded}"))
            .unwrap();
        let answer: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap().iter();
        series
            .map(|one| {
                let value = one["value"][1].as_str().unwrap().parse().unwrap();
                (one["metric"].clone(), value)
            })
            .collect()
    }

    /// One of its own counters.
    fn own(&self, name: &str) -> f64 {
        let page = self.client.get("/metrics").unwrap().text();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Its data is thrown away: there is nothing to end well for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The queries of `examples/dashboard-queries.md`.
fn dashboard_queries() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dashboard-queries.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```promql\n").skip(1);
    blocks
        .filter_map(|block| Some(block.split_once("```")?.0.trim().to_owned()))
        .collect()
}

#[test]
fn a_real_prometheus_scrapes_while_containers_come_and_go() {
    needs_cgroups!();
    if in_guest() {
        not_here!("no Prometheus in the guest");
    }
    // Other tests make thousands of cgroups, and a debug build has a second for each scrape.
    let _machine = alone();
    let address = free_address();
    // What others have on the machine may be thousands, and is not looked at.
    let _agent = Agent::builder()
        .listen(address.clone())
        .arg(format!(
            "--raw-cgroup-prefix-whitelist=/cgauge-test-{}-",
            std::process::id()
        ))
        .arg("--metrics-profile=dashboards")
        .start();
    let mut steady = TestCgroup::new("prometheus");
    steady.limit_memory(256 << 20);
    steady.write(
        "cpu",
        ("cpu.cfs_quota_us", "20000"),
        ("cpu.max", "20000 100000"),
    );
    let spinner = steady.add(Helper::spinner());
    spinner.go_at_once();
    let Some(prometheus) = Prometheus::start(&address) else {
        skip!("no prometheus");
    };

    let begun = Instant::now();
    let (mut rounds, mut slowest) = (0_u32, Duration::ZERO);
    while begun.elapsed() < duration() || rounds < 2 {
        let mut guest = TestCgroup::new(&format!("guest-{rounds}"));
        guest.add(Helper::sleeper()).go_at_once();
        let query = format!("container_last_seen{{id=\"{}\"}}", guest.name());
        wait_until(SOON, "the container is scraped", || {
            (prometheus.query(&query).len() == 1).then_some(())
        });
        guest.kill_helpers();
        wait_until(SOON, "the container can be removed", || guest.remove().ok());
        let removed = Instant::now();
        wait_until(SOON, "its series have ended", || {
            prometheus.query(&query).is_empty().then_some(())
        });
        slowest = slowest.max(removed.elapsed());
        rounds += 1;
    }
    assert!(
        slowest < scaled(SCRAPE_INTERVAL * STALE_WITHIN),
        "a series went on for {slowest:?}"
    );

    let window = begun.elapsed().as_secs().max(5);
    let up = prometheus.query(&format!("min_over_time(up{{job=\"cgauge\"}}[{window}s])"));
    assert_eq!(up.len(), 1);
    assert_eq!(up[0].1, 1.0, "a scrape failed");
    for what in [
        "prometheus_target_scrapes_sample_duplicate_timestamp_total",
        "prometheus_target_scrapes_sample_out_of_order_total",
        "prometheus_target_scrapes_sample_out_of_bounds_total",
        "prometheus_target_scrapes_exceeded_sample_limit_total",
    ] {
        assert_eq!(prometheus.own(what), 0.0, "{what}");
    }
    for counter in [
        "container_cpu_usage_seconds_total",
        "container_cpu_user_seconds_total",
        "container_cpu_cfs_throttled_seconds_total",
        "container_memory_failures_total",
        "container_oom_events_total",
    ] {
        let id = steady.name();
        let resets = prometheus.query(&format!("max(resets({counter}{{id=\"{id}\"}}[{window}s]))"));
        assert_eq!(
            resets.first().map(|one| one.1),
            Some(0.0),
            "{counter} went back"
        );
    }

    let queries = dashboard_queries();
    assert!(queries.len() > 12);
    for query in queries {
        let series = wait_until(SOON, &query, || {
            Some(prometheus.query(&query)).filter(|series| !series.is_empty())
        });
        for (metric, value) in series {
            assert!(
                value.is_finite() && value >= 0.0,
                "{query}: {metric} is {value}"
            );
        }
    }
    let ours = |query: &str| -> f64 {
        let mut found = prometheus.query(query);
        found.retain(|one| one.0["id"] == steady.name());
        assert_eq!(found.len(), 1, "{query}");
        found[0].1
    };
    let cores = ours("sum by (id) (rate(container_cpu_usage_seconds_total[10s]))");
    assert!((0.1..0.3).contains(&cores), "a fifth of a CPU is {cores}");
    let throttled = ours(
        "rate(container_cpu_cfs_throttled_periods_total[10s]) / rate(container_cpu_cfs_periods_total[10s])",
    );
    assert!(
        throttled > 0.5,
        "nearly every period is throttled: {throttled}"
    );
    assert_eq!(
        ours("container_spec_memory_limit_bytes"),
        f64::from(256 << 20)
    );
    println!("{rounds} containers came and went; the slowest series ended after {slowest:?}");
    steady.kill_helpers();
}
