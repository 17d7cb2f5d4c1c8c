//! What only the command needs: logging, messages on stderr, and the clients behind `cgauge events`
//! and `cgauge why`.

mod event_line;
pub mod events;
pub mod logging;
pub mod report;
mod request;
pub mod why;
mod why_text;

use anyhow::Context;

/// Threads that answer requests unless told otherwise: answering is cheap, and the readers of
/// cgroup files have threads of their own.
const DEFAULT_WORKER_THREADS: usize = 4;

/// How many threads answer requests.
pub fn worker_threads(max_procs: Option<usize>) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    max_procs.unwrap_or(cpus.min(DEFAULT_WORKER_THREADS))
}

/// The runtime that answers requests.
pub fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name("cgauge")
        .enable_all()
        .build()
        .context("cannot start threads; check the limit on processes (ulimit -u, TasksMax=)")
}
