//! `/api/cgauge/v1/events`: past events and those to come, to be gone on with after a break.
//!
//! One record a line (NDJSON), or as server-sent events where the client asks for them. Each event
//! carries the position behind it; a stream that has nothing to tell says from time to time where it is,
//! so that a client that resumes is given nothing twice and nothing is left out, whatever it asked
//! for.

use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use warp::Filter;
use warp::Reply;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::Refusal;
use super::raw_query;
use super::request::{Query, time};
use crate::cgroup::ContainerName;
use crate::event::{EventRequest, EventType, Missed, Position, Subscription};
use crate::query::View;
use crate::serve::body::{self, BodySender, SendError};
use crate::serve::json;
use crate::wire::own;

/// Type of one JSON value a line.
const NDJSON: &str = "application/x-ndjson";

/// Type of server-sent events.
const SSE: &str = "text/event-stream";

/// What a client of server-sent events says when it comes back by itself.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Proxies that would hold a stream back are asked not to.
const NO_BUFFERING: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// A stream that has nothing to tell says where it is this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Records that wait for a slow reader. The history keeps more.
const RECORDS_WAITING: usize = 64;

/// The parameters that there are.
pub(super) const PARAMETERS: [&str; 8] = [
    "after",
    "container",
    "end",
    "follow",
    "max",
    "start",
    "subcontainers",
    "type",
];

/// `/api/cgauge/v1/events`.
pub(super) fn routes(view: &View) -> BoxedFilter<(Response,)> {
    let view = view.clone();
    warp::path!("api" / "cgauge" / "v1" / "events")
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .map(move |query: String, headers: HeaderMap| {
            answer(&view, &query, &headers).unwrap_or_else(Response::from)
        })
        .boxed()
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    request: EventRequest,
    /// Where to go on; without it, from now on or all that is past.
    position: Option<Position>,
    follow: bool,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    ServerSent,
}

fn answer(view: &View, query: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let Question {
        request,
        position,
        follow,
        form,
    } = question(&Query::parse(query), headers)?;
    let most = request.max.unwrap_or(usize::MAX);
    let (sender, stream) = body::stream(RECORDS_WAITING);
    let mut records = Records {
        view: view.clone(),
        form,
        sender,
    };
    if !follow && position.is_none() && request.max.is_some() {
        // The newest: they must be known before the first is sent.
        let mut past = view.past_events(&request);
        past.sort_by_key(|event| event.id);
        tokio::spawn(async move {
            for event in past {
                if records.event(event).await.is_err() {
                    return;
                }
            }
            records.sender.finish();
        });
    } else if follow {
        let events = match position {
            Some(position) => view.resume_events(request, position),
            None => view.watch_events(request),
        };
        records.sender = records.sender.with_deadline(None);
        tokio::spawn(records.follow(events, most));
    } else {
        let events = view.read_events(request, position.unwrap_or(Position::START));
        tokio::spawn(records.read(events, most));
    }
    let mut response = warp::reply::stream(stream).into_response();
    let media = match form {
        Form::Lines => NDJSON,
        Form::ServerSent => SSE,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend([NO_BUFFERING]);
    Ok(if follow {
        body::endless(response)
    } else {
        response
    })
}

/// Unlike the older API, this one refuses what it does not understand.
fn question(query: &Query, headers: &HeaderMap) -> Result<Question, Refusal> {
    let bad = |text: String| Refusal(StatusCode::BAD_REQUEST, text);
    if let Some(other) = query.keys().find(|key| !PARAMETERS.contains(key)) {
        return Err(bad(format!(
            "no parameter {other:?}; there are {}",
            PARAMETERS.join(", ")
        )));
    }
    let flag = |key: &str, default| match query.get(key) {
        None => Ok(default),
        Some("true" | "1" | "") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(bad(format!("{key}: {other:?} is not true or false"))),
    };
    let instant = |key: &str| match query.get(key) {
        None => Ok(None),
        Some(text) => time(text).map_err(|_| {
            bad(format!(
                "{key}: {text:?} is no RFC 3339 time such as 2026-11-22T04:48:14Z"
            ))
        }),
    };
    let follow = flag("follow", false)?;
    let (start, end) = (instant("start")?, instant("end")?);
    if follow && end.is_some() {
        return Err(bad(
            "a stream that follows has no end: leave end or follow out".to_owned(),
        ));
    }
    let max = match query.get("max") {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| bad(format!("max: {text:?} is no number of events")))?,
        ),
    };
    let resumed = headers.get(LAST_EVENT_ID).map(HeaderValue::to_str);
    let position = match (resumed, query.get("after")) {
        // It is newer than what the address says.
        (Some(Ok(text)), _) | (None, Some(text)) if !text.is_empty() => {
            let position = text.parse::<Position>();
            Some(position.map_err(|error| bad(format!("{text:?} is {error}")))?)
        }
        (Some(Err(_)), _) => return Err(bad("Last-Event-ID is no text".to_owned())),
        _ => None,
    };
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let form = match accepted.is_some_and(|accepted| accepted.contains(SSE)) {
        true => Form::ServerSent,
        false => Form::Lines,
    };
    Ok(Question {
        request: EventRequest {
            types: types(query).map_err(bad)?,
            container: ContainerName::from_request(query.get("container").unwrap_or("/")),
            subcontainers: flag("subcontainers", true)?,
            start,
            end,
            max,
        },
        position,
        follow,
        form,
    })
}

