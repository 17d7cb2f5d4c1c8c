//! Every type of request of API v2.0 and v2.1.
//!
//! Where these answers differ from those that clients know, they do so on purpose: see `docs/api.md`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::Semaphore;
use warp::reply::Response;

use super::answer::{self, Refusal};
use super::api::{Kind, Version};
use super::facts::Facts;
use super::request::{self, Query};
use super::stream::{self, Form};
use super::{events, in_background, v1};
use crate::cache::Range;
use crate::cgroup::ContainerName;
use crate::handler::Handler;
use crate::query::{QueryError, RequestOptions, View};
use crate::serve::json;
use crate::units::Timestamp;
use crate::wire::machine::Attributes;
use crate::wire::shared::fs::Storage;
use crate::wire::v2::{
    ContainerInfo, ContainerSpec, DeprecatedHistory, DerivedStats, MachineHistory, ProcessInfo,
};

/// Why an answer has no samples.
const NO_DATA: &str = "unable to find data in memory cache";

/// Listings of processes under way at once: each reads files of every process. Others wait.
static LISTINGS: Semaphore = Semaphore::const_new(2);

/// How containers are named in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    /// By their cgroup path.
    Cgroup,
    /// As this runtime names them.
    Runtime(&'static str),
}

/// The parameters that every type of request has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    named_by: NamedBy,
    count: Option<usize>,
    recursive: bool,
    max_age: Option<Duration>,
}

impl Options {
    fn read(query: &Query) -> Result<Self, Refusal> {
        // Given but empty is not given.
        let given = |key: &str| query.get(key).filter(|value| !value.is_empty());
        let defaults = RequestOptions::default();
        Ok(Self {
            named_by: match given("type") {
                None | Some("name") => NamedBy::Cgroup,
                Some("docker") => NamedBy::Runtime("docker"),
                Some("podman") => NamedBy::Runtime("podman"),
                Some(other) => return Err(Refusal::failed(format!("unknown 'type' {other:?}"))),
            },
            count: given("count").map_or(Ok(defaults.count), count)?,
            recursive: query.get("recursive") == Some("true"),
            max_age: given("max_age")
                .map(|text| {
                    request::duration(text).ok_or_else(|| {
                        Refusal::failed(format!(
                            "failed to parse 'max_age' option: {text:?} is no duration such as 500ms or 5s"
                        ))
                    })
                })
                .transpose()?,
        })
    }

    fn request(&self) -> RequestOptions {
        RequestOptions {
            count: self.count,
            recursive: self.recursive,
            max_age: self.max_age,
        }
    }

    fn range(&self) -> Range {
        Range {
            newest: self.count,
            ..Range::default()
        }
    }
}

fn count(text: &str) -> Result<Option<usize>, Refusal> {
    let number: i64 = text
        .parse()
        .map_err(|_| Refusal::failed(format!("failed to parse 'count' option: {text}")))?;
    match usize::try_from(number) {
        Ok(count) => Ok(Some(count)),
        Err(_) if number == -1 => Ok(None),
        Err(_) => Err(Refusal::failed(format!(
            "invalid 'count' option: only -1 and larger values allowed, not {number}"
        ))),
    }
}

/// Answers a request of API v2.
pub(super) async fn answer(
    view: &View,
    headers: &HeaderMap,
    version: Version,
    kind: Kind,
    args: &str,
    query: &Query,
) -> Result<Response, Refusal> {
    let options = Options::read(query)?;
    let name = ContainerName::from_request(args);
    match kind {
        Kind::Version => Ok(answer::value(headers, view.version_info().cgauge)),
        Kind::Attributes => {
            let (machine, version) = (view.machine_info(), view.version_info());
            Ok(answer::value(headers, &Attributes::new(&machine, &version)))
        }
        Kind::Machinestats => machinestats(view, headers, &options).await,
        Kind::Storage => storage(view, headers, query),
        Kind::Events => events::answer(view, headers, name, query),
        Kind::Ps => processes(view, headers, &name, &options).await,
        Kind::Appmetrics => {
            select(view, &name, &options).await?;
            let none: BTreeMap<&str, ()> = BTreeMap::new();
            Ok(answer::value(
                headers,
                &BTreeMap::from([(name.to_string(), none)]),
            ))
        }
        Kind::Summary => summary(view, headers, &name, &options).await,
        Kind::Spec => {
            let facts = Facts::of(view);
            let of = view.clone();
            let write = move |handler: &Handler, out: &mut Vec<u8>| {
                let info = of.describe(handler, NO_SAMPLES, false);
                json::write(out, &ContainerSpec((&info, facts.context()))).map(|()| true)
            };
            containers(view, headers, &name, &options, write).await
        }
        Kind::Stats => {
            let facts = Facts::of(view);
            let (of, range, old) = (view.clone(), options.range(), version == Version::V2_0);
            let write = move |handler: &Handler, out: &mut Vec<u8>| {
                // v2.1 has another type of request for the root.
                if handler.latest_time().is_none() || (!old && handler.name().is_root()) {
                    return Ok(false);
                }
                let info = of.describe(handler, range, false);
                let known = (&info, facts.context());
                if old {
                    json::write(out, &DeprecatedHistory(known))?;
                } else {
                    json::write(out, &ContainerInfo(known))?;
                }
                Ok(true)
            };
            containers(view, headers, &name, &options, write).await
        }
        // No version 2 has any other.
        Kind::Machine | Kind::Containers | Kind::Docker | Kind::Subcontainers => {
            Ok(v1::machine(view, headers))
        }
    }
}

