//! The client behind `cgauge events`: asks a running cgauge over TCP or its unix socket.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use cgauge::config::{Config, EventsArgs};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::event_line;
use super::request::{Address, request_path, server};

/// How long a server may take to accept, and then to begin its answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest list of past events that is taken.
pub(super) const MAX_LIST_BYTES: usize = 256 * 1024 * 1024;
/// The longest single event that is taken while streaming.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// As much of an error answer as is shown.
const MAX_ERROR_BYTES: usize = 4096;

/// Prints the events that were asked for; ends quietly at Ctrl-C and when the reader of `out` is gone.
pub async fn run(
    args: &EventsArgs,
    config: &Config,
    out: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    tokio::select! {
        result = ask(args, config, out) => match result {
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

async fn ask(
    args: &EventsArgs,
    config: &Config,
    out: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    let server = server(args, config)?;
    let path = format!("{}{}", server.prefix, request_path(args));
    let shown = &server.address;
    let response = tokio::time::timeout(ANSWER_TIMEOUT, get(shown, &path))
        .await
        .with_context(|| {
            format!(
                "no answer from {shown} within {} s",
                ANSWER_TIMEOUT.as_secs()
            )
        })??;
    let response = succeeded(response, shown, &path).await?;
    if args.follow {
        follow(response.into_body(), args.json, shown, out).await
    } else {
        list(response.into_body(), args.json, shown, out).await
    }
}

/// The answer, unless it says that something is wrong.
pub(super) async fn succeeded(
    response: hyper::Response<Incoming>,
    shown: &Address,
    path: &str,
) -> anyhow::Result<hyper::Response<Incoming>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = Limited::new(response.into_body(), MAX_ERROR_BYTES)
        .collect()
        .await;
    let text = body
        .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())
        .unwrap_or_default();
    bail!(
        "{shown} answers {status} to {path}: {}",
        event_line::printable(text.trim())
    );
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

async fn list(
    body: Incoming,
    json: bool,
    shown: &Address,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let body = Limited::new(body, MAX_LIST_BYTES).collect().await;
    let body = body
        .map_err(|error| anyhow::anyhow!("{shown} broke off its answer: {error}"))?
        .to_bytes();
    let events: Vec<serde_json::Value> = serde_json::from_slice(&body)
        .with_context(|| format!("{shown} does not answer with a list of events"))?;
    for event in events {
        print(&serde_json::to_vec(&event)?, json, out)?;
    }
    Ok(out.flush()?)
}

async fn follow(
    mut body: Incoming,
    json: bool,
    shown: &Address,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut pending = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.with_context(|| format!("{shown} broke off the stream"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.split_to(end);
            pending.advance(1);
            if !line.iter().all(u8::is_ascii_whitespace) {
                print(&line, json, out)?;
            }
        }
        if pending.len() > MAX_EVENT_BYTES {
            bail!("{shown} sends an event of more than {MAX_EVENT_BYTES} bytes");
        }
        out.flush()?;
    }
    bail!("{shown} ended the stream: it is stopping, or this reader was too slow")
}

fn print(event: &[u8], json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        out.write_all(event.trim_ascii())?;
        out.write_all(b"\n")?;
    } else {
        let event: event_line::Event =
            serde_json::from_slice(event).context("the server sent something that is no event")?;
        writeln!(out, "{event}")?;
    }
    Ok(())
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

    async fn output(
        answer: &'static str,
        follow: bool,
        json: bool,
    ) -> (String, String, anyhow::Result<()>) {
        let (address, served) = serve_once(answer).await;
        let args = EventsArgs {
            server: Some(address.to_string()),
            follow,
            json,
            ..args()
        };
        let mut out = Vec::new();
        let result = run(&args, &Config::default(), &mut out).await;
        (
            served.await.unwrap(),
            String::from_utf8(out).unwrap(),
            result,
        )
    }

    #[tokio::test]
    async fn past_events_are_listed() {
        const ANSWER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
            [{\"container_name\":\"/a\",\"timestamp\":\"T1\",\"event_type\":\"oom\",\"event_data\":{}},\
            {\"container_name\":\"/b\",\"timestamp\":\"T2\",\"event_type\":\"containerCreation\",\"event_data\":{}}]";
        let (request, text, result) = output(ANSWER, false, false).await;
        result.unwrap();
        assert!(
            request.starts_with("GET /api/v1.3/events/?all_events=true"),
            "{request}"
        );
        assert_eq!(
            text,
            "T1  oom                /a\nT2  containerCreation  /b\n"
        );
        let (_, text, _) = output(ANSWER, false, true).await;
        assert!(
            text.starts_with("{\"container_name\":\"/a\"") && text.lines().count() == 2,
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_stream_is_printed_event_by_event_across_chunks() {
        const ANSWER: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
            14\r\n{\"container_name\":\"/\r\n3\r\na\"}\r\n1\r\n\n\r\n0\r\n\r\n";
        let (request, text, result) = output(ANSWER, true, true).await;
        assert!(
            request.contains("stream=true") && !request.contains("max_events"),
            "{request}"
        );
        assert_eq!(text, "{\"container_name\":\"/a\"}\n");
        assert!(result.unwrap_err().to_string().contains("ended the stream"));
    }

    #[tokio::test]
    async fn failures_are_one_clear_line() {
        let (_, _, result) = output(
            "HTTP/1.1 500 Oops\r\nconnection: close\r\n\r\nunknown container\n",
            false,
            false,
        )
        .await;
        let text = result.unwrap_err().to_string();
        assert!(
            text.contains("answers 500") && text.ends_with(": unknown container"),
            "{text}"
        );
        let (_, _, result) = output(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
            false,
            false,
        )
        .await;
        assert!(
            result
                .unwrap_err()
                .to_string()
                .ends_with("does not answer with a list of events")
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
        let error = run(&args, &Config::default(), &mut Vec::new())
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
            serve_once("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[{}]").await;
        let args = EventsArgs {
            server: Some(address.to_string()),
            json: true,
            ..args()
        };
        run(&args, &Config::default(), &mut Gone).await.unwrap();
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
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
                .await
                .unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        let args = EventsArgs {
            server: Some(format!("unix:{}", path.display())),
            ..args()
        };
        run(&args, &Config::default(), &mut Vec::new())
            .await
            .unwrap();
        assert_eq!(served.await.unwrap(), "GET /api/v1.3/events/?all");
    }
}
