//! An HTTP/1.1 client of the smallest kind: one connection per request, `Content-Length`, chunked
//! and until-close bodies, and line by line reading of streams that stay open.
//!
//! Written out here so that the tests see framing as it is on the wire: whether a stream ended with
//! the terminating chunk or was cut off is one of the things that they check.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::scaled;

/// The longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl Address {
    /// The address as `--listen` takes it.
    pub fn to_flag(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Tcp(address) => address.to_string(),
        }
    }
}

/// A connection of either kind.
pub enum Connection {
    /// See [`Address::Unix`].
    Unix(UnixStream),
    /// See [`Address::Tcp`].
    Tcp(TcpStream),
}

impl Connection {
    /// Reads longer than this fail with `WouldBlock` or `TimedOut`.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(timeout),
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.flush(),
            Self::Tcp(stream) => stream.flush(),
        }
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order of the wire.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; fails the test if it is not.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!(
                "status {}, not JSON ({error}): {}",
                self.status,
                self.text()
            ),
        }
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// Asks one server.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    /// The server's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A bare connection.
    pub fn connect(&self) -> io::Result<Connection> {
        Ok(match &self.address {
            Address::Unix(path) => Connection::Unix(UnixStream::connect(path)?),
            Address::Tcp(address) => Connection::Tcp(TcpStream::connect(address)?),
        })
    }

    /// `GET target`, whole.
    pub fn get(&self, target: &str) -> io::Result<Response> {
        self.send("GET", target, b"")?.whole()
    }

    /// `POST target` with a JSON body, whole.
    pub fn post(&self, target: &str, body: &serde_json::Value) -> io::Result<Response> {
        self.send("POST", target, body.to_string().as_bytes())?
            .whole()
    }

    /// `GET target`, to be read line by line as it comes.
    pub fn stream(&self, target: &str) -> io::Result<LineStream> {
        self.send("GET", target, b"")
    }

    /// Sends `GET target` and returns the connection with nothing read from it.
    pub fn request_and_ignore(&self, target: &str) -> io::Result<Connection> {
        let mut connection = self.connect()?;
        connection.write_all(head("GET", target, 0).as_bytes())?;
        Ok(connection)
    }

    fn send(&self, method: &str, target: &str, body: &[u8]) -> io::Result<LineStream> {
        let mut connection = self.connect()?;
        connection.set_read_timeout(Some(scaled(ANSWER_WITHIN)))?;
        let mut request = head(method, target, body.len()).into_bytes();
        request.extend_from_slice(body);
        connection.write_all(&request)?;
        LineStream::open(connection)
    }
}

fn head(method: &str, target: &str, length: usize) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// What is left of the body, by its framing.
enum Framing {
    /// Bytes left of `Content-Length`.
    Length(u64),
    /// Bytes left of the current chunk; `0` before the next chunk's size line.
    Chunked(u64),
    /// Until the server closes.
    Close,
}

/// An answer whose head has been read and whose body is read as it comes.
pub struct LineStream {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    reader: BufReader<Connection>,
    framing: Framing,
    /// Body bytes of an unfinished line.
    pending: Vec<u8>,
    ended: bool,
}

impl LineStream {
    fn open(connection: Connection) -> io::Result<Self> {
        let mut reader = BufReader::new(connection);
        let status_line = head_line(&mut reader)?;
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| invalid(format!("status line {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = head_line(&mut reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| invalid(format!("header {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let framing = if header(&headers, "transfer-encoding")
            .is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
        {
            Framing::Chunked(0)
        } else if let Some(length) = header(&headers, "content-length") {
            Framing::Length(
                length
                    .parse()
                    .map_err(|_| invalid(format!("content-length {length:?}")))?,
            )
        } else {
            Framing::Close
        };
        Ok(Self {
            status,
            headers,
            reader,
            framing,
            pending: Vec::new(),
            ended: false,
        })
    }

    /// The next line without its newline; `None` once the body has ended as its framing says.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut` when no line came within `wait` (the stream can be read on),
    /// `UnexpectedEof` when the connection was cut within the body.
    pub fn next_line(&mut self, wait: Duration) -> io::Result<Option<String>> {
        let end = Instant::now() + wait;
        loop {
            if let Some(newline) = self.pending.iter().position(|b| *b == b'\n') {
                let rest = self.pending.split_off(newline + 1);
                let mut line = std::mem::replace(&mut self.pending, rest);
                line.pop();
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.ended {
                let line = std::mem::take(&mut self.pending);
                return Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.reader.get_ref().set_read_timeout(Some(left))?;
            self.fill()?;
        }
    }

    /// Reads the body to its end.
    fn whole(mut self) -> io::Result<Response> {
        while !self.ended {
            self.fill()?;
        }
        Ok(Response {
            status: self.status,
            headers: self.headers,
            body: self.pending,
        })
    }

    /// Reads some more body into `pending`, or notices its end.
    fn fill(&mut self) -> io::Result<()> {
        match self.framing {
            Framing::Length(0) => self.ended = true,
            Framing::Length(left) => {
                let taken = self.take(left)?;
                self.framing = Framing::Length(left - taken);
            }
            Framing::Chunked(0) => {
                let line = self.control_line()?;
                let digits = line.split(';').next().unwrap_or("").trim();
                let size = u64::from_str_radix(digits, 16)
                    .map_err(|_| invalid(format!("chunk size {line:?}")))?;
                if size == 0 {
                    while !self.control_line()?.is_empty() {}
                    self.ended = true;
                }
                self.framing = Framing::Chunked(size);
            }
            Framing::Chunked(left) => {
                let left = left - self.take(left)?;
                self.framing = Framing::Chunked(left);
                if left == 0 && !self.control_line()?.is_empty() {
                    return Err(invalid("chunk without its line end".into()));
                }
            }
            Framing::Close => {
                let available = self.reader.fill_buf()?;
                let taken = available.len();
                self.pending.extend_from_slice(available);
                self.reader.consume(taken);
                self.ended = taken == 0;
            }
        }
        Ok(())
    }

    /// Moves up to `limit` body bytes into `pending`.
    fn take(&mut self, limit: u64) -> io::Result<u64> {
        let available = self.reader.fill_buf()?;
        if available.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let taken = available
            .len()
            .min(usize::try_from(limit).unwrap_or(usize::MAX));
        self.pending.extend_from_slice(&available[..taken]);
        self.reader.consume(taken);
        Ok(taken as u64)
    }

    /// A line of the framing. Only consumed whole, so that a timeout within it loses nothing.
    fn control_line(&mut self) -> io::Result<String> {
        // A chunk's head and its first bytes are written together; the rare head that is split over
        // two reads is waited for in full.
        self.reader.fill_buf()?;
        self.reader
            .get_ref()
            .set_read_timeout(Some(scaled(ANSWER_WITHIN)))?;
        head_line(&mut self.reader)
    }
}

fn head_line(reader: &mut BufReader<Connection>) -> io::Result<String> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.ends_with(b"\r\n") {
        line.truncate(line.len() - 2);
    }
    String::from_utf8(line).map_err(|error| invalid(error.to_string()))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// `name` as a path of a request target: everything but the unreserved characters and `/` escaped.
pub fn encode_path(name: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