/// What is known of a container beside its samples.
const NO_SAMPLES: Range = Range {
    start: None,
    end: None,
    newest: Some(0),
};

/// The containers that are asked about, polled if they are to be.
async fn select(
    view: &View,
    name: &ContainerName,
    options: &Options,
) -> Result<Vec<Arc<Handler>>, Refusal> {
    if let NamedBy::Runtime(namespace) = options.named_by {
        let handlers = namespaced(view, namespace, name, options.recursive)?;
        view.polled(&handlers, options.max_age).await;
        return Ok(handlers);
    }
    view.select(name, &options.request())
        .await
        .map_err(|error| match error {
            QueryError::UnknownContainer(name) if options.recursive => {
                Refusal::failed(format!("unknown container: {name:?}"))
            }
            other => Refusal::failed(other.to_string()),
        })
}

/// The containers that a runtime told of: the one of this name, or all.
fn namespaced(
    view: &View,
    namespace: &str,
    name: &ContainerName,
    recursive: bool,
) -> Result<Vec<Arc<Handler>>, Refusal> {
    let full = name.to_string();
    match recursive {
        true if name.is_root() => Ok(view.in_namespace(namespace)),
        true => Err(Refusal::failed(format!(
            "invalid request for docker container {full:?} with subcontainers"
        ))),
        false => {
            let short = full.strip_prefix('/').unwrap_or(&full);
            let found = view.find_in_namespace(namespace, short);
            let found = found.map_err(|error| Refusal::of(&error, error.to_string()))?;
            Ok(vec![found])
        }
    }
}

async fn containers(
    view: &View,
    headers: &HeaderMap,
    name: &ContainerName,
    options: &Options,
    write: impl stream::Write,
) -> Result<Response, Refusal> {
    let handlers = select(view, name, options).await?;
    Ok(stream::containers(headers, handlers, Form::Map, write))
}

/// `summary`. A container that has neither CPU nor memory has none: on its own that is an error, among
/// others it is left out.
async fn summary(
    view: &View,
    headers: &HeaderMap,
    name: &ContainerName,
    options: &Options,
) -> Result<Response, Refusal> {
    let handlers = select(view, name, options).await?;
    let has_one = |handler: &Handler| {
        handler
            .spec()
            .is_some_and(|spec| spec.cpu.is_some() || spec.memory.is_some())
    };
    if let ([only], false) = (&*handlers, options.recursive)
        && !has_one(only)
    {
        let name = only.name().to_string();
        return Err(Refusal::failed(format!(
            "partial failures: [{name:?}: DerivedStats: derived stats not enabled for container {name:?}]"
        )));
    }
    let write = move |handler: &Handler, out: &mut Vec<u8>| {
        let derived = handler.derived().filter(|_| has_one(handler));
        derived.map_or(Ok(false), |derived| {
            json::write(out, &DerivedStats(&derived)).map(|()| true)
        })
    };
    Ok(stream::containers(headers, handlers, Form::Map, write))
}

/// `machinestats`: the samples of `/`, whatever container is named.
async fn machinestats(
    view: &View,
    headers: &HeaderMap,
    options: &Options,
) -> Result<Response, Refusal> {
    let request = RequestOptions {
        recursive: false,
        ..options.request()
    };
    let known = view
        .container_info_v2(&ContainerName::root(), &request)
        .await
        .map_err(|error| Refusal::failed(error.to_string()))?;
    let facts = Facts::of(view);
    Ok(match known.first() {
        Some(root) if !root.stats.is_empty() => {
            answer::value(headers, &MachineHistory((root, facts.context())))
        }
        // A list that is empty has always been this.
        _ => answer::value(headers, &()),
    })
}

