//! What cgauge costs on a node: the release program beside N real containers, what the kernel alone
//! would charge for the same reads, and what cAdvisor takes if there is one.
//!
//! ```text
//! cargo bench --bench node -- [N…] [--mode default|fixed]… [--load idle|busy|churning]… [--runs R] [--peer-runs R]
//!     [--settle S] [--seconds S] [--tries T] [--cgauge PROGRAM] [--peer PROGRAM | --no-peer] [-- FLAGS of cgauge]
//! ```
//!
//! Without arguments: 50 containers, both modes, both loads, once. The peer is the `cadvisor` on PATH, if
//! there is one. With `--test`, `--quick` or under `cargo test --benches`: 4 containers and a few
//! seconds, to see that it works. Needs root and cgroups; says so and ends well without them.
//!
//! The process that is started only watches: a child does the work, in a process group of its own. When the
//! child ends, however it ends, or on Ctrl-C, the group is killed and the cgroups are removed.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod client;
mod floor;
mod home;
mod measure;
mod process;
mod subject;
mod table;
mod tree;
mod visits;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use cgauge::cgroup::{ContainerName, Hierarchies};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use self::tree::Load;

/// Tells the child which cgroup is its own.
const TREE: &str = "BENCH_NODE_TREE";

/// Time to settle and to measure when only to see that it works.
const QUICK: Duration = Duration::from_secs(2);

/// What is to be measured.
#[derive(Debug, Clone)]
struct Options {
    sizes: Vec<usize>,
    modes: Vec<Mode>,
    /// To settle; what stands still is told from what moves after half a minute.
    settle: Duration,
    /// To measure.
    period: Duration,
    /// Containers made and removed one by one.
    tries: usize,
    loads: Vec<Load>,
    /// How often everything is measured, by turns.
    runs: usize,
    /// The peer.
    peer: Option<String>,
    /// How often that is measured, if not as often as cgauge: it takes its time.
    peer_runs: Option<usize>,
    /// The program to measure, if not this package's own: another version, to compare.
    cgauge: Option<String>,
    /// Further flags for cgauge.
    flags: Vec<String>,
}

/// How cgauge polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// As it comes: idle containers are polled less often.
    Default,
    /// Every container each second.
    Fixed,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Fixed => "fixed 1 s",
        }
    }

    pub fn is_fixed(self) -> bool {
        self == Self::Fixed
    }
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            sizes: Vec::new(),
            modes: Vec::new(),
            settle: Duration::from_secs(40),
            period: Duration::from_secs(20),
            tries: 50,
            loads: Vec::new(),
            runs: 1,
            peer: on_path("cadvisor"),
            peer_runs: None,
            cgauge: None,
            flags: Vec::new(),
        };
        // As criterion does: `cargo test --benches` passes nothing, `cargo bench` this.
        let arguments: Vec<String> = arguments.collect();
        let is_bench = arguments.iter().any(|argument| argument == "--bench");
        let quick = (!is_bench).then(|| "--test".to_owned());
        let mut arguments = quick.into_iter().chain(arguments);
        let number = |text: Option<String>| {
            text.and_then(|text| text.parse().ok())
                .ok_or("a number is missing".to_owned())
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {} // cargo's own
                "--test" | "--quick" => {
                    options.sizes = vec![4];
                    (options.settle, options.period) = (QUICK, QUICK);
                    options.tries = 3;
                }
                "--mode" => options.modes.push(match arguments.next().as_deref() {
                    Some("default") => Mode::Default,
                    Some("fixed") => Mode::Fixed,
                    _ => return Err("--mode is default or fixed".into()),
                }),
                "--settle" => options.settle = seconds(number(arguments.next())?),
                "--seconds" => options.period = seconds(number(arguments.next())?),
                "--load" => options.loads.push(match arguments.next().as_deref() {
                    Some("idle") => Load::Idle,
                    Some("busy") => Load::Busy,
                    Some("churning") => Load::Churning,
                    _ => return Err("--load is idle, busy or churning".into()),
                }),
                "--runs" => options.runs = number(arguments.next())?,
                "--peer-runs" => options.peer_runs = Some(number(arguments.next())?),
                "--peer" => options.peer = arguments.next(),
                "--no-peer" => options.peer = None,
                "--cgauge" => options.cgauge = arguments.next(),
                "--tries" => options.tries = number(arguments.next())?,
                "--" => options.flags = arguments.by_ref().collect(),
                size => options.sizes.push(number(Some(size.to_owned()))?),
            }
        }
        if options.sizes.is_empty() {
            options.sizes = vec![50];
        }
        if options.modes.is_empty() {
            options.modes = vec![Mode::Fixed, Mode::Default];
        }
        if options.loads.is_empty() {
            options.loads = vec![Load::Idle, Load::Busy];
        }
        Ok(options)
    }
}

fn seconds(number: usize) -> Duration {
    Duration::from_secs(number as u64)
}

fn on_path(program: &str) -> Option<String> {
    let paths = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&paths).map(|path| path.join(program));
    let found = found.into_iter().find(|path| path.is_file())?;
    found.into_os_string().into_string().ok()
}

fn main() -> ExitCode {
    if std::env::var_os(tree::BUSY).is_some() {
        tree::be_busy();
    }
    if std::env::var_os(visits::GREEDY).is_some() {
        visits::be_greedy();
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("node: {error}; see benches/node/main.rs");
            return ExitCode::FAILURE;
        }
    };
    let hierarchies = match Hierarchies::detect(Path::new("/proc"), Path::new("/"), None) {
        Ok(found) if nix::unistd::geteuid().is_root() => found,
        Ok(_) => return skip("making cgroups needs root"),
        Err(error) => return skip(error),
    };
    if let Some(name) = std::env::var_os(TREE) {
        // What the watching process blocked is blocked here, too, and would be in cgauge.
        SigSet::all().thread_unblock().unwrap();
        let name = ContainerName::root().child(&name);
        measure::run(&options, &hierarchies, &name);
        return ExitCode::SUCCESS;
    }
    let own = format!("cgauge-bench-{}", std::process::id());
    let name = ContainerName::root().child(own.as_ref());
    if let Err(error) = tree::can_make(&hierarchies, &name) {
        return skip(error);
    }
    let succeeded = watch(&own);
    tree::remove_all(&hierarchies, &name);
    if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn skip(why: impl std::fmt::Display) -> ExitCode {
    println!("node: skipped: {why}");
    ExitCode::SUCCESS
}

/// Runs the child to its end or to a signal, and ends all that it has started.
fn watch(own: &str) -> bool {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    // Before the child is started: none is missed.
    signals.thread_block().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(std::env::args().skip(1))
        .env(TREE, own)
        .process_group(0)
        .spawn()
        .unwrap();
    let group = Pid::from_raw(child.id().cast_signed());
    let succeeded = wait(&mut child, &signals);
    // The child is not yet reaped if it was a signal that ended this: the number is still its own.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    succeeded
}

fn wait(child: &mut Child, signals: &SigSet) -> bool {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Ok(Some(status)) = child.try_wait() {
                    return status.success();
                }
            }
            Ok(signal) => {
                println!("node: {signal}: removing the cgroups");
                return false;
            }
            Err(_) => {}
        }
    }
}
