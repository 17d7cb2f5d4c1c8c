//! `/api/<version>/<type>/<args…>`: which question it is.

use bytes::Buf;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::reply::Response;

use super::answer::Refusal;
use super::request::{Query, percent_decode};
use super::{events, raw_query, v1, v2};
use crate::cgroup::ContainerName;
use crate::query::View;
use crate::serve::body::{self, REQUEST_BODY_DEADLINE, REQUEST_BODY_MAX};

/// A type of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Appmetrics,
    Attributes,
    Containers,
    Docker,
    Events,
    Machine,
    Machinestats,
    Ps,
    Spec,
    Stats,
    Storage,
    Subcontainers,
    Summary,
    Version,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Appmetrics => "appmetrics",
            Self::Attributes => "attributes",
            Self::Containers => "containers",
            Self::Docker => "docker",
            Self::Events => "events",
            Self::Machine => "machine",
            Self::Machinestats => "machinestats",
            Self::Ps => "ps",
            Self::Spec => "spec",
            Self::Stats => "stats",
            Self::Storage => "storage",
            Self::Subcontainers => "subcontainers",
            Self::Summary => "summary",
            Self::Version => "version",
        }
    }
}

/// An API version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
    V2_0,
    V2_1,
}

/// What each version answers, by name.
pub(super) const VERSIONS: [(&str, Version, &[Kind]); 6] = {
    use self::Version as V;
    use Kind::*;
    [
        ("v1.0", V::V1_0, &[Containers, Machine]),
        ("v1.1", V::V1_1, &[Containers, Machine, Subcontainers]),
        (
            "v1.2",
            V::V1_2,
            &[Containers, Docker, Machine, Subcontainers],
        ),
        (
            "v1.3",
            V::V1_3,
            &[Containers, Docker, Events, Machine, Subcontainers],
        ),
        (
            "v2.0",
            V::V2_0,
            &[
                Appmetrics, Attributes, Events, Machine, Ps, Spec, Stats, Storage, Summary, Version,
            ],
        ),
        (
            "v2.1",
            V::V2_1,
            &[
                Appmetrics,
                Attributes,
                Events,
                Machine,
                Machinestats,
                Ps,
                Spec,
                Stats,
                Storage,
                Summary,
                Version,
            ],
        ),
    ]
};

/// Everything below `/api`.
pub(super) fn routes(view: &View) -> BoxedFilter<(Response,)> {
    let view = view.clone();
    warp::path("api")
        .and(warp::path::full())
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(
            move |path: FullPath, query: String, headers: HeaderMap, body| {
                let view = view.clone();
                async move {
                    answer(&view, path.as_str(), &query, &headers, body)
                        .await
                        .unwrap_or_else(Response::from)
                }
            },
        )
        .boxed()
}

async fn answer<B: Buf>(
    view: &View,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, Refusal> {
    let (version, kind, args) = parse(&percent_decode(path))?;
    let body = body::read(body, REQUEST_BODY_MAX, REQUEST_BODY_DEADLINE)
        .await
        .map_err(|error| Refusal(error.status(), error.to_string()))?;
    let query = Query::parse(query);
    if version >= Version::V2_0 {
        return v2::answer(view, headers, version, kind, &args, &query).await;
    }
    let name = || ContainerName::from_request(&args);
    match kind {
        Kind::Containers => v1::container(view, headers, &name(), &body).await,
        Kind::Subcontainers => v1::subcontainers(view, headers, &name(), &body).await,
        Kind::Docker => v1::docker(view, headers, &args, &body).await,
        Kind::Events => events::answer(view, headers, name(), &query),
        // No version 1 has any other.
        _ => Ok(v1::machine(view, headers)),
    }
}

/// The question in a decoded path, and what comes after its type. The two listings are 400, all else
/// that is wrong 500: clients know it so.
fn parse(path: &str) -> Result<(Version, Kind, String), Refusal> {
    let mut elements = path
        .split('/')
        .filter(|element| !element.is_empty())
        .skip(1);
    let Some(version) = elements.next() else {
        let versions = VERSIONS.map(|version| version.0).join(",");
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            format!("Supported API versions: {versions}"),
        ));
    };
    let Some((_, version, kinds)) = VERSIONS.iter().find(|known| known.0 == version) else {
        return Err(Refusal::failed(format!(
            "unsupported API version {version:?}"
        )));
    };
    let Some(kind) = elements.next() else {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            format!("Supported request types: \"{}\"", kinds.join(",")),
        ));
    };
    match kinds.iter().find(|known| known.as_str() == kind) {
        Some(&known) => Ok((*version, known, elements.collect::<Vec<_>>().join("/"))),
        None => Err(Refusal::failed(format!("unknown request type {kind:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_version_a_type_and_arguments() {
        let ok = |path: &str| parse(path).ok().map(|(_, kind, args)| (kind, args));
        assert_eq!(
            ok("/api/v1.3/containers"),
            Some((Kind::Containers, String::new()))
        );
        assert_eq!(
            ok("/api/v1.3/containers/"),
            Some((Kind::Containers, String::new()))
        );
        assert_eq!(
            ok("/api/v1.1/subcontainers//a/b/"),
            Some((Kind::Subcontainers, "a/b".into()))
        );
        assert_eq!(
            ok("/api/v1.0/machine/whatever"),
            Some((Kind::Machine, "whatever".into()))
        );
    }

    #[test]
    fn what_is_wrong_with_a_path_is_told_as_clients_know_it() {
        let refused = |path: &str| {
            parse(path)
                .err()
                .map(|refusal| (refusal.0.as_u16(), refusal.1))
        };
        const ALL: &str = "Supported API versions: v1.0,v1.1,v1.2,v1.3,v2.0,v2.1";
        for (path, status, message) in [
            ("/api", 400, ALL),
            ("/api/", 400, ALL),
            (
                "/api/v1.3/",
                400,
                "Supported request types: \"containers,docker,events,machine,subcontainers\"",
            ),
            (
                "/api/v1.0",
                400,
                "Supported request types: \"containers,machine\"",
            ),
            (
                "/api/v2.0",
                400,
                "Supported request types: \"appmetrics,attributes,events,machine,ps,spec,stats,storage,summary,version\"",
            ),
            (
                "/api/v2.1/",
                400,
                "Supported request types: \"appmetrics,attributes,events,machine,machinestats,ps,spec,stats,storage,summary,version\"",
            ),
            (
                "/api/v2.0/machinestats",
                500,
                "unknown request type \"machinestats\"",
            ),
            ("/api/v9.9/machine", 500, "unsupported API version \"v9.9\""),
            ("/api/v1.3/nosuch", 500, "unknown request type \"nosuch\""),
            ("/api/v1.0/events", 500, "unknown request type \"events\""),
        ] {
            assert_eq!(refused(path), Some((status, message.into())), "{path}");
        }
    }
}
