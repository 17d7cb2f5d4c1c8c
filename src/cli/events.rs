//! The client behind `cgauge events`: asks a running cgauge over TCP or its unix socket.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::{Buf, Bytes, BytesMut};
use cgauge::config::{Config, EventsArgs};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::event_line;
use super::request::{Address, Server, request_path, server};

/// How long a server may take to accept, and then to begin its answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest single event that is taken.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// A server that follows says where it is every 15 s; one that is silent for longer is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// How long to wait before asking again after a stream has ended, at first and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// As much of an error answer as is shown.
const MAX_ERROR_BYTES: usize = 4096;

/// Prints the events that were asked for; ends quietly at Ctrl-C and when the reader of `out` is gone.
/// A stream that ends is taken up again where it was; `notes` is told.
pub async fn run(
    args: &EventsArgs,
    config: &Config,
    out: &mut (impl Write + Send),
    notes: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    tokio::select! {
        result = ask(args, config, out, notes) => match result {
            Err(error) if is_broken_pipe(&error) => Ok(()),
            other => other,
        },
        signal = tokio::signal::ctrl_c() => signal.context("cannot wait for Ctrl-C"),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Why no more events come.
enum End {
    /// The server has no more of them, or is gone.
    Lost(anyhow::Error),
    /// Asking again would not help.
    Failed(anyhow::Error),
}

async fn ask(
    args: &EventsArgs,
    config: &Config,
    out: &mut (impl Write + Send),
    notes: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    let server = server(args, config)?;
    let mut printer = Printer {
        json: args.json,
        out,
        notes,
        position: None,
    };
    if !args.follow {
        return match once(args, &server, &mut printer).await {
            Ok(()) => Ok(()),
            Err(End::Lost(error) | End::Failed(error)) => Err(error),
        };
    }
    let (mut patience, most) = ASK_AGAIN;
    let mut told = false;
    loop {
        let before = printer.position.clone();
        let end = match once(args, &server, &mut printer).await {
            Ok(()) => anyhow!("{} ended the stream", server.address),
            Err(End::Failed(error)) => return Err(error),
            // Nothing has ever come from there.
            Err(End::Lost(error)) if printer.position.is_none() => return Err(error),
            Err(End::Lost(error)) => error,
        };
        if printer.position != before {
            (patience, told) = (ASK_AGAIN.0, false);
        }
        if !told {
            writeln!(printer.notes, "cgauge: {end:#}; asking again")?;
            told = true;
        }
        tokio::time::sleep(patience).await;
        patience = (patience * 2).min(most);
    }
}

/// Asks once, behind what was printed before, and prints what comes.
async fn once<O: Write, N: Write>(
    args: &EventsArgs,
    server: &Server,
    printer: &mut Printer<'_, O, N>,
) -> Result<(), End> {
    let shown = &server.address;
    let path = request_path(args, printer.position.as_deref());
    let path = format!("{}{path}", server.prefix);
    let response = tokio::time::timeout(ANSWER_TIMEOUT, get(shown, &path))
        .await
        .map_err(|_| {
            anyhow!(
                "no answer from {shown} within {} s",
                ANSWER_TIMEOUT.as_secs()
            )
        })
        .and_then(|answer| answer)
        .map_err(End::Lost)?;
    let status = response.status();
    if !status.is_success() {
        let error = refusal(response, shown, &path).await;
        // It is starting, or has too many connections.
        return Err(match status.is_server_error() {
            true => End::Lost(error),
            false => End::Failed(error),
        });
    }
    print_all(response.into_body(), shown, printer).await
}

/// What an answer says is wrong.
pub(super) async fn refusal(
    response: hyper::Response<Incoming>,
    shown: &Address,
    path: &str,
) -> anyhow::Error {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ERROR_BYTES)
        .collect()
        .await;
    let text = body
        .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())
        .unwrap_or_default();
    let text = event_line::printable(text.trim());
    anyhow!("{shown} answers {status} to {path}: {text}")
}

