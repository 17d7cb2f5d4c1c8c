//! The agent under test: the real binary, asked over HTTP on a Unix socket of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::encode_path;
use super::process::{signal, wait_child};
use super::{Address, Client, LineStream, SOON, scaled, wait_for, wait_until};

/// The binary under test: as cargo built it, unless `CGAUGE_TEST_BINARY` names another (a release
/// build, an installed package).
pub fn binary() -> PathBuf {
    let other = std::env::var_os("CGAUGE_TEST_BINARY");
    other.map_or_else(|| env!("CARGO_BIN_EXE_cgauge").into(), PathBuf::from)
}

/// The agent's own deadline for an orderly end is shorter than this.
pub const STOPS_WITHIN: Duration = Duration::from_secs(15);

/// How often the agents of the tests poll each container.
pub const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// How an agent is started.
pub struct AgentBuilder {
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    housekeeping: Duration,
    address: Option<Address>,
    user: Option<u32>,
    binary: PathBuf,
}

impl AgentBuilder {
    /// One more argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Polls at this interval instead of [`HOUSEKEEPING`].
    pub fn housekeeping(mut self, interval: Duration) -> Self {
        self.housekeeping = interval;
        self
    }

    /// Listens here instead of on a socket of its own.
    pub fn listen(mut self, address: Address) -> Self {
        self.address = Some(address);
        self
    }

    /// Runs as this user and group, from a copy of the binary that the user can read.
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Starts it and waits until `/healthz` says ok.
    #[track_caller]
    pub fn start(self) -> Agent {
        let mut agent = self.spawn();
        let started = wait_for(SOON, || {
            if let Some(status) = agent.child.try_wait().expect("our child") {
                return Some(Err(status));
            }
            let healthy = agent.client.get("/healthz").is_ok_and(|r| r.status == 200);
            healthy.then_some(Ok(()))
        });
        match started {
            Some(Ok(())) => agent,
            Some(Err(status)) => {
                agent.over = true;
                panic!(
                    "cgauge ended at start ({status}); stderr:\n{}",
                    agent.stderr()
                )
            }
            None => panic!(
                "cgauge is not healthy within {:?}; stderr:\n{}",
                scaled(SOON),
                agent.stderr()
            ),
        }
    }

    fn spawn(self) -> Agent {
        let directory = tempfile::Builder::new()
            .prefix("cgauge-test-")
            .tempdir()
            .expect("a temporary directory");
        let address = self
            .address
            .unwrap_or_else(|| Address::Unix(directory.path().join("http.sock")));
        let mut binary = self.binary;
        if let Some(user) = self.user {
            binary = lend(&binary, directory.path(), user);
        }
        let mut command = Command::new(&binary);
        without_own_variables(&mut command);
        command
            .args(["--listen", &address.to_flag()])
            .arg(format!(
                "--housekeeping-interval={}ms",
                self.housekeeping.as_millis()
            ))
            .arg("--allow-dynamic-housekeeping=false")
            .args(self.args)
            .envs(self.env)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(user) = self.user {
            use std::os::unix::process::CommandExt;
            command.uid(user).gid(user);
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}", binary.display()));
        let log = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            collect(
                child.stdout.take().expect("a pipe"),
                Arc::new(Mutex::new(String::new())),
            ),
            collect(child.stderr.take().expect("a pipe"), Arc::clone(&log)),
        ];
        Agent {
            child,
            client: Client::new(address),
            log,
            readers,
            over: false,
            _directory: directory,
        }
    }
}

/// A copy of the binary in `directory`, which `user` can enter and write to.
fn lend(binary: &Path, directory: &Path, user: u32) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let copy = directory.join("cgauge");
    std::fs::copy(binary, &copy).expect("copy the binary");
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).expect("our copy");
    std::os::unix::fs::chown(directory, Some(user), Some(user)).expect("our directory");
    copy
}

