//! `/metrics`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::sync::Semaphore;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{self, Refusal};
use super::request::{self, Query};
use super::{in_background, raw_query};
use crate::cgroup::{ContainerName, Sample};
use crate::query::View;
use crate::serve::metrics::{CONTENT_TYPE, Container, Descriptors, Page, Process};

/// How old samples may be unless `max_age` says otherwise: older ones are taken anew for the scrape.
pub const MAX_AGE: Duration = Duration::from_secs(5);

/// How long a scrape waits for polls when the scraper does not say how long it waits.
const WAIT: Duration = Duration::from_secs(5);

/// Pages that are made at once. Further scrapes wait: each page takes megabytes on a busy node.
const PAGES_AT_ONCE: usize = 4;

/// In how many seconds Prometheus gives up.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// `/metrics`.
pub(super) fn routes(view: &View) -> BoxedFilter<(Response,)> {
    let view = view.clone();
    let places = Arc::new(Semaphore::new(PAGES_AT_ONCE));
    warp::path!("metrics")
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(move |query: String, headers: HeaderMap| {
            answer(view.clone(), places.clone(), query, headers)
        })
        .boxed()
}

async fn answer(view: View, places: Arc<Semaphore>, query: String, headers: HeaderMap) -> Response {
    let max_age = match Query::parse(&query).get("max_age") {
        None => MAX_AGE,
        Some(text) => match request::duration(text) {
            Some(max_age) => max_age,
            None => {
                return Refusal::failed(format!(
                    "No metrics gathered, last error:\n\nfailed to parse 'max_age' option: {text:?} is no duration such as 500ms or 5s"
                ))
                .into();
            }
        },
    };
    let place = places.acquire_owned().await;
    let stale = view
        .refresh(
            &ContainerName::root(),
            max_age,
            Instant::now() + wait(&headers),
        )
        .await;
    in_background(move || {
        // Held until the page is made, not until it is delivered.
        let _place = place;
        let machine = view.machine_info();
        let version = view.version_info();
        let mut page = Page::new(
            containers(&view),
            &machine,
            &version,
            view.self_metrics(),
            view.plan(),
        );
        page.complete = view.is_ready();
        page.stale = u64::try_from(stale).unwrap_or(u64::MAX);
        page.descriptors = descriptors(&view);
        page.process = Process::read();
        answer::compressed(&headers, CONTENT_TYPE, page.encode())
    })
    .await
}

/// Half of the time that the scraper has: the rest is for the page and its way.
fn wait(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    timeout.map_or(WAIT, |timeout| (timeout / 2).min(WAIT))
}

fn containers(view: &View) -> Vec<Container> {
    let handlers = view.containers_within(&ContainerName::root());
    let shown = |handler: &Arc<crate::handler::Handler>| {
        let mut sample = Sample::default();
        let known = handler.latest(&mut sample);
        let spec = handler.spec().unwrap_or_default();
        known.then(|| {
            Container::new(
                handler.name().clone(),
                spec,
                sample,
                handler.oom_kills(),
                Some(handler.created_at()),
            )
        })
    };
    handlers.iter().filter_map(shown).collect()
}

fn descriptors(view: &View) -> Descriptors {
    let budget = view.descriptors();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Descriptors {
        used: number(budget.used()),
        limit: number(budget.limit()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn half_of_the_scrapers_patience_is_spent_on_waiting() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(SCRAPE_TIMEOUT, value.parse().unwrap());
            wait(&headers)
        };
        assert_eq!(wait(&HeaderMap::new()), WAIT);
        assert_eq!(with("3"), Duration::from_millis(1500));
        for odd in ["600", "-1", "x", "NaN", "inf"] {
            assert_eq!(with(odd), WAIT, "{odd}");
        }
    }
}
