//! The `cgauge` command: arguments, configuration, run, exit code.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use cgauge::config::{self, Config, Invocation};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::report::report(&error, &mut io::stderr()),
    }
}

fn run() -> anyhow::Result<()> {
    match config::parse(std::env::args_os().skip(1), std::env::vars_os())? {
        Invocation::Print(text) => {
            cli::report::quiet_pipe(io::stdout().write_all(text.as_bytes()))?
        }
        Invocation::Events(args, config) => {
            cli::runtime(1)?.block_on(cli::events::run(
                &args,
                &config,
                &mut io::stdout(),
                &mut io::stderr(),
            ))?;
        }
        Invocation::Why(args, config) => {
            cli::runtime(1)?.block_on(cli::why::run(&args, &config, &mut io::stdout()))?;
        }
        Invocation::Check(config) => {
            start(&config)?.block_on(cgauge::agent::check(config, &mut io::stdout()))?;
        }
        Invocation::Run(config) => start(&config)?.block_on(cgauge::agent::run(config))?,
    }
    Ok(())
}

/// Logging first, then what the configuration has to say, then the threads.
fn start(config: &Config) -> anyhow::Result<tokio::runtime::Runtime> {
    cli::logging::start(&config.process.log)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for flag in &config.ignored {
        tracing::warn!("{flag}");
    }
    cli::runtime(cli::worker_threads(config.process.max_procs))
}