fn collect(pipe: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            into.lock().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

/// A running agent. Dropping it stops it with SIGTERM and checks that it ends well.
pub struct Agent {
    child: Child,
    client: Client,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    over: bool,
    _directory: TempDir,
}

impl Agent {
    /// How to start one.
    pub fn builder() -> AgentBuilder {
        AgentBuilder {
            args: Vec::new(),
            env: Vec::new(),
            housekeeping: HOUSEKEEPING,
            address: None,
            user: None,
            binary: binary(),
        }
    }

    /// Starts one with the defaults of the tests.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// The HTTP client.
    pub fn http(&self) -> &Client {
        &self.client
    }

    /// The agent's pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.log.lock().clone()
    }

    /// `GET target` that must be answered with 200 and JSON.
    #[track_caller]
    pub fn json(&self, target: &str) -> Value {
        let response = self
            .client
            .get(target)
            .unwrap_or_else(|e| panic!("GET {target}: {e}"));
        assert_eq!(response.status, 200, "GET {target}: {}", response.text());
        response.json()
    }

    /// One container with its newest `samples` (-1: all), `None` while it is not known or has no sample.
    #[track_caller]
    pub fn container(&self, name: &str, samples: i64) -> Option<Value> {
        let target = format!("/api/v1.3/containers{}", encode_path(name));
        let response = self
            .client
            .post(&target, &json!({ "num_stats": samples }))
            .expect("an answer");
        match response.status {
            200 => Some(response.json()),
            500 => None,
            other => panic!("POST {target}: {other} {}", response.text()),
        }
    }

    /// Waits until the container is known and has a sample.
    #[track_caller]
    pub fn wait_container(&self, name: &str) -> Value {
        wait_until(SOON, &format!("{name} is shown with a sample"), || {
            self.container(name, 1)
                .filter(|c| c["stats"].as_array().is_some_and(|s| !s.is_empty()))
        })
    }

    /// Waits until the container is not known any more.
    #[track_caller]
    pub fn wait_gone(&self, name: &str) {
        wait_until(SOON, &format!("{name} is gone"), || {
            self.container(name, 1).is_none().then_some(())
        });
    }

    /// The names of `name` and everything below it; none when there is no such container.
    #[track_caller]
    pub fn names_below(&self, name: &str) -> Vec<String> {
        let target = format!("/api/v1.3/subcontainers{}", encode_path(name));
        let response = self
            .client
            .post(&target, &json!({ "num_stats": 1 }))
            .expect("an answer");
        if response.status == 500 {
            return Vec::new();
        }
        assert_eq!(response.status, 200, "POST {target}: {}", response.text());
        let list = response.json();
        list.as_array()
            .expect("a list")
            .iter()
            .map(|c| c["name"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// Past events of `name` and everything below it, of all types, oldest first.
    #[track_caller]
    pub fn events_below(&self, name: &str) -> Vec<Event> {
        let target = format!(
            "/api/v1.3/events{}?all_events=true&subcontainers=true&max_events=100000",
            encode_path(name)
        );
        self.json(&target)
            .as_array()
            .expect("a list")
            .iter()
            .map(Event::from_json)
            .collect()
    }

    /// Streams the events of `name` and everything below it; returns once the stream is open.
    #[track_caller]
    pub fn stream_below(&self, name: &str) -> EventStream {
        let target = format!(
            "/api/v1.3/events{}?all_events=true&subcontainers=true&stream=true",
            encode_path(name)
        );
        let stream = self.client.stream(&target).expect("the stream opens");
        assert_eq!(stream.status, 200);
        EventStream { stream }
    }

    /// Stops it with SIGTERM; the exit status and how long it took.
    #[track_caller]
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        self.stop_with(Signal::SIGTERM)
    }

    /// As [`stop`](Self::stop), with another signal.
    #[track_caller]
    pub fn stop_with(&mut self, with: Signal) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        signal(&self.child, with);
        let status = wait_child(&mut self.child, STOPS_WITHIN);
        let took = begin.elapsed();
        self.over = true;
        match status {
            Some(status) => {
                self.join_readers();
                (status, took)
            }
            None => {
                self.end_by_force();
                panic!(
                    "cgauge still runs {took:?} after SIGTERM; stderr:\n{}",
                    self.stderr()
                )
            }
        }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.over = true;
        self.end_by_force();
    }

    fn end_by_force(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_readers();
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end_by_force();
            let log = self.stderr();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("--- stderr of the agent");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        } else if !self.over {
            let (status, _) = self.stop();
            let log = self.stderr();
            assert!(
                status.success(),
                "cgauge ends with {status} on SIGTERM; stderr:\n{log}"
            );
            assert_no_panic(&log);
        }
    }
}

