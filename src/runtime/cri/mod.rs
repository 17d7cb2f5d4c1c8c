//! The link to a Kubernetes container runtime, by CRI: containerd, CRI-O, cri-dockerd and others.
//!
//! Comes in: sandboxes and containers over one gRPC connection. Goes out: an identity for each, with
//! its pod. What is new is told at once by what a listing says of it and then completed by its status;
//! what has not changed is never asked about again.

mod describe;
mod events;
mod pending;
mod session;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::events::Watch;
use self::session::Session;
use super::grpc::Connection;
use super::proto::cri::runtime::v1 as api;
use super::stats::RuntimeStats;
use super::{Endpoint, Link, LinkError, LinkStatus, Names, Runtime};

/// How often everything is listed while the runtime's events say what happens, and while they do not.
/// The listing also shows whether the runtime still answers.
const LISTING: Duration = Duration::from_secs(60);
const LISTING_WITHOUT_EVENTS: Duration = Duration::from_secs(10);

/// A listing is not repeated before this many times what it took: on a node with thousands of
/// containers it keeps the runtime busy.
const LISTING_SHARE: u32 = 300;

/// But no later than this.
const LISTING_AT_LEAST: Duration = Duration::from_secs(300);

/// How often sandboxed containers are asked what they use.
const STATS: Duration = Duration::from_secs(15);

/// The link to a Kubernetes container runtime.
#[derive(Debug)]
pub struct CriLink {
    runtime: Runtime,
    endpoint: Endpoint,
    env_prefixes: Vec<String>,
    limit: Duration,
    stats: Arc<RuntimeStats>,
}

impl CriLink {
    /// A link to the runtime that listens there: [`Runtime::Crio`], or [`Runtime::Cri`] for any other.
    /// Keeps environment variables whose names start with one of `env_prefixes`; waits for each answer
    /// as long as `limit`; puts into `stats` what sandboxed containers use.
    pub fn new(
        runtime: Runtime,
        endpoint: Endpoint,
        env_prefixes: Vec<String>,
        limit: Duration,
        stats: Arc<RuntimeStats>,
    ) -> Self {
        Self {
            runtime,
            endpoint,
            env_prefixes,
            limit,
            stats,
        }
    }
}

impl Link for CriLink {
    fn runtime(&self) -> Runtime {
        self.runtime
    }

    fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    async fn follow(
        &mut self,
        names: &Names,
        status: &LinkStatus,
    ) -> Result<Infallible, LinkError> {
        let connection = Connection::open(&self.endpoint, self.limit, status).await?;
        let mut session = Session::new(self, names, &connection);
        let version = session.version().await?;
        let mut watch = Watch::start(&connection, &version.runtime_name).await;
        // Its answer says that the subscription, sent before, has been read.
        session.version().await?;
        let mut took = session.list().await?;
        status.connected(format!(
            "{} {}",
            version.runtime_name, version.runtime_version
        ));

        let mut listed = Instant::now();
        let mut stats = tokio::time::interval(STATS);
        stats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let pause = match watch.is_trusted() {
                true => LISTING,
                false => LISTING_WITHOUT_EVENTS,
            };
            let pause = pause.max((took * LISTING_SHARE).min(LISTING_AT_LEAST));
            tokio::select! {
                news = watch.next() => match news {
                    Ok(Some((id, expect))) => {
                        status.event();
                        session.expect(id, expect);
                    }
                    Ok(None) => {}
                    Err(why) => {
                        watch.fall_back(&connection, &why).await;
                        // Whether it is the connection that ended, and what was missed meanwhile.
                        session.version().await?;
                        took = session.list().await?;
                        listed = Instant::now();
                    }
                },
                () = session.due() => session.ask_due().await?,
                () = tokio::time::sleep_until(listed + pause) => {
                    took = session.list().await?;
                    listed = Instant::now();
                }
                _ = stats.tick() => session.ask_stats().await?,
            }
        }
    }
}
