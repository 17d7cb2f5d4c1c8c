//! Answers about many containers, sent while they are made, one container at a time.
//!
//! The text is made on a thread of its own, so that another one can send at the same time. It makes no more
//! than there is room for: a client that reads slowly holds no thread, no lock and nothing of the
//! history, only text, [`CHUNK`] or that of one container at a time, [`CHUNKS_WAITING`] plus one.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Semaphore;
use warp::reply::Response;

use super::answer;
use super::packer::{self, Packer};
use crate::handler::Handler;
use crate::serve::body::{self, BodySender, BoxError};
use crate::serve::compress::{self, Encoding};
use crate::serve::json;
use crate::wire::shared::name::Name;

/// Bytes of a streamed answer that are sent at once: no fewer, but for the last.
const CHUNK: usize = 64 * 1024;

/// Chunks that wait for a slow client.
const CHUNKS_WAITING: usize = 2;

/// Answers of which text is made at the same moment, in the whole process. Another one's turn comes when one
/// of them has no more room, or is done.
static MAKERS: Semaphore = Semaphore::const_new(4);

/// How the containers stand in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One after the other.
    List,
    /// Each under its name.
    Map,
}

/// Appends one container to the text. False leaves it out.
pub(super) trait Write:
    Fn(&Handler, &mut Vec<u8>) -> Result<bool, serde_json::Error> + Send + Sync + 'static
{
}

impl<F> Write for F where
    F: Fn(&Handler, &mut Vec<u8>) -> Result<bool, serde_json::Error> + Send + Sync + 'static
{
}

/// An answer that tells of these containers, each as `write` does.
pub(super) fn containers(
    request: &HeaderMap,
    handlers: Vec<Arc<Handler>>,
    form: Form,
    write: impl Write,
) -> Response {
    let encoding = match compress::wanted(request) {
        // It would be made as a whole.
        Encoding::Zstd => Encoding::Identity,
        encoding => encoding,
    };
    let (sender, stream) = body::stream(CHUNKS_WAITING);
    let maker = Maker {
        handlers: handlers.into_iter(),
        form,
        write,
        state: State::Begin,
        text: Vec::with_capacity(CHUNK / 4),
        packer: Packer::new(encoding),
    };
    tokio::spawn(async move {
        if let Err(error) = send_all(maker, sender).await {
            tracing::debug!(%error, "the containers were not sent to the last");
        }
    });
    packer::response(stream, encoding, answer::JSON)
}

async fn send_all<W: Write>(mut maker: Maker<W>, mut sender: BodySender) -> Result<(), BoxError> {
    while maker.state != State::Done {
        sender.all_taken().await?;
        let turn = MAKERS.acquire().await?;
        (maker, sender) = tokio::task::spawn_blocking(move || {
            while sender.has_room()
                && let Some(chunk) = maker.chunk()?
            {
                sender.send_blocking(chunk)?;
            }
            drop(turn);
            Ok::<_, BoxError>((maker, sender))
        })
        .await??;
    }
    sender.finish();
    Ok(())
}

/// Makes the text.
struct Maker<W> {
    handlers: vec::IntoIter<Arc<Handler>>,
    form: Form,
    write: W,
    state: State,
    text: Vec<u8>,
    packer: Packer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is written.
    Begin,
    /// The next container is the first.
    First,
    Further,
    /// All is written.
    Ending,
    Done,
}

impl<W: Write> Maker<W> {
    /// The next chunk, which is not empty; `None` if there are no more.
    fn chunk(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            match self.state {
                State::Begin => {
                    self.text
                        .push(if self.form == Form::Map { b'{' } else { b'[' });
                    self.state = State::First;
                }
                State::First | State::Further => match self.handlers.next() {
                    Some(handler) => self.container(&handler)?,
                    None => {
                        self.text
                            .push(if self.form == Form::Map { b'}' } else { b']' });
                        self.state = State::Ending;
                    }
                },
                State::Ending => {
                    self.state = State::Done;
                    let rest = self.packer.end()?;
                    return Ok((!rest.is_empty()).then_some(rest));
                }
                State::Done => return Ok(None),
            }
            if self.text.len() >= CHUNK || self.state == State::Ending {
                let chunk = self.packer.push(&mut self.text)?;
                if !chunk.is_empty() {
                    return Ok(Some(chunk));
                }
            }
        }
    }

    fn container(&mut self, handler: &Handler) -> Result<(), BoxError> {
        let before = self.text.len();
        if self.state == State::Further {
            self.text.push(b',');
        }
        if self.form == Form::Map {
            json::write(&mut self.text, &Name(handler.name()))?;
            self.text.push(b':');
        }
        if (self.write)(handler, &mut self.text)? {
            self.state = State::Further;
        } else {
            self.text.truncate(before);
        }
        Ok(())
    }
}
