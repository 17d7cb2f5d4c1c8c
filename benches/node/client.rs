//! As little of HTTP as asking cgauge takes: one request a connection, read to its end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No answer takes as long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a monitor answers.
pub enum Client {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl Client {
    pub fn unix(socket: &Path) -> Self {
        Self::Unix(socket.to_owned())
    }

    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
        })
    }

    /// The status and the body; `None` if there is nobody to answer.
    pub fn get(&self, path: &str) -> Option<(u16, Vec<u8>)> {
        self.ask(&format!("GET {path} HTTP/1.0\r\nHost: cgauge\r\n\r\n"))
    }

    /// The body of an answer to `body`.
    pub fn post(&self, path: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        let question = format!(
            "POST {path} HTTP/1.0\r\nHost: cgauge\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.ask(&question).unwrap().1
    }

    fn ask(&self, question: &str) -> Option<(u16, Vec<u8>)> {
        let mut stream = self.connect().ok()?;
        // 1.0: the body is as it is, and the connection is closed behind it.
        stream.write_all(question.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
        let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
        Some((status, answer.split_off(head + 4)))
    }

    /// Whether the container `name` is known.
    pub fn knows(&self, name: &str) -> bool {
        self.get(&format!("/api/v1.3/containers{name}"))
            .is_some_and(|(status, _)| status == 200)
    }

    /// The metrics as they are, without a poll.
    pub fn metrics(&self) -> String {
        let (status, body) = self.get("/metrics?max_age=24h").unwrap();
        assert_eq!(status, 200);
        String::from_utf8(body).unwrap()
    }
}

/// The value of the family without labels called `name`.
pub fn value(metrics: &str, name: &str) -> f64 {
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .find_map(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("/metrics has no {name}"))
}

/// Tries again and again, without a pause, until `done`. How long that took.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !done() {
        assert!(
            started.elapsed() < TIMEOUT,
            "{what}: not within {TIMEOUT:?}"
        );
    }
    started.elapsed()
}