/// `storage`: file systems as last measured.
fn storage(view: &View, headers: &HeaderMap, query: &Query) -> Result<Response, Refusal> {
    let table = view
        .latest_filesystems()
        .ok_or_else(|| Refusal::failed(NO_DATA))?;
    let given = |key: &str| query.get(key).filter(|value| !value.is_empty());
    if let Some(uuid) = given("uuid") {
        let found = view
            .filesystem_by_uuid(&table, uuid)
            .map_err(|error| Refusal::failed(format!("no such device: {error}")))?;
        return Ok(answer::value(headers, &Storage((&found, table.timestamp))));
    }
    let list: Vec<_> = match given("label") {
        Some(label) => table.by_label(label).collect(),
        None => table.filesystems.iter().collect(),
    };
    if let (Some(label), true) = (given("label"), list.is_empty()) {
        return Err(Refusal::failed(format!("non-existent label {label:?}")));
    }
    let shown = list.into_iter().map(|fs| Storage((fs, table.timestamp)));
    Ok(answer::value(headers, &shown.collect::<Vec<_>>()))
}

/// `ps`: the processes of one container, of the node for `/`.
async fn processes(
    view: &View,
    headers: &HeaderMap,
    name: &ContainerName,
    options: &Options,
) -> Result<Response, Refusal> {
    let failed =
        |error: &dyn std::fmt::Display| Refusal::failed(format!("process listing failed: {error}"));
    let mut name = name.clone();
    if let NamedBy::Runtime(namespace) = options.named_by {
        let found = namespaced(view, namespace, &name, false)
            .map_err(|refusal| Refusal(refusal.0, failed(&refusal.1).1))?;
        if let Some(handler) = found.first() {
            name = handler.name().clone();
        }
    }
    view.exists(&name).map_err(|error| failed(&error))?;
    // An error would say that the semaphore is closed, which it never is.
    let _place = LISTINGS.acquire().await.map_err(|error| failed(&error))?;
    let list = view
        .processes(&name)
        .await
        .map_err(|error| failed(&error))?;
    let (headers, all) = (headers.clone(), name.is_root());
    Ok(in_background(move || {
        let now = Timestamp::now();
        let shown = list.iter().map(|process| ProcessInfo((process, all, now)));
        answer::value(&headers, &shown.collect::<Vec<_>>())
    })
    .await)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(query: &str) -> Result<Options, String> {
        Options::read(&Query::parse(query)).map_err(|refusal| {
            assert_eq!(refusal.0, 500);
            refusal.1
        })
    }

    #[test]
    fn the_common_parameters_have_defaults() {
        let default = Options {
            named_by: NamedBy::Cgroup,
            count: Some(64),
            recursive: false,
            max_age: None,
        };
        for query in [
            "",
            "type=&count=&max_age=",
            "type=name&recursive=TRUE",
            "x=y",
        ] {
            assert_eq!(read(query), Ok(default.clone()), "{query}");
        }
        let all = read("type=podman&count=-1&recursive=true&max_age=1m30s").unwrap();
        assert_eq!(
            all,
            Options {
                named_by: NamedBy::Runtime("podman"),
                count: None,
                recursive: true,
                max_age: Some(Duration::from_secs(90)),
            }
        );
        assert_eq!(read("max_age=-1s").unwrap().max_age, Some(Duration::ZERO));
        assert_eq!(read("count=0").unwrap().count, Some(0));
    }

    #[test]
    fn bad_parameters_are_told_as_clients_know_it() {
        for (query, message) in [
            ("type=lxc", "unknown 'type' \"lxc\""),
            ("count=x", "failed to parse 'count' option: x"),
            (
                "count=99999999999999999999",
                "failed to parse 'count' option: 99999999999999999999",
            ),
            (
                "count=-2",
                "invalid 'count' option: only -1 and larger values allowed, not -2",
            ),
        ] {
            assert_eq!(read(query), Err(message.to_owned()), "{query}");
        }
        let bad = read("max_age=soon").unwrap_err();
        assert!(
            bad.starts_with("failed to parse 'max_age' option: "),
            "{bad}"
        );
    }
}
