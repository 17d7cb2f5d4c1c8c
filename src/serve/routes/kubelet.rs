//! `/stats/summary` and `/metrics/resource`, as a kubelet answers them.

use std::time::{Duration, Instant};

use http::HeaderMap;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::request::Query;
use super::{answer, in_background, raw_query};
use crate::cache::Range;
use crate::cgroup::ContainerName;
use crate::query::View;
use crate::serve::metrics::CONTENT_TYPE;
use crate::wire::kubelet::summary::{Scope, Summary};
use crate::wire::kubelet::{Node, is_told, resource};

/// How old samples may be: a kubelet's own are as old.
const MAX_AGE: Duration = Duration::from_secs(10);

/// How long an answer waits for newer ones.
const WAIT: Duration = Duration::from_secs(5);

/// Both routes.
pub(super) fn routes(view: &View) -> BoxedFilter<(Response,)> {
    let (first, second) = (view.clone(), view.clone());
    let summary = warp::path!("stats" / "summary")
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(move |query: String, headers| summary(first.clone(), query, headers));
    let resource = warp::path!("metrics" / "resource")
        .and(warp::header::headers_cloned())
        .then(move |headers| resource_page(second.clone(), headers));
    summary.or(resource).unify().boxed()
}

async fn summary(view: View, query: String, headers: HeaderMap) -> Response {
    // Exactly this: a kubelet does not take "1".
    let only_cpu_and_memory = Query::parse(&query).get("only_cpu_and_memory") == Some("true");
    refresh(&view).await;
    in_background(move || {
        let table = view.latest_filesystems();
        let scope = Scope {
            only_cpu_and_memory,
            filesystems: table.as_deref(),
        };
        answer::value(&headers, &Summary((&node(&view), scope)))
    })
    .await
}

async fn resource_page(view: View, headers: HeaderMap) -> Response {
    refresh(&view).await;
    in_background(move || answer::compressed(&headers, CONTENT_TYPE, resource::page(&node(&view))))
        .await
}

async fn refresh(view: &View) {
    // What is late is told as it was: every figure has its time.
    view.refresh(&ContainerName::root(), MAX_AGE, Instant::now() + WAIT)
        .await;
}

fn node(view: &View) -> Node {
    let mut node = Node::new(view.node_name().unwrap_or_default(), view.boot_time());
    let newest_two = Range {
        newest: Some(2),
        ..Range::default()
    };
    for handler in view.containers_within(&ContainerName::root()) {
        if is_told(handler.name()) {
            node.add(view.describe(&handler, newest_two, false));
        }
    }
    node
}
