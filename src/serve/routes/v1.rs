//! `machine`, `containers`, `subcontainers` and `docker` of API v1.

use std::time::{Duration, Instant};

use http::HeaderMap;
use serde::Deserialize;
use warp::reply::Response;

use super::answer::{self, Refusal};
use super::facts::Facts;
use super::request;
use super::stream::{self, Form};
use crate::cgroup::ContainerName;
use crate::handler::Handler;
use crate::query::{InfoRequest, View};
use crate::serve::json;
use crate::units::Timestamp;
use crate::wire;

/// How long an answer waits for the first poll of containers that have just been noticed.
const FIRST_POLL: Duration = Duration::from_secs(2);

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
    let facts = Facts::of(view);
    Ok(answer::value(
        headers,
        &wire::v1::ContainerInfo((&info, facts.context())),
    ))
}

/// `subcontainers/<name>`: the container and all below it, one by one. Those of which nothing can be
/// read are there without samples.
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
    let (facts, range) = (Facts::of(view), request.range());
    let view = view.clone();
    let write = move |handler: &Handler, out: &mut Vec<u8>| {
        let info = view.describe(handler, range, true);
        json::write(out, &wire::v1::ContainerInfo((&info, facts.context()))).map(|()| true)
    };
    Ok(stream::containers(headers, handlers, Form::List, write))
}

/// `docker[/<name>]`: all containers of Docker by cgroup, or the one of this name.
pub(super) async fn docker(
    view: &View,
    headers: &HeaderMap,
    args: &str,
    body: &[u8],
) -> Result<Response, Refusal> {
    const NAMESPACE: &str = "docker";
    let request = info_request(body)?;
    let handlers = match args {
        "" => view.in_namespace(NAMESPACE),
        name if name.contains('/') => {
            let elements = name.replace('/', " ");
            return Err(Refusal::failed(format!(
                "unknown request for Docker container [{elements}]"
            )));
        }
        name => {
            let found = view.find_in_namespace(NAMESPACE, name);
            let handler = found.map_err(|error| {
                let message =
                    format!("failed to get Docker container {name:?} with error: {error}");
                Refusal::of(&error, message)
            })?;
            vec![handler]
        }
    };
    view.polled(&handlers, None).await;
    let (facts, range) = (Facts::of(view), request.range());
    let view = view.clone();
    let write = move |handler: &Handler, out: &mut Vec<u8>| {
        let info = view.describe(handler, range, true);
        json::write(out, &wire::v1::ContainerInfo((&info, facts.context()))).map(|()| true)
    };
    Ok(stream::containers(headers, handlers, Form::Map, write))
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
