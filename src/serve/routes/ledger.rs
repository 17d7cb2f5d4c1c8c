//! `/api/cgauge/v1/ledger`: what became of containers, those that have gone too.

use http::{HeaderMap, StatusCode};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{self, Refusal};
use super::request::{self, Query};
use super::{in_background, raw_query};
use crate::cgroup::ContainerName;
use crate::ledger::LedgerRequest;
use crate::query::View;
use crate::serve::json;
use crate::units::Timestamp;
use crate::wire::ledger::Life;

/// Lives that are told unless `max` says otherwise.
const MAX: usize = 100;

/// Type of JSON objects, one a line.
const NDJSON: &str = "application/x-ndjson";

/// The route.
pub(super) fn routes(view: &View) -> BoxedFilter<(Response,)> {
    let view = view.clone();
    warp::path!("api" / "cgauge" / "v1" / "ledger")
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(move |query: String, headers: HeaderMap| {
            let view = view.clone();
            in_background(move || {
                let query = Query::parse(&query);
                answer(&view, &headers, &query).unwrap_or_else(Response::from)
            })
        })
        .boxed()
}

fn answer(view: &View, headers: &HeaderMap, query: &Query) -> Result<Response, Refusal> {
    let request = request(query, Timestamp::now())?;
    let lines = match query.get("format") {
        None | Some("" | "json") => false,
        Some("ndjson") => true,
        Some(other) => return Err(wrong("format", other, "json or ndjson")),
    };
    let lives = view.lives(&request);
    if !lines {
        let lives: Vec<Life<'_>> = lives.iter().map(Life).collect();
        return Ok(answer::value(headers, &lives));
    }
    let mut body = Vec::new();
    for life in &lives {
        json::write(&mut body, &Life(life))
            .map_err(|error| Refusal::failed(format!("cannot be written as JSON: {error}")))?;
        body.push(b'\n');
    }
    Ok(answer::compressed(headers, NDJSON, body))
}

fn request(query: &Query, now: Timestamp) -> Result<LedgerRequest, Refusal> {
    let given = |key| query.get(key).filter(|text| !text.is_empty());
    let since = match given("since") {
        None => None,
        Some(text) => match (request::duration(text), request::time(text)) {
            (Some(ago), _) => Some(now.saturating_sub(ago)),
            (None, Ok(time)) => time,
            (None, Err(_)) => {
                return Err(wrong(
                    "since",
                    text,
                    "a time such as 2026-11-22T04:48:14Z or a duration such as 1h",
                ));
            }
        },
    };
    let max = match given("max") {
        None => Some(MAX),
        // Anything negative is no limit.
        Some(text) => match text.parse::<i64>() {
            Ok(max) => usize::try_from(max).ok(),
            Err(_) => return Err(wrong("max", text, "a number, -1 for all")),
        },
    };
    Ok(LedgerRequest {
        within: given("container").map_or_else(ContainerName::root, ContainerName::from_request),
        called: given("name").map(str::to_owned),
        since,
        only_oom: flag(query, "oom")?,
        living: !flag(query, "ended")?,
        max,
    })
}

fn flag(query: &Query, key: &str) -> Result<bool, Refusal> {
    match query.get(key) {
        None | Some("" | "false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(wrong(key, other, "true or false")),
    }
}

fn wrong(parameter: &str, given: &str, want: &str) -> Refusal {
    Refusal(
        StatusCode::BAD_REQUEST,
        format!("'{parameter}' is {given:?}: it is {want}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parameters_become_a_request() {
        let now = Timestamp(10_000_000_000_000);
        let of = |query: &str| request(&Query::parse(query), now);
        assert_eq!(
            of("").unwrap(),
            LedgerRequest {
                max: Some(100),
                ..LedgerRequest::default()
            }
        );
        let asked = of("container=%2Fa/b&since=1h&oom=true&ended=1&max=-1&name=web").unwrap();
        assert_eq!(asked.within, ContainerName::from_request("/a/b"));
        assert_eq!(asked.since, Some(Timestamp(6_400_000_000_000)));
        assert!(asked.only_oom && !asked.living);
        assert_eq!((asked.max, asked.called.as_deref()), (None, Some("web")));
        let since = of("since=1970-01-01T00:00:01Z").unwrap().since;
        assert_eq!(since, Some(Timestamp(1_000_000_000)));
        for (query, message) in [
            ("since=soon", "'since' is \"soon\": it is a time such as"),
            ("max=many", "'max' is \"many\": it is a number"),
            ("oom=yes", "'oom' is \"yes\": it is true or false"),
        ] {
            let refused = of(query).unwrap_err();
            assert_eq!(refused.0, StatusCode::BAD_REQUEST);
            assert!(refused.1.starts_with(message), "{refused:?}");
        }
    }
}
