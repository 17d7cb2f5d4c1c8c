//! `machine`, `containers`, `subcontainers` and `docker` of API v1.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use serde::Deserialize;
use warp::Reply;
use warp::reply::Response;

use super::answer::{self, Refusal};
use super::request;
use crate::cache::Range;
use crate::cgroup::ContainerName;
use crate::handler::Handler;
use crate::query::{InfoRequest, View};
use crate::serve::body::{self, BodySender};
use crate::serve::compress::{self, Encoding, GzipStream};
use crate::serve::json;
use crate::units::Timestamp;
use crate::wire;
use crate::wire::shared::Context;

/// Bytes of a streamed answer that are sent at once.
const CHUNK: usize = 64 * 1024;

/// How long an answer waits for the first poll of containers that have just been noticed.
const FIRST_POLL: Duration = Duration::from_secs(2);

/// Chunks that wait for a slow client.
const CHUNKS_WAITING: usize = 4;

/// `machine`.
pub(super) fn machine(view: &View, headers: &HeaderMap) -> Response {
    answer::value(
        headers,
        &wire::machine::MachineInfo::from(&*view.machine_info()),
    )
}

/// `containers/<name>`.
pub(super) async fn container(
    view: &View,
    headers: &HeaderMap,
    name: &ContainerName,
    body: &[u8],
) -> Result<Response, Refusal> {
    let request = info_request(body)?;
    let failed = |error| {
        Refusal::failed(format!(
            "failed to get container {:?} with error: {error}",
            name.to_string()
        ))
    };
    let info = view.container_info(name, &request).await.map_err(failed)?;
    let machine = view.machine_info();
    Ok(answer::value(
        headers,
        &wire::v1::ContainerInfo((&info, Context { machine: &machine })),
    ))
}

/// `subcontainers/<name>`: the container and all below it. They are sent one by one;
/// those without a sample are left out.
pub(super) async fn subcontainers(
    view: &View,
    headers: &HeaderMap,
    name: &ContainerName,
    body: &[u8],
) -> Result<Response, Refusal> {
    let request = info_request(body)?;
    // Only what was never polled: all else is told as it is.
    view.refresh(name, Duration::MAX, Instant::now() + FIRST_POLL)
        .await;
    let handlers = view.containers_within(name);
    if handlers.is_empty() {
        let name = name.to_string();
        return Err(Refusal::failed(format!(
            "failed to get subcontainers for container {name:?} with error: no containers found"
        )));
    }
    let encoding = compress::wanted(headers);
    let (sender, stream) = body::stream(CHUNKS_WAITING);
    let view = view.clone();
    tokio::spawn(async move {
        if let Err(error) = send_all(
            &view,
            handlers,
            request.range(),
            Chunks::new(sender, encoding),
        )
        .await
        {
            tracing::debug!(%error, "the list of containers was not sent to its end");
        }
    });
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer::JSON));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if encoding == Encoding::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

async fn send_all(
    view: &View,
    handlers: Vec<Arc<Handler>>,
    range: Range,
    mut chunks: Chunks,
) -> Result<(), body::BoxError> {
    let machine = view.machine_info();
    let mut first = true;
    chunks.plain.push(b'[');
    for handler in handlers {
        let info = view.describe(&handler, range, true);
        if !std::mem::take(&mut first) {
            chunks.plain.push(b',');
        }
        json::write(
            &mut chunks.plain,
            &wire::v1::ContainerInfo((&info, Context { machine: &machine })),
        )?;
        chunks.send_if_full().await?;
    }
    chunks.plain.push(b']');
    chunks.finish().await
}

/// Collects text and sends it in chunks.
struct Chunks {
    plain: Vec<u8>,
    gzip: Option<GzipStream>,
    sender: BodySender,
}

impl Chunks {
    fn new(sender: BodySender, encoding: Encoding) -> Self {
        let gzip = (encoding == Encoding::Gzip).then(GzipStream::default);
        Self {
            plain: Vec::with_capacity(CHUNK + CHUNK / 4),
            gzip,
            sender,
        }
    }

