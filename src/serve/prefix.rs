//! Serving below a path prefix, behind a proxy.
//!
//! The service sees paths without the prefix. What is outside of it does not exist; the prefix
//! itself leads to its own slash.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use tower_service::Service;
use warp::Reply;
use warp::reply::Response;

/// A service below a prefix.
#[derive(Debug, Clone)]
pub struct Prefixed<S> {
    inner: S,
    prefix: Arc<str>,
}

impl<S> Prefixed<S> {
    /// `inner` below `prefix`: empty, or `/like/this`.
    pub fn new(prefix: &str, inner: S) -> Self {
        Self {
            inner,
            prefix: prefix.trim_end_matches('/').into(),
        }
    }
}

impl<S, B> Service<Request<B>> for Prefixed<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match strip(request.uri(), &self.prefix) {
            Target::Inside(uri) => {
                *request.uri_mut() = uri;
                Box::pin(self.inner.call(request))
            }
            Target::Prefix => {
                let to = HeaderValue::try_from(format!("{}/", self.prefix));
                let mut response = plain(StatusCode::MOVED_PERMANENTLY, "");
                if let Ok(to) = to {
                    response.headers_mut().insert(LOCATION, to);
                }
                Box::pin(async { Ok(response) })
            }
            Target::Outside => {
                let response = plain(StatusCode::NOT_FOUND, "404 page not found\n");
                Box::pin(async { Ok(response) })
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    Inside(Uri),
    Prefix,
    Outside,
}

/// Where `uri` leads, seen from below `prefix`.
fn strip(uri: &Uri, prefix: &str) -> Target {
    if prefix.is_empty() {
        return Target::Inside(uri.clone());
    }
    let rest = match uri.path().strip_prefix(prefix) {
        Some("") => return Target::Prefix,
        Some(rest) if rest.starts_with('/') => rest,
        _ => return Target::Outside,
    };
    let text = match uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    match PathAndQuery::try_from(text) {
        Ok(path) => parts.path_and_query = Some(path),
        Err(_) => return Target::Outside,
    }
    Uri::from_parts(parts).map_or(Target::Outside, Target::Inside)
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = warp::reply::with_status(text, status).into_response();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_below_a_prefix() {
        let at = |uri: &str, prefix| strip(&uri.parse().unwrap(), prefix);
        let inside = |uri: &str| Target::Inside(uri.parse().unwrap());
        assert_eq!(at("/metrics?a=b", ""), inside("/metrics?a=b"));
        assert_eq!(at("/c/metrics?a=b", "/c"), inside("/metrics?a=b"));
        assert_eq!(at("/c/", "/c"), inside("/"));
        assert_eq!(at("/c/c/d%20e", "/c"), inside("/c/d%20e"));
        assert_eq!(at("http://host/c/x", "/c"), inside("http://host/x"));
        assert_eq!(at("/c", "/c"), Target::Prefix);
        for outside in ["/", "/metrics", "/cx/metrics", "*"] {
            assert_eq!(at(outside, "/c"), Target::Outside, "{outside}");
        }
    }
}
