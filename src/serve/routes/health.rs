//! `/healthz`, `/version`, and the page that says what there is.

use serde::Serialize;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{self, Refusal};
use crate::query::View;

/// What is answered, for people.
const ENDPOINTS: &str = "\
/metrics                             figures of all containers, for Prometheus (?max_age=5s)
/healthz                             ok
/version                             versions, JSON
/validate/                           whether the node is set up for monitoring
/openapi.json                        description of all of this
/stats/summary                       node and pods, as a kubelet tells them
/metrics/resource                    CPU and memory of node and pods, as a kubelet tells them
/api/cgauge/v1/events                events, to be resumed after a break (?follow=true&after=<position>)
/api/v1.3/machine                    the machine
/api/v1.3/containers/<name>          a container and its newest samples
/api/v1.3/subcontainers/<name>       the same with all containers below it
/api/v1.3/docker/<name>              a container of Docker, by its name or id (v2: ?type=docker, podman)
/api/v1.3/events/<name>              past events (?all_events=true&subcontainers=true&stream=true)
/api/v2.1/stats/<name>               samples of a container (?recursive=true&count=5&max_age=1s)
/api/v2.1/summary/<name>             its use over the last minute, hour and day
/api/v2.1/ps/<name>                  its processes
/api/v2.1/machinestats               samples of the node
/api/v2.1/storage                    file systems
";

#[derive(Debug, Serialize)]
struct Version<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<&'a str>,
}

/// The routes that need no more than a line.
pub(super) fn routes(view: &View) -> BoxedFilter<(Response,)> {
    let healthz = warp::path!("healthz").map(|| answer::whole(answer::TEXT, "ok"));
    let index = warp::path::end()
        .map(|| answer::whole(answer::TEXT, format!("cgauge answers:\n\n{ENDPOINTS}")));
    let view = view.clone();
    let version = warp::path!("version")
        .and(warp::header::headers_cloned())
        .map(move |headers| {
            let info = view.version_info();
            answer::value(
                &headers,
                &Version {
                    version: info.cgauge,
                    kernel: info.kernel.as_deref(),
                    os: info.os.as_deref(),
                },
            )
        });
    healthz.or(index).unify().or(version).unify().boxed()
}

/// Whatever nothing else answers.
pub(super) fn not_found() -> BoxedFilter<(Response,)> {
    let message = || format!("there is nothing here; cgauge answers:\n\n{ENDPOINTS}");
    warp::any()
        .map(move || Refusal(http::StatusCode::NOT_FOUND, message()).into())
        .boxed()
}