/// Fails the test if the log of an agent tells of a panic.
#[track_caller]
pub fn assert_no_panic(log: &str) {
    let told = ["panicked at", "stack backtrace", "RUST_BACKTRACE"]
        .iter()
        .find(|t| log.contains(**t));
    assert_eq!(told, None, "in stderr:\n{log}");
}

/// Runs the binary to its end: exit code, stdout, stderr. Fails the test if it is still there after a deadline.
#[track_caller]
pub fn run_to_end(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    without_own_variables(&mut command);
    let mut child = command
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("start {}: {e}", binary().display()));
    let (out, err) = (
        Arc::new(Mutex::new(String::new())),
        Arc::new(Mutex::new(String::new())),
    );
    let readers = [
        collect(child.stdout.take().expect("a pipe"), Arc::clone(&out)),
        collect(child.stderr.take().expect("a pipe"), Arc::clone(&err)),
    ];
    let status = wait_child(&mut child, SOON);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    readers
        .into_iter()
        .for_each(|r| r.join().expect("collects"));
    let (out, err) = (out.lock().clone(), err.lock().clone());
    match status {
        Some(status) => (status.code(), out, err),
        None => panic!("cgauge {args:?} is still running; stderr:\n{err}"),
    }
}

/// One event as it is on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `oom`, `oomKill`, `containerCreation` or `containerDeletion`.
    pub kind: String,
    /// The container.
    pub name: String,
    /// RFC 3339.
    pub timestamp: String,
    /// What belongs to the kind.
    pub data: Value,
    /// Who the container is; null if no runtime told.
    pub identity: Value,
}

impl Event {
    /// Reads the wire shape; fails the test on any other.
    #[track_caller]
    pub fn from_json(value: &Value) -> Self {
        let text = |key: &str| match value[key].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("event without {key}: {value}"),
        };
        assert!(
            value["event_data"].is_object(),
            "event without event_data: {value}"
        );
        Self {
            kind: text("event_type"),
            name: text("container_name"),
            timestamp: text("timestamp"),
            data: value["event_data"].clone(),
            identity: value["identity"].clone(),
        }
    }

    /// `containerCreation`.
    pub fn is_creation(&self) -> bool {
        self.kind == "containerCreation"
    }

    /// `containerDeletion`.
    pub fn is_deletion(&self) -> bool {
        self.kind == "containerDeletion"
    }
}

/// An open event stream.
pub struct EventStream {
    stream: LineStream,
}

impl EventStream {
    /// The next event; `None` when none came within `wait` (not scaled) .
    ///
    /// # Panics
    /// When the stream has ended.
    #[track_caller]
    pub fn next(&mut self, wait: Duration) -> Option<Event> {
        match self.next_or_end(wait) {
            Some(Some(event)) => Some(event),
            Some(None) => panic!("the event stream has ended"),
            None => None,
        }
    }

    /// As [`next`](Self::next), with `Some(None)` for a stream that has ended with the terminating chunk.
    #[track_caller]
    pub fn next_or_end(&mut self, wait: Duration) -> Option<Option<Event>> {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        let end = Instant::now() + wait;
        loop {
            match self
                .stream
                .next_line(end.saturating_duration_since(Instant::now()))
            {
                // Empty lines keep a stream alive.
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => {
                    let value = serde_json::from_str(&line)
                        .unwrap_or_else(|e| panic!("event {line:?}: {e}"));
                    return Some(Some(Event::from_json(&value)));
                }
                Ok(None) => return Some(None),
                Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => return None,
                Err(error) => panic!("the event stream was cut off: {error}"),
            }
        }
    }

    /// Reads until `enough` of what has come, or until the deadline (scaled); all that has come.
    #[track_caller]
    pub fn collect_until(
        &mut self,
        deadline: Duration,
        mut enough: impl FnMut(&[Event]) -> bool,
    ) -> Vec<Event> {
        let end = Instant::now() + scaled(deadline);
        let mut events = Vec::new();
        while !enough(&events) {
            match self.next(end.saturating_duration_since(Instant::now())) {
                Some(event) => events.push(event),
                None => break,
            }
        }
        events
    }
}

/// The variables of the tests are none of the program's settings, which it would say.
fn without_own_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CGAUGE_"))
        {
            command.env_remove(name);
        }
    }
}
