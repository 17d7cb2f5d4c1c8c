//! An engine that is made up: containers, events, and sicknesses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// What may be wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sick {
    /// Takes connections and says nothing.
    Silent,
    /// Says nothing to questions whose path ends so.
    HangsAt(&'static str),
    /// Says this to every question, and closes.
    Says(&'static [u8]),
    /// Says this to the question for a list.
    Lists(&'static [u8]),
    /// Announces a list of so many bytes.
    Announces(usize),
    /// Sends a list of so many bytes without announcing it.
    Sends(usize),
}

#[derive(Debug)]
pub(super) struct Engine {
    inner: Arc<Inner>,
    stop: CancellationToken,
    path: PathBuf,
    _directory: Option<tempfile::TempDir>,
}

#[derive(Debug)]
struct Inner {
    version: Mutex<Value>,
    containers: Mutex<BTreeMap<String, Value>>,
    hanging: Mutex<BTreeSet<String>>,
    events: broadcast::Sender<Vec<u8>>,
    sick: Mutex<Option<Sick>>,
    delay: Mutex<Duration>,
    open: AtomicUsize,
    sent: AtomicUsize,
    connections: Mutex<CancellationToken>,
}

pub(super) fn id(number: u32) -> String {
    format!("{number:064x}")
}

pub(super) fn podman_version() -> Value {
    json!({
        "Version": "4.3.1", "ApiVersion": "1.41", "MinAPIVersion": "1.24",
        "Components": [{"Name": "Podman Engine", "Details": {"APIVersion": "4.3.1"}}],
    })
}

impl Engine {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.sock");
        let mut engine = Self::at(&path, true);
        engine._directory = Some(directory);
        engine
    }

    pub(super) fn at(path: &Path, listens: bool) -> Self {
        let version = json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"});
        let inner = Arc::new(Inner {
            version: Mutex::new(version),
            containers: Mutex::default(),
            hanging: Mutex::default(),
            events: broadcast::Sender::new(1024),
            sick: Mutex::default(),
            delay: Mutex::default(),
            open: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            connections: Mutex::default(),
        });
        let stop = CancellationToken::new();
        if listens {
            let listener = UnixListener::bind(path).unwrap();
            let (inner, stop) = (inner.clone(), stop.clone());
            tokio::spawn(stop.run_until_cancelled_owned(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    inner.open.fetch_add(1, Ordering::SeqCst);
                    let inner = inner.clone();
                    let over = inner.connections.lock().clone();
                    tokio::spawn(async move {
                        over.run_until_cancelled(inner.serve(stream)).await;
                        inner.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }));
        }
        Self {
            inner,
            stop,
            path: path.to_owned(),
            _directory: None,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    pub(super) fn version(&self, version: Value) {
        *self.inner.version.lock() = version;
    }

    pub(super) fn add(&self, number: u32, name: &str) {
        let container = json!({
            "Id": id(number), "Name": format!("/{name}"), "Created": "2026-11-22T16:57:22.5Z",
            "State": {"Status": "running", "Running": true, "Pid": 1000 + number, "StartedAt": "2026-11-22T16:57:23Z"},
            "Image": "sha256:abc", "Driver": "overlay2",
            "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/upper"}},
            "Config": {"Image": "bb:1.0", "Labels": {"app": name}, "Env": ["A_B=1", "SECRET=2"]},
            "HostConfig": {"NetworkMode": "default", "Runtime": "runc"},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
        });
        self.inner.containers.lock().insert(id(number), container);
    }

    pub(super) fn change(&self, number: u32, change: impl FnOnce(&mut Value)) {
        change(self.inner.containers.lock().get_mut(&id(number)).unwrap());
    }

    pub(super) fn remove(&self, number: u32) {
        self.inner.containers.lock().remove(&id(number));
    }

    pub(super) fn hang(&self, number: u32) {
        self.inner.hanging.lock().insert(id(number));
    }

    pub(super) fn slow(&self, delay: Duration) {
        *self.inner.delay.lock() = delay;
    }

    pub(super) fn event(&self, action: &str, number: u32, attributes: Value) {
        self.raw_event(&json!({
            "Type": "container", "Action": action,
            "Actor": {"ID": id(number), "Attributes": attributes},
            "timeNano": 1_795_366_643_258_439_953_i64,
        }));
    }

    pub(super) fn raw_event(&self, event: &Value) {
        self.raw(format!("{event}\n").into_bytes());
    }

    pub(super) fn raw(&self, bytes: Vec<u8>) {
        self.inner.events.send(bytes).unwrap();
    }

    pub(super) fn get_sick(&self, sick: Option<Sick>) {
        *self.inner.sick.lock() = sick;
    }

    /// As a restart does.
    pub(super) fn drop_connections(&self) {
        std::mem::take(&mut *self.inner.connections.lock()).cancel();
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.inner.open.load(Ordering::SeqCst)
    }

    pub(super) async fn until_open(&self, number: usize) {
        let end = tokio::time::Instant::now() + super::SOON;
        while self.open() != number {
            assert!(tokio::time::Instant::now() < end, "{} open", self.open());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Bytes of the largest list that were taken from here.
    pub(super) fn sent(&self) -> usize {
        self.inner.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.cancel();
        self.drop_connections();
    }
}

impl Inner {
    async fn serve(&self, stream: UnixStream) -> Option<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        loop {
            let request = lines.next_line().await.ok()??;
            while !lines.next_line().await.ok()??.is_empty() {}
            let target = request.split(' ').nth(1)?.to_owned();
            let path = target.split('?').next()?;
            let sick = *self.sick.lock();
            match sick {
                Some(Sick::Silent) => self.never(&mut lines).await?,
                Some(Sick::HangsAt(end)) if path.ends_with(end) => self.never(&mut lines).await?,
                Some(Sick::Says(text)) => {
                    let _ = write.write_all(text).await;
                    return None;
                }
                Some(Sick::Lists(text)) if path.ends_with("/containers/json") => {
                    write.write_all(&answer("200 OK", text)).await.ok()?;
                    continue;
                }
                Some(Sick::Announces(size)) if path.ends_with("/containers/json") => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n[");
                    write.write_all(head.as_bytes()).await.ok()?;
                    self.never(&mut lines).await?;
                }
                Some(Sick::Sends(size)) if path.ends_with("/containers/json") => {
                    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                    write.write_all(head).await.ok()?;
                    self.sent.store(0, Ordering::SeqCst);
                    let part = vec![b' '; 1 << 16];
                    while self.sent.load(Ordering::SeqCst) < size {
                        write.write_all(b"10000\r\n").await.ok()?;
                        write.write_all(&part).await.ok()?;
                        write.write_all(b"\r\n").await.ok()?;
                        self.sent.fetch_add(part.len(), Ordering::SeqCst);
                    }
                }
                _ => {}
            }
            if path.ends_with("/events") {
                let mut events = self.events.subscribe();
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                write.write_all(head).await.ok()?;
                loop {
                    // The other side says nothing more, but it may go.
                    let event = tokio::select! {
                        event = events.recv() => event.ok()?,
                        _ = lines.next_line() => return None,
                    };
                    let chunk = format!("{:x}\r\n", event.len());
                    write.write_all(chunk.as_bytes()).await.ok()?;
                    write.write_all(&event).await.ok()?;
                    write.write_all(b"\r\n").await.ok()?;
                }
            }
            let delay = *self.delay.lock();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let parts: Vec<&str> = path.split('/').collect();
            if self
                .hanging
                .lock()
                .iter()
                .any(|id| parts.contains(&id.as_str()))
            {
                self.never(&mut lines).await?;
            }
            write.write_all(&self.answer(path)).await.ok()?;
        }
    }

    /// Waits until the other side has gone.
    async fn never<R: AsyncBufReadExt + Unpin>(
        &self,
        lines: &mut tokio::io::Lines<R>,
    ) -> Option<()> {
        while lines.next_line().await.ok()?.is_some() {}
        None
    }

    fn answer(&self, path: &str) -> Vec<u8> {
        let containers = self.containers.lock();
        let found = if path == "/version" {
            Some(self.version.lock().clone())
        } else if path == "/_ping" {
            Some(json!("OK"))
        } else if path.ends_with("/containers/json") {
            let items = containers.values().map(|one| {
                json!({
                    "Id": one["Id"], "Names": [one["Name"]], "Image": "bb:1.0", "ImageID": "sha256:abc",
                    "Labels": {}, "State": "running", "Created": 1_795_366_643,
                })
            });
            Some(items.collect())
        } else if path.contains("/pods/") {
            Some(json!({"Name": "mypod"}))
        } else {
            let id = path.split('/').rev().nth(1).unwrap_or_default();
            containers.get(id).cloned()
        };
        match found {
            Some(found) => answer("200 OK", found.to_string().as_bytes()),
            None => answer("404 Not Found", br#"{"message":"No such container"}"#),
        }
    }
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}
