//! What is asked over HTTP, and who answers: one file for each group of routes.
//!
//! Every route answers any method, as its clients expect. What is wrong with a question is told in
//! plain text; a path that is none gets 404 and the list of those that are.

mod answer;
mod api;
mod events;
mod facts;
mod health;
mod kubelet;
mod ledger;
mod metrics;
mod openapi;
mod own_events;
mod packer;
mod pieces;
mod request;
mod stream;
mod v1;
mod v2;
mod validate;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::query::View;

use crate::serve::metrics as table;

/// What may be chosen about the routes. A prefix of all of them is
/// [`Prefixed`](super::prefix::Prefixed)'s affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Path of the metrics.
    pub prometheus_endpoint: String,
    /// What they show.
    pub metrics: table::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prometheus_endpoint: "/metrics".to_owned(),
            metrics: table::Options::default(),
        }
    }
}

/// All routes: `warp::service(all(&view, &options))` is what [`serve`](super::server::serve) takes.
pub fn all(view: &View, options: &Options) -> BoxedFilter<(Response,)> {
    // The metrics first: wherever they are put, they are there.
    metrics::routes(view, options)
        .or(health::routes(view))
        .unify()
        .or(ledger::routes(view))
        .unify()
        .or(own_events::routes(view))
        .unify()
        .or(api::routes(view))
        .unify()
        .or(validate::routes(view))
        .unify()
        .or(kubelet::routes(view))
        .unify()
        .or(openapi::routes())
        .unify()
        .or(health::not_found())
        .unify()
        .boxed()
}

/// The query of a request as it came; empty without one.
fn raw_query() -> impl Filter<Extract = (String,), Error = std::convert::Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

/// Makes an answer on a thread for such work: a page of many containers takes milliseconds of CPU.
async fn in_background(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(error) => {
            answer::Refusal::failed(format!("the answer could not be made: {error}")).into()
        }
    }
}

#[cfg(test)]
mod tests;
