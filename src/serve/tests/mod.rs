//! The server against real sockets and raw clients. Every wait is for a state, and bounded.
#![allow(clippy::unwrap_used, clippy::panic)]

mod limits;
mod stop;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use warp::{Filter, Reply};

use super::body::{self, CutOff};
use super::listen::{ListenAddr, Peer};
use super::server::{Limits, Server, serve};
use crate::self_metrics::SelfMetrics;

const PATIENCE: Duration = Duration::from_secs(30);
const BIG: usize = 16 << 20;

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// What the handlers of the test service saw.
#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    writers_told: AtomicUsize,
    endless_chunks: AtomicUsize,
}

struct Fixture {
    server: Server,
    addr: ListenAddr,
    metrics: Arc<SelfMetrics>,
    seen: Arc<Seen>,
    release: Arc<Semaphore>,
}

impl Fixture {
    async fn start(limits: Limits) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), limits).await
    }

    async fn at(addr: ListenAddr, limits: Limits) -> Self {
        let listener = addr.bind().await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (metrics, seen) = (Arc::<SelfMetrics>::default(), Arc::<Seen>::default());
        let release = Arc::new(Semaphore::new(0));
        let service = warp::service(routes(seen.clone(), release.clone()));
        let server = serve(
            vec![listener],
            service,
            limits,
            CancellationToken::new(),
            metrics.clone(),
        );
        Self {
            server,
            addr,
            metrics,
            seen,
            release,
        }
    }

    async fn connect(&self) -> TcpStream {
        let ListenAddr::Tcp(addr) = self.addr else {
            panic!("not TCP")
        };
        TcpStream::connect(addr).await.unwrap()
    }

    /// A client whose kernel takes little for it, so that 200 of them need little memory.
    async fn connect_small(&self) -> TcpStream {
        let ListenAddr::Tcp(addr) = self.addr else {
            panic!("not TCP")
        };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(addr).await.unwrap()
    }

    fn open(&self) -> u64 {
        self.metrics.http.connections_open.get()
    }

    /// Ends the server; everything is expected to be over by itself.
    async fn finish(self) {
        assert_eq!(within("drain", self.server.drain(PATIENCE)).await, 0);
        assert_eq!(self.metrics.http.connections_open.get(), 0);
    }
}

fn routes(
    seen: Arc<Seen>,
    release: Arc<Semaphore>,
) -> impl Filter<Extract = (impl Reply,), Error = std::convert::Infallible> + Clone + Send + Sync {
    let big = Bytes::from(vec![b'x'; BIG]);
    let count = {
        let seen = seen.clone();
        warp::any()
            .map(move || {
                seen.calls.fetch_add(1, SeqCst);
            })
            .untuple_one()
    };
    let hello = warp::path!("hello").map(|| Response::new("hello").into_response());
    let peer = warp::path!("peer")
        .and(warp::ext::get::<Peer>())
        .map(|peer: Peer| format!("{peer:?}").into_response());
    let echo = warp::path!("echo")
        .and(warp::body::stream())
        .then(|stream| async {
            match body::read(stream, body::REQUEST_BODY_MAX, body::REQUEST_BODY_DEADLINE).await {
                Ok(bytes) => Response::new(bytes).into_response(),
                Err(e) => warp::reply::with_status(e.to_string(), e.status()).into_response(),
            }
        });
    let panics = warp::path!("panic").map(|| -> warp::reply::Response { panic!("as asked") });
    let big = warp::path!("big").map(move || Response::new(big.clone()).into_response());
    let dies = release.clone();
    let stuck = warp::path!("stuck").then(move || {
        let release = release.clone();
        async move {
            release.acquire().await.unwrap().forget();
            "released".into_response()
        }
    });
    let half = warp::path!("half").map(move || {
        let ((mut tx, body), release) = (body::stream(2), dies.clone());
        tokio::spawn(async move {
            tx.send("half of it").await.unwrap();
            release.acquire().await.unwrap().forget();
        });
        warp::reply::stream(body).into_response()
    });
    // One line, then silence, or lines without end.
    let events = warp::path!("events" / String).map(move |kind: String| {
        let (tx, body) = body::stream(1);
        let (mut tx, seen) = (tx.with_deadline(None), seen.clone());
        tokio::spawn(async move {
            let line = if kind == "flood" {
                Bytes::from(vec![b'e'; 65536])
            } else {
                "tick\n".into()
            };
            while tx.send(line.clone()).await.is_ok() {
                seen.endless_chunks.fetch_add(1, SeqCst);
                if kind != "flood" {
                    tx.gone().await;
                }
            }
            seen.writers_told.fetch_add(1, SeqCst);
        });
        body::endless(warp::reply::stream(body).into_response())
    });
    // Path filters that panic on a request without a path, if one ever came through.
    let tail = warp::path::full()
        .and(warp::path::tail())
        .map(|_, _| StatusCode::NOT_FOUND.into_response());
    count.and(
        hello
            .or(peer)
            .unify()
            .or(echo)
            .unify()
            .or(panics)
            .unify()
            .or(big)
            .unify()
            .or(stuck)
            .unify()
            .or(half)
            .unify()
            .or(events)
            .unify()
            .or(tail)
            .unify(),
    )
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

async fn send(io: &mut (impl AsyncWrite + Unpin), request: &str) {
    within("send", io.write_all(request.as_bytes()))
        .await
        .unwrap();
}

/// Reads up to and including `end`.
async fn read_until(io: &mut (impl AsyncRead + Unpin), end: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    within("read", async {
        while !got.ends_with(end) {
            got.push(
                io.read_u8()
                    .await
                    .unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&got))),
            );
        }
    })
    .await;
    got
}

