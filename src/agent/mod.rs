//! COMPOSE: the only place that sees every stage: build, spawn, stop within a deadline.

use crate::config::Config;

/// Monitors this node until told to stop.
///
/// # Errors
/// When the monitor cannot start; the message says what failed and what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let _ = config;
    anyhow::bail!("`run` is not wired up yet")
}

/// Says on `out` what works here and what does not.
///
/// # Errors
/// When `out` cannot be written.
pub async fn check(config: Config, out: &mut (dyn std::io::Write + Send)) -> anyhow::Result<()> {
    let _ = (config, out);
    anyhow::bail!("`check` is not wired up yet")
}