    async fn send_if_full(&mut self) -> Result<(), body::BoxError> {
        if self.plain.len() >= CHUNK {
            self.send().await
        } else {
            Ok(())
        }
    }

    async fn send(&mut self) -> Result<(), body::BoxError> {
        let chunk = match &mut self.gzip {
            Some(gzip) => gzip.push(&self.plain)?,
            None => Bytes::copy_from_slice(&self.plain),
        };
        self.plain.clear();
        Ok(self.sender.send(chunk).await?)
    }

    async fn finish(mut self) -> Result<(), body::BoxError> {
        self.send().await?;
        if let Some(gzip) = self.gzip.take() {
            self.sender.send(gzip.finish()?).await?;
        }
        self.sender.finish();
        Ok(())
    }
}

/// `docker[/<name>]`: containers that a Docker daemon told of, of which there are none.
pub(super) fn docker(args: &str) -> Result<Response, Refusal> {
    match args {
        "" => Ok(answer::whole(answer::JSON, "{}")),
        name if name.contains('/') => {
            let elements = name.replace('/', " ");
            Err(Refusal::failed(format!(
                "unknown request for Docker container [{elements}]"
            )))
        }
        name => Err(Refusal::failed(format!(
            "failed to get Docker container {name:?} with error: \
             unable to find container {name:?} in \"docker\" namespace"
        ))),
    }
}

/// The body of a request, as clients send it.
#[derive(Debug, Default, Deserialize)]
struct InfoRequestBody {
    num_stats: Option<i64>,
    start: Option<String>,
    end: Option<String>,
}

/// Reads a request body on top of the defaults. None means the defaults; keys that are not known and
/// anything after the first value are passed over.
fn info_request(body: &[u8]) -> Result<InfoRequest, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(InfoRequest::default());
    }
    let failed = |error: &dyn std::fmt::Display| {
        Refusal::failed(format!("unable to decode the json value: {error}"))
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let asked = Option::<InfoRequestBody>::deserialize(&mut json)
        .map_err(|error| failed(&error))?
        .unwrap_or_default();
    let time = |text: Option<String>| -> Result<Option<Timestamp>, Refusal> {
        text.map_or(Ok(None), |text| {
            request::time(&text).map_err(|error| failed(&error))
        })
    };
    let num_stats = match asked.num_stats {
        None => InfoRequest::default().num_stats,
        Some(-1) => None,
        Some(count) => Some(usize::try_from(count).map_err(|_| {
            Refusal::failed(format!(
                "invalid num_stats {count}: only -1 (all) and larger values are allowed"
            ))
        })?),
    };
    Ok(InfoRequest {
        num_stats,
        start: time(asked.start)?,
        end: time(asked.end)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn request_bodies_are_read_on_top_of_the_defaults() {
        let ok = |body: &str| info_request(body.as_bytes()).unwrap();
        let default = InfoRequest::default();
        for body in [
            "",
            " \n",
            "{}",
            r#"{"num_stats":60,"num_samples":0}"#,
            r#"{"start":"0001-01-01T00:00:00Z"} trailing"#,
            "null",
        ] {
            assert_eq!(ok(body), default, "{body}");
        }
        assert_eq!(ok(r#"{"num_stats":-1}"#).num_stats, None);
        assert_eq!(ok(r#"{"num_stats":0}"#).num_stats, Some(0));
        let range =
            ok(r#"{"num_stats":3,"start":"1970-01-01T00:00:01Z","end":"1970-01-01T00:00:02Z"}"#);
        assert_eq!(
            range,
            InfoRequest {
                num_stats: Some(3),
                start: Some(Timestamp(1_000_000_000)),
                end: Some(Timestamp(2_000_000_000))
            }
        );
        for body in [
            "{",
            "[1,2,3,4]",
            r#"{"num_stats":"x"}"#,
            r#"{"start":"soon"}"#,
        ] {
            let refusal = info_request(body.as_bytes()).unwrap_err();
            assert!(
                refusal.0 == 500 && refusal.1.starts_with("unable to decode the json value: "),
                "{body}: {refusal:?}"
            );
        }
        assert!(info_request(br#"{"num_stats":-2}"#).is_err());
    }
}
