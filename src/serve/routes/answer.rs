//! Answers of the kinds that the routes give.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use warp::Reply;
use warp::reply::Response;

use crate::query::QueryError;
use crate::serve::{compress, json};

/// Type of plain text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// Type of JSON.
pub(super) const JSON: &str = "application/json";

/// Why a request is not answered as it asks: the status and the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl Refusal {
    /// What clients know for anything that is wrong with a question: 500 and a message.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, message.into())
    }

    /// The same, but for a container that has ended: 404, which no client takes for a failure of ours.
    pub(super) fn of(error: &QueryError, message: impl Into<String>) -> Self {
        match error {
            QueryError::Ended { .. } => Self(StatusCode::NOT_FOUND, message.into()),
            _ => Self::failed(message),
        }
    }
}

impl From<Refusal> for Response {
    fn from(Refusal(status, message): Refusal) -> Self {
        let mut response = whole(TEXT, Bytes::from(message + "\n"));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// A whole answer as it is.
pub(super) fn whole(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(body.into()).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A whole answer, compressed if the client wants it and it is worth it. Compressing is CPU work.
pub(super) fn compressed(
    request: &HeaderMap,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    let mut headers = HeaderMap::new();
    let body = compress::apply(compress::wanted(request), &mut headers, body.into());
    let mut response = whole(content_type, body);
    response.headers_mut().extend(headers);
    response
}

/// A value as JSON.
pub(super) fn value<T: Serialize + ?Sized>(request: &HeaderMap, value: &T) -> Response {
    match json::to_bytes(value) {
        Ok(body) => compressed(request, JSON, body),
        Err(error) => {
            Refusal::failed(format!("the answer cannot be written as JSON: {error}")).into()
        }
    }
}
