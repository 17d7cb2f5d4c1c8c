//! `/metrics`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::sync::Semaphore;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::reply::Response;

use super::answer::Refusal;
use super::pieces::{self, Pieces};
use super::request::{self, Query};
use super::{Options, raw_query};
use crate::cgroup::{ContainerName, Sample};
use crate::handler::Handler;
use crate::ledger::Workload;
use crate::node::FsTable;
use crate::query::{Polled, View, is_elsewhere};
use crate::runtime::{Identity, State};
use crate::serve::metrics::{
    self, Container, Descriptors, Format, LabelCache, NameCounts, Page, Process, Sources,
};
use crate::units::Timestamp;

/// How long a scrape waits for polls when the scraper does not say how long it waits.
const WAIT: Duration = Duration::from_secs(5);

/// How long a scrape waits for file systems to be measured. What takes longer is shown by the next.
const WAIT_FOR_FILESYSTEMS: Duration = Duration::from_millis(100);

/// Pages that are made at once. Further scrapes wait: each page takes megabytes on a busy node.
const PAGES_AT_ONCE: usize = 4;

/// Containers that have ended and are shown, at most: a node that runs jobs ends thousands an hour.
const MAX_ENDED: usize = 1_000;

/// In how many seconds Prometheus gives up.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// What all scrapes share.
#[derive(Debug)]
struct Desk {
    view: View,
    options: metrics::Options,
    places: Arc<Semaphore>,
    labels: LabelCache,
}

/// What a scrape asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    max_age: Duration,
    /// The runtime's namespace, if it is about the containers of one alone.
    namespace: Option<&'static str>,
}

/// The metrics, at the path that `options` say.
pub(super) fn routes(view: &View, options: &Options) -> BoxedFilter<(Response,)> {
    let desk = Arc::new(Desk {
        view: view.clone(),
        options: options.metrics.clone(),
        places: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
        labels: LabelCache::default(),
    });
    let endpoint: Arc<str> = options.prometheus_endpoint.as_str().into();
    warp::path::full()
        .and_then(move |path: FullPath| {
            let here = path.as_str() == &*endpoint;
            async move {
                if here {
                    Ok(())
                } else {
                    Err(warp::reject::not_found())
                }
            }
        })
        .untuple_one()
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(move |query: String, headers: HeaderMap| answer(Arc::clone(&desk), query, headers))
        .boxed()
}

async fn answer(desk: Arc<Desk>, query: String, headers: HeaderMap) -> Response {
    let scrape = &desk.view.self_metrics().scrape;
    let question = match question(
        &Query::parse(&query),
        // At most 64: see the governor.
        desk.options
            .max_age
            .saturating_mul(desk.view.poll_stretch().busy.ceil() as u32),
    ) {
        Ok(question) => question,
        Err(message) => {
            scrape.refused.inc();
            return Refusal::failed(format!("No metrics gathered, last error:\n\n{message}"))
                .into();
        }
    };
    let begun = Instant::now();
    let deadline = begun + wait(&headers);
    let place = tokio::time::timeout_at(deadline.into(), desk.places.clone().acquire_owned()).await;
    let Ok(Ok(place)) = place else {
        scrape.refused.inc();
        return Refusal(
            http::StatusCode::SERVICE_UNAVAILABLE,
            "too many scrapes at once: scrape less often, or with fewer scrapers".to_owned(),
        )
        .into();
    };
    let waiting = Instant::now();
    let (polled, filesystems) = tokio::join!(
        desk.view.poll_all(question.max_age, deadline),
        desk.view.filesystems(WAIT_FOR_FILESYSTEMS),
    );
    scrape.poll_ns.add(nanos(waiting.elapsed()));
    scrape
        .late
        .add(u64::try_from(polled.late).unwrap_or(u64::MAX));
    let format = Format::wanted(&headers);
    let (mut response, pieces) = pieces::begin(&headers, format.content_type());
    let vary = http::HeaderValue::from_static("accept");
    response.headers_mut().append(http::header::VARY, vary);
    tokio::task::spawn_blocking(move || {
        // Held until the page is made, not until it is delivered.
        let _place = place;
        desk.make(question, &polled, filesystems, format, pieces);
    });
    response
}

