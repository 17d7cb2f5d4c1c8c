//! The log: stderr, one line an event, colours only on a terminal.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Starts logging with these directives (a level, or `target=level,…`).
pub fn start(directives: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(directives)
        .context("cannot understand the log level")?;
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
