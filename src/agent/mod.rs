//! COMPOSE: the `cgauge` program: a [`Monitor`] and the servers that answer for it, built, run and
//! stopped within a deadline. A thin user of the library: no private doors.

mod allocator;
pub mod check;
mod settings;

use std::time::Instant;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::monitor::Monitor;
use crate::serve::listen::{ListenAddr, Listener};
use crate::serve::prefix::Prefixed;
use crate::serve::routes;
use crate::serve::server::{self, Limits};
pub use check::check;

/// Monitors this node until told to stop (SIGTERM or SIGINT; a second one ends the process at once).
///
/// # Errors
/// When it cannot start: no cgroups, an address that is taken. The message says what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let begun = Instant::now();
    allocator::tune();
    // Addresses first: a second cgauge ends here, before it has read anything.
    let listeners = bind(&config).await?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let monitor = settings::builder(&config).start().await?;

    let stop = CancellationToken::new();
    let addresses = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.to_string()))
        .collect::<std::io::Result<Vec<_>>>()?;
    let routes = routes::all(&monitor.view(), &settings::routes(&config));
    let routes = Prefixed::new(&config.server.url_base_prefix, warp::service(routes));
    let metrics = monitor.self_metrics().clone();
    let server = server::serve(listeners, routes, Limits::default(), stop, metrics);
    announce(&monitor, &addresses, &config.server.url_base_prefix, begun);
    notify(&[sd_notify::NotifyState::Ready]);

    let trimmer = tokio::spawn(trim_memory());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    trimmer.abort();
    tracing::info!("stopping");
    notify(&[sd_notify::NotifyState::Stopping]);
    let end = async {
        // Readers of event streams see everything up to the stop, and then a clean end.
        monitor.shutdown().await;
        server.drain(config.process.shutdown_timeout).await
    };
    tokio::select! {
        cut_off = end => {
            if cut_off > 0 {
                tracing::warn!(connections = cut_off, "some clients were cut off at the deadline");
            }
        }
        _ = terminate.recv() => anyhow::bail!("ended at once, by a second signal"),
        _ = interrupt.recv() => anyhow::bail!("ended at once, by a second signal"),
    }
    Ok(())
}

async fn trim_memory() {
    let mut ticks = tokio::time::interval(allocator::TRIM_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // An error says that the runtime is ending.
        let _ = tokio::task::spawn_blocking(allocator::trim).await;
    }
}

async fn bind(config: &Config) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for address in config.server.addresses() {
        let address: ListenAddr = address.to_string().parse()?;
        listeners.push(address.bind().await?);
    }
    Ok(listeners)
}

/// What a person wants to know at start: what is monitored, where to look, what is missing and why.
fn announce(monitor: &Monitor, addresses: &[String], prefix: &str, begun: Instant) {
    let roots: Vec<String> = monitor
        .hierarchies()
        .iter()
        .map(|(_, hierarchy)| hierarchy.root.display().to_string())
        .collect();
    tracing::info!(
        "monitoring {} containers: cgroup {} at {}",
        monitor.container_count(),
        monitor.mode(),
        roots.join(", ")
    );
    for shortcoming in monitor.shortcomings() {
        tracing::warn!("missing: {}: {}", shortcoming.what, shortcoming.why);
    }
    for address in addresses {
        tracing::info!(
            "ready after {} ms: {}",
            begun.elapsed().as_millis(),
            where_to_look(address, prefix)
        );
    }
}

/// An address as something to paste.
fn where_to_look(address: &str, prefix: &str) -> String {
    match address.strip_prefix("unix:") {
        Some(path) => format!("curl --unix-socket {path} http://localhost{prefix}/"),
        None => format!("http://{address}{prefix}/"),
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Not under systemd is the ordinary case, and no error.
    let _ = sd_notify::notify(states);
}
