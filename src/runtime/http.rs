//! A client for the HTTP of runtimes: one kept connection for questions, another for a stream.
//!
//! An answer is taken up to a limit and not beyond, and waited for up to a time: whatever is at the
//! other end, it costs no more than that.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use super::endpoint::Stream;
use super::{Endpoint, LinkError, LinkStatus};

/// The most that is read of an error message.
const MAX_MESSAGE: usize = 4 * 1024;

/// The most that is held of an answer before it is asked for: more than any header.
const READ_BUFFER: usize = 64 * 1024;

/// The longest line of a stream.
const MAX_LINE: usize = 1024 * 1024;

/// Asks a runtime.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    timeout: Duration,
    kept: Option<Connection>,
}

/// A connection, which ends when it is dropped.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// An answer without an end, by lines.
#[derive(Debug)]
pub(super) struct Lines {
    endpoint: String,
    question: String,
    body: Incoming,
    buffer: Vec<u8>,
    /// Up to where the buffer has been searched for the end of a line.
    searched: usize,
    _connection: Connection,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self {
            endpoint,
            timeout,
            kept: None,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks, and reads an answer of at most `limit` bytes.
    pub(super) async fn get(
        &mut self,
        question: &str,
        limit: usize,
        status: &LinkStatus,
    ) -> Result<Answer, LinkError> {
        status.asked();
        // Taken out: a connection that was given up in the middle of an answer is not used again.
        let kept = self.kept.take().filter(|kept| !kept.sender.is_closed());
        let ask = async {
            let was_kept = kept.is_some();
            let connection = match kept {
                Some(kept) => kept,
                None => self.connect().await?,
            };
            match self.answer(connection, question, limit).await {
                // The runtime had closed the kept connection in the meantime: that is its right.
                Err(LinkError::Closed { .. }) if was_kept => {
                    let connection = self.connect().await?;
                    self.answer(connection, question, limit).await
                }
                other => other,
            }
        };
        let (answer, connection) = self.in_time(question, ask).await?;
        self.kept = Some(connection);
        Ok(answer)
    }

    /// Opens a stream of lines, on a connection of its own.
    pub(super) async fn stream(
        &self,
        question: &str,
        status: &LinkStatus,
    ) -> Result<Lines, LinkError> {
        status.asked();
        let ask = async {
            let mut connection = self.connect().await?;
            let response = self.send(&mut connection, question).await?;
            let code = response.status();
            if !code.is_success() {
                let body = self.read(response, question, MAX_MESSAGE).await?;
                return Err(self.refused(question, code, &body));
            }
            Ok(Lines {
                endpoint: self.endpoint.to_string(),
                question: question.to_owned(),
                body: response.into_body(),
                buffer: Vec::new(),
                searched: 0,
                _connection: connection,
            })
        };
        self.in_time(question, ask).await
    }

    /// The error of an answer that is one.
    pub(super) fn refused(&self, question: &str, code: StatusCode, body: &[u8]) -> LinkError {
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        self.odd(question, format!("{code}: {}", text.trim()))
    }

    /// The error of an answer that makes no sense.
    pub(super) fn odd(&self, question: &str, what: String) -> LinkError {
        LinkError::Answer {
            endpoint: self.endpoint.to_string(),
            question: plain(question),
            what,
        }
    }

    async fn in_time<T>(
        &self,
        question: &str,
        ask: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        match tokio::time::timeout(self.timeout, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(LinkError::Timeout {
                endpoint: self.endpoint.to_string(),
                question: plain(question),
                seconds: self.timeout.as_secs(),
            }),
        }
    }

    async fn connect(&self) -> Result<Connection, LinkError> {
        let refused = |cause| LinkError::Connect {
            endpoint: self.endpoint.to_string(),
            cause,
        };
        let io: Box<dyn Stream> = self.endpoint.connect().await.map_err(refused)?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| self.broken("", &error))?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told the same.
            let _ = driver.await;
        });
        Ok(Connection {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    async fn send(
        &self,
        connection: &mut Connection,
        question: &str,
    ) -> Result<Response<Incoming>, LinkError> {
        let request = Request::get(question)
            .header(HOST, "localhost")
            .header(ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| self.odd(question, error.to_string()))?;
        let failed = |error| self.broken(question, &error);
        connection.sender.ready().await.map_err(failed)?;
        connection
            .sender
            .send_request(request)
            .await
            .map_err(failed)
    }

    async fn answer(
        &self,
        mut connection: Connection,
        question: &str,
        limit: usize,
    ) -> Result<(Answer, Connection), LinkError> {
        let response = self.send(&mut connection, question).await?;
        let status = response.status();
        let body = self.read(response, question, limit).await?;
        Ok((Answer { status, body }, connection))
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        question: &str,
        limit: usize,
    ) -> Result<Vec<u8>, LinkError> {
        let mut body = response.into_body();
        let too_much = || self.odd(question, format!("more than {limit} bytes"));
        let announced = body.size_hint().lower();
        if usize::try_from(announced).map_or(true, |announced| announced > limit) {
            return Err(too_much());
        }
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(question, &error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if read.len() + data.len() > limit {
                return Err(too_much());
            }
            read.extend_from_slice(&data);
        }
        Ok(read)
    }

    fn broken(&self, question: &str, error: &hyper::Error) -> LinkError {
        broken(&self.endpoint.to_string(), question, error)
    }
}

impl Lines {
    /// The next line, without its end. Loses nothing when it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, LinkError> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
                let end = self.searched + at;
                let after = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, after);
                line.truncate(end);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                return Err(LinkError::Answer {
                    endpoint: self.endpoint.clone(),
                    question: plain(&self.question),
                    what: format!("a line of more than {MAX_LINE} bytes"),
                });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(broken(&self.endpoint, &self.question, &error)),
                None => {
                    return Err(LinkError::Closed {
                        endpoint: self.endpoint.clone(),
                    });
                }
            }
        }
    }
}

/// A question without its parameters: for messages, which are to be the same each time.
fn plain(question: &str) -> String {
    question.split('?').next().unwrap_or(question).to_owned()
}

/// What a failure of the protocol means.
fn broken(endpoint: &str, question: &str, error: &hyper::Error) -> LinkError {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let garbage = error.is_parse()
        || error.is_parse_too_large()
        || cause.is_some_and(|cause| {
            matches!(
                cause.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            )
        });
    let endpoint = endpoint.to_owned();
    if garbage {
        LinkError::Answer {
            endpoint,
            question: plain(question),
            what: error.to_string(),
        }
    } else {
        LinkError::Closed { endpoint }
    }
}
