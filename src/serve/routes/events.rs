//! `events`: past ones as a list, future ones as a stream of lines.

use http::HeaderMap;
use warp::Reply;
use warp::reply::Response;

use super::answer::{self, Refusal};
use super::request::Query;
use crate::cgroup::ContainerName;
use crate::event::{EventRequest, EventType, Subscription};
use crate::query::View;
use crate::serve::body::{self, BodySender};
use crate::serve::json;
use crate::wire::v1::Event;

/// Past events that are told unless `max_events` says otherwise.
const MAX_EVENTS: i64 = 10;

/// Lines that wait for a slow reader. The event bus keeps more, and tells when they are lost.
const LINES_WAITING: usize = 64;

/// Which parameter asks for which type.
const TYPES: [(&str, EventType); 4] = [
    ("oom_events", EventType::Oom),
    ("oom_kill_events", EventType::OomKill),
    ("creation_events", EventType::ContainerCreation),
    ("deletion_events", EventType::ContainerDeletion),
];

/// `events/<name>`.
pub(super) fn answer(
    view: &View,
    headers: &HeaderMap,
    name: ContainerName,
    query: &Query,
) -> Result<Response, Refusal> {
    let request = request(name, query);
    if !query.flag("stream") {
        let past = view.past_events(&request);
        let whose: Vec<_> = past
            .iter()
            .map(|event| view.identity_of_event(event))
            .collect();
        let told = past.iter().zip(&whose);
        return Ok(answer::value(
            headers,
            &told
                .map(|(event, whose)| Event((event, whose.as_deref())))
                .collect::<Vec<_>>(),
        ));
    }
    if request.start.is_some() || request.end.is_some() {
        return Err(Refusal::failed(
            "a stream tells of events from now on: leave start_time and end_time out",
        ));
    }
    let (sender, stream) = body::stream(LINES_WAITING);
    tokio::spawn(send_all(
        view.clone(),
        view.watch_events(request),
        sender.with_deadline(None),
    ));
    Ok(body::endless(warp::reply::stream(stream).into_response()))
}

fn request(container: ContainerName, query: &Query) -> EventRequest {
    let all = query.flag("all_events");
    let max_events = query.number("max_events").unwrap_or(MAX_EVENTS);
    EventRequest {
        types: TYPES
            .iter()
            .filter(|(key, _)| all || query.flag(key))
            .map(|(_, kind)| *kind)
            .collect(),
        container,
        subcontainers: query.flag("subcontainers"),
        start: query.time("start_time"),
        end: query.time("end_time"),
        // Anything negative is no limit.
        max: usize::try_from(max_events).ok(),
    }
}

/// Sends events as lines until the client is gone or the monitor has stopped.
async fn send_all(view: View, mut events: Subscription, mut sender: BodySender) {
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = sender.gone() => return,
        };
        let event = match event {
            None => return sender.finish(),
            Some(Ok(event)) => event,
            Some(Err(missed)) => {
                tracing::debug!(%missed, "a client reads its event stream too slowly");
                continue;
            }
        };
        let mut line = Vec::with_capacity(256);
        let whose = view.identity_of_event(&event);
        if let Err(error) = json::write(&mut line, &Event((&event, whose.as_deref()))) {
            tracing::debug!(%error, "an event cannot be written as JSON");
            continue;
        }
        line.push(b'\n');
        if sender.send(line).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    #[test]
    fn parameters_become_a_request() {
        let of = |query: &str| request(ContainerName::from_request("/a"), &Query::parse(query));
        let none = of("");
        assert!(none.types.is_empty() && !none.subcontainers);
        assert_eq!((none.max, none.start, none.end), (Some(10), None, None));
        assert_eq!(of("all_events=true").types.len(), 4);
        assert_eq!(
            of("oom_events=1&oom_kill_events=t&creation_events=no").types,
            [EventType::Oom, EventType::OomKill]
        );
        assert_eq!(of("max_events=-1").max, None);
        assert_eq!(of("max_events=0").max, Some(0));
        assert_eq!(of("max_events=many").max, Some(10));
        assert_eq!(
            of("end_time=1970-01-01T00:00:01Z").end,
            Some(Timestamp(1_000_000_000))
        );
        assert!(of("subcontainers=TRUE").subcontainers);
    }
}
