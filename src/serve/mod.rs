//! ANSWER: routes and metrics, and how bytes come in and go out, whatever is being answered.
//!
//! # Why there is an accept loop of our own
//!
//! The routes are `warp` filters, but warp's own server is too small for a program that anybody
//! on the network may talk to: it sets no timer (so the header timeout is silently off), has no
//! limit on connections, no `TCP_NODELAY`, no way to say when shutdown is over, takes plain TCP
//! and Unix listeners only, and lets through a request (`CONNECT host:port`) on which some of its
//! filters panic. So a filter is turned into a service, and [`server`] serves that:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use cgauge::serve::{listen::ListenAddr, server::{self, Limits}};
//! use tokio_util::sync::CancellationToken;
//! use warp::Filter;
//!
//! let routes = warp::service(warp::path!("healthz").map(|| "ok"));
//! let listener = "127.0.0.1:8080".parse::<ListenAddr>()?.bind().await?;
//! let stop = CancellationToken::new();
//! let metrics = Default::default();
//! let server = server::serve(vec![listener], routes, Limits::default(), stop.clone(), metrics);
//! // ... later:
//! stop.cancel();
//! let cut_off = server.drain(std::time::Duration::from_secs(5)).await;
//! # Ok(()) }
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`listen`] | addresses, and binding them with errors that say what to do |
//! | [`server`] | the accept loop, the limits, the drain |
//! | `connection` | one connection: its timers and what every request passes before the service |
//! | `socket` | the stream under it: TCP or Unix, and the deadline on a client that reads nothing |
//! | [`body`] | bounded request bodies, streamed answers |
//! | [`compress`] | gzip, when asked for and worth it |
//! | [`json`] | JSON with the escapes that Go's encoder makes |
//! | [`metrics`] | `/metrics`: the table of families, and the formats |
//! | [`routes`] | what is asked, and who answers |
//! | [`prefix`] | all of that below a path prefix |

pub mod listen;
mod socket;
pub mod body;
pub mod compress;
mod connection;
pub mod json;
pub mod server;
pub mod metrics;
pub mod routes;
pub mod prefix;

#[cfg(test)]
mod tests;
