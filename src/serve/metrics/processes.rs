//! Processes, their files, and what the scheduler says of them.

use super::family::{Family, From, counter, gauge};

/// Processes, files, threads.
pub(super) const PROCESS: &[Family] = &[
    gauge(
        "container_processes",
        "Processes of the container itself.",
        From::Count(|s| s.processes.processes),
    ),
    gauge(
        "container_file_descriptors",
        "Files that the container's own processes have open.",
        From::Count(|s| s.processes.file_descriptors),
    ),
    gauge(
        "container_sockets",
        "Of these, sockets.",
        From::Count(|s| s.processes.sockets),
    ),
    gauge(
        "container_threads",
        "Threads in the container and below it.",
        From::Count(|s| s.pids.current),
    ),
    gauge(
        "container_ulimits_soft",
        "Soft resource limits of the container's first process.",
        From::Several(|_, c, emit| {
            let files = c.sample.processes.max_open_files;
            emit.sample(
                &[("ulimit", &"max_open_files")],
                files.map(super::family::Value::Count),
            );
        }),
    ),
];

/// Run queue statistics.
pub(super) const SCHED: &[Family] = &[
    counter(
        "container_cpu_schedstat_run_seconds_total",
        "Time that the processes' main threads ran.",
        From::Nanos(|s| s.sched.run_ns),
    ),
    counter(
        "container_cpu_schedstat_runqueue_seconds_total",
        "Time that they waited in a run queue.",
        From::Nanos(|s| s.sched.wait_ns),
    ),
    counter(
        "container_cpu_schedstat_run_periods_total",
        "Times that they were given a CPU.",
        From::Count(|s| s.sched.periods),
    ),
];

/// What tasks do.
pub(super) const LOAD: &[Family] = &[
    gauge(
        "container_cpu_load_average_10s",
        "Average of the tasks that run or are ready to, over the last ten seconds, in thousandths.",
        From::Count(|s| s.load.average_milli),
    ),
    gauge(
        "container_cpu_load_d_average_10s",
        "The same of the tasks that wait and cannot be interrupted.",
        From::Count(|s| s.load.d_average_milli),
    ),
    gauge(
        "container_tasks_state",
        "Tasks of the container itself, by what they do.",
        From::Several(|_, c, emit| {
            let load = &c.sample.load;
            for (state, count) in [
                ("running", load.running),
                ("sleeping", load.sleeping),
                ("stopped", load.stopped),
                ("uninterruptible", load.uninterruptible),
            ] {
                emit.sample(&[("state", &state)], count.map(super::family::Value::Count));
            }
        }),
    ),
];