/// Reads the parameters that the API's clients know. `count` and `recursive` change nothing: there is
/// one sample of every container.
fn question(query: &Query, max_age: Duration) -> Result<Question, String> {
    let namespace = match query.get("type") {
        None | Some("" | "name") => None,
        Some("docker") => Some("docker"),
        Some("podman") => Some("podman"),
        Some(other) => {
            return Err(format!(
                "unknown 'type' {other:?}: it is name, docker or podman"
            ));
        }
    };
    if let Some(count) = query.get("count").filter(|count| !count.is_empty()) {
        match count.parse::<i64>() {
            Ok(-1..) => {}
            Ok(other) => {
                return Err(format!(
                    "invalid 'count' option: only -1 and larger values allowed, not {other}"
                ));
            }
            Err(_) => return Err(format!("failed to parse 'count' option: {count}")),
        }
    }
    let max_age = match query.get("max_age") {
        None | Some("") => max_age,
        Some(text) => request::duration(text).ok_or_else(|| {
            format!("failed to parse 'max_age' option: {text:?} is no duration such as 500ms or 5s")
        })?,
    };
    Ok(Question { max_age, namespace })
}

/// Half of the time that the scraper has: the rest is for the page and its way.
fn wait(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    timeout.map_or(WAIT, |timeout| (timeout / 2).min(WAIT))
}

/// The totals of workloads, with what their containers have used that are still there.
fn workloads(view: &View) -> Vec<Workload> {
    // Before the totals: what ends in between is in those, and not added once more.
    let handlers = view.containers_within(&ContainerName::root());
    let mut workloads = view.ledger().totals_of_note();
    for workload in workloads.iter_mut().filter(|of| of.totals.lives > 1) {
        for which in &workload.living {
            let handler = handlers.binary_search_by(|handler| handler.name().cmp(&which.name));
            let handler = handler.ok().and_then(|at| handlers.get(at));
            let same = handler.filter(|it| it.incarnation() == which.incarnation);
            let used = same.and_then(|handler| handler.figures()?.0.cpu_ns);
            let totals = &mut workload.totals;
            totals.cpu_ns = totals.cpu_ns.saturating_add(used.unwrap_or(0));
        }
    }
    workloads
}

impl Desk {
    /// Makes a page of these containers and sends it.
    fn make(
        &self,
        question: Question,
        polled: &Polled,
        filesystems: Option<Arc<FsTable>>,
        format: Format,
        mut pieces: Pieces,
    ) {
        let (view, options) = (&self.view, &self.options);
        let scrape = &view.self_metrics().scrape;
        let begun = Instant::now();
        let containers = self.containers(&polled.in_time, question.namespace);
        let (machine, version) = (view.machine_info(), view.version_info());
        let of = Sources {
            machine: &machine,
            version: &version,
            own: view.self_metrics(),
            plan: view.plan(),
        };
        scrape.scrapes.inc();
        let workloads = workloads(view);
        let mut page = Page::new(containers, of, options);
        page.set_workloads(workloads);
        page.filesystems = filesystems;
        page.complete = view.is_ready();
        page.late = u64::try_from(polled.late).unwrap_or(u64::MAX);
        page.descriptors = descriptors(view);
        page.process = Process::read();
        page.links = view.links();
        page.show_runtimes_containers(of_runtimes(view, options.ended_for, question.namespace));
        page.names = Some(NameCounts {
            held: u64::try_from(view.names().len()).unwrap_or(u64::MAX),
            dropped: view.names().dropped(),
        });
        page.write(format, &mut |piece| pieces.push(piece));
        pieces.end();
        // Before the client can know that this was all.
        let packing = pieces.packing();
        scrape
            .encode_ns
            .add(nanos(begun.elapsed().saturating_sub(packing)));
        scrape.compress_ns.add(nanos(packing));
        pieces.finish();
    }