fn types(query: &Query) -> Result<Vec<EventType>, String> {
    let mut types = Vec::new();
    for name in query.all("type").flat_map(|list| list.split(',')) {
        let kind = EventType::from_name(name).ok_or_else(|| {
            let all = EventType::ALL.map(EventType::as_str).join(", ");
            format!("type: {name:?} is none; there are {all}")
        })?;
        if !types.contains(&kind) {
            types.push(kind);
        }
    }
    if types.is_empty() {
        types.extend(EventType::ALL);
    }
    Ok(types)
}

/// Writes records.
struct Records {
    view: View,
    form: Form,
    sender: BodySender,
}

impl Records {
    /// Sends what is past.
    async fn read(mut self, mut events: Subscription, most: usize) {
        let mut sent = 0;
        while sent < most {
            let sending = match events.next().await {
                None => break,
                Some(Ok(event)) => {
                    sent += 1;
                    self.event(event.as_ref().clone()).await
                }
                Some(Err(missed)) => self.missed(missed).await,
            };
            if sending.is_err() {
                return;
            }
        }
        if self.position(&events).await.is_ok() {
            self.sender.finish();
        }
    }

    /// Sends events until the client is gone, the monitor has stopped, or there were as many as were
    /// asked for.
    async fn follow(mut self, mut events: Subscription, most: usize) {
        // A client that is cut off before the first event knows where to go on.
        if self.position(&events).await.is_err() {
            return;
        }
        let mut sent = 0;
        while sent < most {
            let next = tokio::select! {
                next = tokio::time::timeout(SIGN_OF_LIFE, events.next()) => next,
                () = self.sender.gone() => return,
            };
            let sending = match next {
                Err(_) => self.position(&events).await,
                Ok(None) => break,
                Ok(Some(Ok(event))) => {
                    sent += 1;
                    self.event(event.as_ref().clone()).await
                }
                Ok(Some(Err(missed))) => {
                    tracing::debug!(%missed, "a client has missed events");
                    self.missed(missed).await
                }
            };
            if sending.is_err() {
                return;
            }
        }
        self.sender.finish();
    }

    /// Sends an event with what runtimes have told until now.
    async fn event(&mut self, mut event: crate::event::Event) -> Result<(), SendError> {
        self.view.tell_exit_codes(std::slice::from_mut(&mut event));
        let position = self.view.event_position(event.id);
        let identity = self.view.identity_of_event(&event);
        let event = own::Event {
            event: &event,
            position,
            identity: identity.as_deref(),
        };
        self.send("", Some(position), &event).await
    }

    async fn missed(&mut self, missed: Missed) -> Result<(), SendError> {
        self.send("missed", None, &own::Missed(missed)).await
    }

    async fn position(&mut self, events: &Subscription) -> Result<(), SendError> {
        let position = self.view.event_position(events.seen());
        self.send("position", Some(position), &own::Position(&position))
            .await
    }

    async fn send(
        &mut self,
        name: &str,
        position: Option<Position>,
        value: &impl Serialize,
    ) -> Result<(), SendError> {
        let mut record = Vec::with_capacity(384);
        if self.form == Form::ServerSent {
            if !name.is_empty() {
                record.extend_from_slice(format!("event: {name}\n").as_bytes());
            }
            if let Some(position) = position {
                record.extend_from_slice(format!("id: {position}\n").as_bytes());
            }
            record.extend_from_slice(b"data: ");
        }
        if let Err(error) = json::write(&mut record, value) {
            tracing::debug!(%error, "an event cannot be written as JSON");
            return Ok(());
        }
        // JSON has no line break of its own.
        record.extend_from_slice(match self.form {
            Form::Lines => b"\n",
            Form::ServerSent => b"\n\n",
        });
        self.sender.send(record).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::journal::Epoch;
    use crate::units::Timestamp;

    fn ask(query: &str, headers: &[(HeaderName, &'static str)]) -> Result<Question, Refusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        question(&Query::parse(query), &headers.collect())
    }

    #[test]
    fn parameters_become_a_question() {
        let all = Question {
            request: EventRequest::everything(),
            position: None,
            follow: false,
            form: Form::Lines,
        };
        assert_eq!(ask("", &[]).unwrap(), all);
        let asked = ask(
            "follow=true&type=oom,oomKill&type=oom&container=/a%20b&subcontainers=false&start=1970-01-01T00:00:01Z&max=5&after=7",
            &[(ACCEPT, "text/event-stream")],
        );
        let want = Question {
            request: EventRequest {
                types: vec![EventType::Oom, EventType::OomKill],
                container: ContainerName::from_request("/a b"),
                subcontainers: false,
                start: Some(Timestamp(1_000_000_000)),
                end: None,
                max: Some(5),
            },
            position: Some(Position { epoch: None, id: 7 }),
            follow: true,
            form: Form::ServerSent,
        };
        assert_eq!(asked.unwrap(), want);
        let resumed = ask("after=7", &[(LAST_EVENT_ID, "00000000000000ff-9")]).unwrap();
        let position = Position {
            epoch: Some(Epoch(255)),
            id: 9,
        };
        assert_eq!(resumed.position, Some(position), "the header is newer");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (query, part) in [
            ("folow=true", "there are after, container"),
            ("follow=yes", "not true or false"),
            (
                "type=oom,kill",
                "\"kill\" is none; there are containerCreation",
            ),
            ("start=yesterday", "RFC 3339"),
            ("max=-1", "no number"),
            ("after=last", "no position"),
            ("follow=1&end=1970-01-01T00:00:01Z", "has no end"),
        ] {
            let Err(Refusal(status, text)) = ask(query, &[]) else {
                panic!("{query} is taken")
            };
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(text.contains(part), "{query}: {text}");
        }
    }
}