/// Asks a server for a path.
pub(super) async fn get(server: &Address, path: &str) -> anyhow::Result<hyper::Response<Incoming>> {
    let advice = || {
        format!(
            "no cgauge answers on {server}; start one with `cgauge run`, or say where it listens with --server"
        )
    };
    match server {
        Address::Tcp(address) => {
            request(
                TcpStream::connect(address).await.with_context(advice)?,
                address,
                path,
            )
            .await
        }
        Address::Unix(socket) => {
            request(
                UnixStream::connect(socket).await.with_context(advice)?,
                "localhost",
                path,
            )
            .await
        }
    }
}

async fn request<S>(stream: S, host: &str, path: &str) -> anyhow::Result<hyper::Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The connection carries the body; when it fails, reading the body says so.
    tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, host)
        .body(Empty::<Bytes>::new())
        .with_context(|| format!("cannot ask for {path}"))?;
    sender
        .send_request(request)
        .await
        .with_context(|| format!("{host} does not answer as an HTTP server"))
}

/// Prints an answer line by line, as it comes.
async fn print_all<O: Write, N: Write>(
    mut body: Incoming,
    shown: &Address,
    printer: &mut Printer<'_, O, N>,
) -> Result<(), End> {
    let mut pending = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(End::Lost(anyhow!("{shown} broke off its answer: {error}")));
            }
            Err(_) => return Err(End::Lost(anyhow!("{shown} has fallen silent"))),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.split_to(end);
            pending.advance(1);
            if !line.iter().all(u8::is_ascii_whitespace) {
                printer.print(&line).map_err(End::Failed)?;
            }
        }
        if pending.len() > MAX_EVENT_BYTES {
            let error = anyhow!("{shown} sends an event of more than {MAX_EVENT_BYTES} bytes");
            return Err(End::Failed(error));
        }
        printer
            .out
            .flush()
            .map_err(|error| End::Failed(error.into()))?;
    }
}

/// Prints lines, and remembers where they end.
struct Printer<'a, O, N> {
    json: bool,
    out: &'a mut O,
    notes: &'a mut N,
    position: Option<String>,
}