    /// The containers of a page, with their names. Of one runtime's namespace, if one is given.
    fn containers(&self, handlers: &[Arc<Handler>], namespace: Option<&str>) -> Vec<Container> {
        let joined = self.view.joined();
        let choice = &self.options.labels;
        self.labels.round(choice, |labels| {
            let shown = |handler: &Arc<Handler>| {
                let identity = joined.identity(handler.name());
                if namespace.is_some()
                    && identity.map(|identity| identity.runtime.namespace()) != namespace
                {
                    return None;
                }
                let mut sample = Sample::default();
                if handler.is_removed() || !handler.latest(&mut sample) {
                    return None;
                }
                if is_elsewhere(identity.map(|identity| &**identity), &sample) {
                    // Zeros that mean nothing.
                    let told = identity.and_then(|identity| self.view.told_by_runtime(identity));
                    sample = told.unwrap_or_else(|| Sample {
                        timestamp: sample.timestamp,
                        ..Sample::default()
                    });
                }
                let container = Container::new(
                    labels(handler.name(), identity, joined.pod_of(handler.name())),
                    handler.name().clone(),
                    handler.spec().unwrap_or_default(),
                    sample,
                    handler.oom_kills(),
                    Some(handler.created_at()),
                );
                let layer = self.view.layer_usages(handler).pop();
                Some(container.known(identity.cloned()).with_layer(layer))
            };
            handlers.iter().filter_map(shown).collect()
        })
    }
}

/// The containers of runtimes that run, and those that have ended not longer ago than `for_long`: of
/// these the last to end, if they are too many.
fn of_runtimes(view: &View, for_long: Duration, namespace: Option<&str>) -> Vec<Arc<Identity>> {
    let for_long = i64::try_from(for_long.as_nanos()).unwrap_or(i64::MAX);
    let since = Timestamp::now().0.saturating_sub(for_long);
    let (mut running, mut ended) = (Vec::new(), Vec::new());
    view.names().for_each(|known| {
        let identity = known.identity;
        let is_asked = namespace.is_none_or(|asked| identity.runtime.namespace() == asked);
        if identity.is_sandbox || !is_asked {
            return;
        }
        match &identity.state {
            Some(State::Running | State::Paused) if !known.is_gone => {
                running.push(Arc::clone(identity));
            }
            Some(State::Exited {
                finished: Some(finished),
                ..
            }) if finished.0 >= since => ended.push((*finished, Arc::clone(identity))),
            _ => {}
        }
    });
    ended.sort_unstable_by(|a, b| (b.0, &b.1.id).cmp(&(a.0, &a.1.id)));
    ended.truncate(MAX_ENDED);
    running.extend(ended.into_iter().map(|(_, identity)| identity));
    running.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    running
}

fn descriptors(view: &View) -> Descriptors {
    let budget = view.descriptors();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Descriptors {
        used: number(budget.used()),
        limit: number(budget.limit()),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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

    #[test]
    fn parameters_are_read_as_their_clients_know_them() {
        let ask = |query: &str| question(&Query::parse(query), Duration::from_secs(7));
        let plain = Question {
            max_age: Duration::from_secs(7),
            namespace: None,
        };
        for same in [
            "",
            "type=name&count=3&recursive=false",
            "count=-1",
            "max_age=",
        ] {
            assert_eq!(ask(same), Ok(plain), "{same}");
        }
        assert_eq!(ask("max_age=0s").unwrap().max_age, Duration::ZERO);
        assert_eq!(ask("type=docker").unwrap().namespace, Some("docker"));
        assert_eq!(ask("type=podman").unwrap().namespace, Some("podman"));
        for (wrong, says) in [
            ("type=vm", "unknown 'type' \"vm\""),
            ("count=x", "failed to parse 'count' option: x"),
            ("count=-2", "invalid 'count' option"),
            ("max_age=soon", "failed to parse 'max_age' option"),
        ] {
            assert!(ask(wrong).unwrap_err().starts_with(says), "{wrong}");
        }
    }
}