/// Reads an answer that has a content-length.
async fn answer(io: &mut (impl AsyncRead + Unpin), method: Method) -> Answer {
    let head = String::from_utf8(read_until(io, b"\r\n\r\n").await)
        .unwrap()
        .to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; if method == Method::HEAD { 0 } else { length }];
    within("body", io.read_exact(&mut body)).await.unwrap();
    Answer { status, head, body }
}

async fn ask(io: &mut (impl AsyncRead + AsyncWrite + Unpin), method: Method, path: &str) -> Answer {
    send(io, &format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    answer(io, method).await
}

/// Waits for the server to close; returns what it said before.
async fn closed(io: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is as good as an end.
    let _ = within("close", io.read_to_end(&mut rest)).await;
    rest
}

#[tokio::test]
async fn keep_alive_peer_head_and_panic_on_one_connection() {
    let f = Fixture::start(Limits::default()).await;
    let mut c = f.connect().await;
    let me = c.local_addr().unwrap();
    assert_eq!(ask(&mut c, Method::GET, "/hello").await.body, b"hello");
    assert_eq!(
        ask(&mut c, Method::GET, "/peer").await.body,
        format!("Tcp({me})").as_bytes()
    );
    let head = ask(&mut c, Method::HEAD, "/hello").await;
    assert_eq!(head.status, 200);
    assert!(head.head.contains("content-length: 5\r\n"), "{}", head.head);
    let panicked = ask(&mut c, Method::GET, "/panic").await;
    assert_eq!((panicked.status, f.metrics.http.panics.get()), (500, 1));
    assert_eq!(ask(&mut c, Method::GET, "/nowhere").await.status, 404);
    assert_eq!(ask(&mut c, Method::GET, "/hello").await.body, b"hello");
    assert_eq!(
        (
            f.metrics.http.connections_accepted.get(),
            f.metrics.http.requests.get()
        ),
        (1, 6)
    );
    f.finish().await; // with the connection still open, idle
    assert_eq!(closed(&mut c).await, b"");
}

#[tokio::test]
async fn http2_without_tls() {
    let f = Fixture::start(Limits::default()).await;
    let (mut client, conn) = hyper::client::conn::http2::handshake(
        TokioExecutor::new(),
        TokioIo::new(f.connect().await),
    )
    .await
    .unwrap();
    let driver = tokio::spawn(conn);
    let request = |method: Method, path: &str| {
        http::Request::builder()
            .method(method)
            .uri(format!("http://x{path}"))
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    for (path, want) in [("/hello", 200), ("/panic", 500), ("/hello", 200)] {
        let response = within(path, client.send_request(request(Method::GET, path)))
            .await
            .unwrap();
        assert_eq!(
            (response.version(), response.status().as_u16()),
            (http::Version::HTTP_2, want)
        );
        let body = within(path, response.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        assert!(want != 200 || body == "hello");
    }
    let head = within("HEAD", client.send_request(request(Method::HEAD, "/hello")))
        .await
        .unwrap();
    assert_eq!(head.headers()["content-length"], "5");
    assert!(
        within("HEAD", head.into_body().collect())
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
    let calls = f.seen.calls.load(SeqCst);
    let connect = http::Request::connect("x:1")
        .body(Empty::<Bytes>::new())
        .unwrap();
    assert_eq!(
        within("CONNECT", client.send_request(connect))
            .await
            .unwrap()
            .status(),
        405
    );
    let big = within("big", client.send_request(request(Method::GET, "/big")))
        .await
        .unwrap();
    assert_eq!(
        within("big", big.into_body().collect())
            .await
            .unwrap()
            .to_bytes()
            .len(),
        BIG
    );
    assert_eq!(f.seen.calls.load(SeqCst), calls + 1);
    f.finish().await;
    within("goaway", driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_writer_learns_that_its_client_vanished() {
    let f = Fixture::start(Limits::default()).await;
    for kind in ["tick", "flood"] {
        let told = f.seen.writers_told.load(SeqCst);
        let mut c = f.connect().await;
        send(
            &mut c,
            &format!("GET /events/{kind} HTTP/1.1\r\nhost: x\r\n\r\n"),
        )
        .await;
        read_until(&mut c, b"\r\n\r\n").await;
        drop(c);
        until("told", || f.seen.writers_told.load(SeqCst) == told + 1).await;
    }
    f.finish().await;
}

#[tokio::test]
async fn an_answer_whose_writer_died_does_not_look_whole() {
    let f = Fixture::start(Limits::default()).await;
    let mut c = f.connect().await;
    send(&mut c, "GET /half HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut c, b"half of it").await;
    f.release.add_permits(1);
    let rest = closed(&mut c).await;
    assert_eq!(
        String::from_utf8_lossy(&rest),
        "\r\n",
        "no last chunk: {CutOff}"
    );
    f.finish().await;
}

#[tokio::test]
async fn unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cgauge.sock");
    let f = Fixture::at(ListenAddr::Unix(path.clone()), Limits::default()).await;
    let mut c = UnixStream::connect(&path).await.unwrap();
    assert_eq!(ask(&mut c, Method::GET, "/hello").await.body, b"hello");
    let me = Peer::Unix {
        uid: Some(nix::unistd::getuid().as_raw()),
        pid: Some(std::process::id() as i32),
    };
    assert_eq!(
        ask(&mut c, Method::GET, "/peer").await.body,
        format!("{me:?}").as_bytes()
    );
    f.finish().await;
    assert!(!path.exists());
}