impl<O: Write, N: Write> Printer<'_, O, N> {
    fn print(&mut self, text: &[u8]) -> anyhow::Result<()> {
        const NO_EVENT: &str = "the server sent something that is no event";
        let line: event_line::Line = serde_json::from_slice(text).context(NO_EVENT)?;
        let is_event = line.id.is_some();
        if self.json && (is_event || line.missed.is_some()) {
            self.out.write_all(text.trim_ascii())?;
            self.out.write_all(b"\n")?;
        } else if is_event {
            let event: event_line::Event = serde_json::from_slice(text).context(NO_EVENT)?;
            writeln!(self.out, "{event}")?;
        } else if let Some(missed) = &line.missed {
            self.out.flush()?;
            writeln!(self.notes, "cgauge: {missed}")?;
        }
        // Only now: what was not printed has not been read.
        self.position = line.position.or(self.position.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::request::tests::args;
    use super::*;

    /// A server that answers one request with these bytes and gives back what it was asked.
    async fn serve_once(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, served)
    }

    async fn output(answer: &'static str, json: bool) -> (String, String, anyhow::Result<()>) {
        let (address, served) = serve_once(answer).await;
        let args = EventsArgs {
            server: Some(address.to_string()),
            json,
            ..args()
        };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let result = run(&args, &Config::default(), &mut out, &mut notes).await;
        out.extend(notes);
        (
            served.await.unwrap(),
            String::from_utf8(out).unwrap(),
            result,
        )
    }

    #[tokio::test]
    async fn past_events_are_listed() {
        const ANSWER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
            {\"id\":1,\"position\":\"x-1\",\"container_name\":\"/a\",\"timestamp\":\"T1\",\"event_type\":\"oom\",\"event_data\":{}}\n\
            {\"missed\":{\"reason\":\"forgotten\",\"at_most\":2}}\n\
            {\"id\":4,\"position\":\"x-4\",\"container_name\":\"/b\",\"timestamp\":\"T2\",\"event_type\":\"containerCreation\",\"event_data\":{}}\n\
            {\"position\":\"x-5\"}\n";
        let (request, text, result) = output(ANSWER, false).await;
        result.unwrap();
        assert!(
            request.starts_with("GET /api/cgauge/v1/events?max=100 "),
            "{request}"
        );
        assert_eq!(
            text,
            "T1  oom                /a\nT2  containerCreation  /b\n\
             cgauge: 2 events or fewer are missing here: they are not remembered any more\n"
        );
        let (_, text, _) = output(ANSWER, true).await;
        assert!(
            text.starts_with("{\"id\":1,") && text.lines().count() == 3,
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_stream_is_taken_up_where_it_broke_off() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            // Cut in the middle of a line; refused for a while; ended in order; broken off.
            for body in [
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n19\r\n{\"position\":\"x-7\"}\n{\"id\"\r\n",
                "HTTP/1.1 503 Busy\r\nconnection: close\r\n\r\n",
                "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"id\":8,\"position\":\"x-8\",\"container_name\":\"/a\"}\n",
                "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"id\":9,\"position\":\"x-9\",\"container_name\":\"/b\"}\n",
                "HTTP/1.1 404 No\r\nconnection: close\r\n\r\nnot here any more\n",
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let line = String::from_utf8(request).unwrap();
                told.send(line.lines().next().unwrap_or_default().to_owned())
                    .unwrap();
                stream.write_all(body.as_bytes()).await.unwrap();
            }
        });
        let args = EventsArgs {
            server: Some(address.to_string()),
            follow: true,
            json: true,
            ..args()
        };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let error = run(&args, &Config::default(), &mut out, &mut notes)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("not here any more"), "{error}");
        server.await.unwrap();
        let mut requests = Vec::new();
        while let Some(line) = asked.recv().await {
            requests.push(line.replace("GET /api/cgauge/v1/events?follow=true", ""));
        }
        assert_eq!(
            requests,
            [
                " HTTP/1.1",
                "&after=x-7 HTTP/1.1",
                "&after=x-7 HTTP/1.1",
                "&after=x-8 HTTP/1.1",
                "&after=x-9 HTTP/1.1",
            ]
        );
        let text = String::from_utf8(out).unwrap();
        let ids: Vec<_> = text.lines().filter_map(|line| line.get(..7)).collect();
        assert_eq!(ids, ["{\"id\":8", "{\"id\":9"]);
        let notes = String::from_utf8(notes).unwrap();
        assert_eq!(notes.matches("asking again").count(), 3, "{notes}");
    }

    #[tokio::test]
    async fn failures_are_one_clear_line() {
        let (_, _, result) = output(
            "HTTP/1.1 500 Oops\r\nconnection: close\r\n\r\nunknown container\n",
            false,
        )
        .await;
        let text = result.unwrap_err().to_string();
        assert!(
            text.contains("answers 500") && text.ends_with(": unknown container"),
            "{text}"
        );
        let (_, _, result) =
            output("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello\n", false).await;
        assert!(
            result
                .unwrap_err()
                .to_string()
                .contains("something that is no event")
        );
        // A port that was just closed: nothing listens there.
        let port = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let args = EventsArgs {
            server: Some(port.to_string()),
            ..args()
        };
        let error = run(&args, &Config::default(), &mut Vec::new(), &mut Vec::new())
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("start one with `cgauge run`"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_reader_that_went_away_is_no_failure() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (address, _served) =
            serve_once("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"id\":1}\n").await;
        let args = EventsArgs {
            server: Some(address.to_string()),
            json: true,
            ..args()
        };
        run(&args, &Config::default(), &mut Gone, &mut Vec::new())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_unix_socket_is_asked_the_same_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 25];
            stream.read_exact(&mut request).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        let args = EventsArgs {
            server: Some(format!("unix:{}", path.display())),
            ..args()
        };
        run(&args, &Config::default(), &mut Vec::new(), &mut Vec::new())
            .await
            .unwrap();
        assert_eq!(served.await.unwrap(), "GET /api/cgauge/v1/events");
    }
}
