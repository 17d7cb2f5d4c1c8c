//! The cgauge under test, and what the kernel says of it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, the same on every architecture of today.
const TICKS: f64 = 100.0;

/// Longer than cgauge's own deadline for stopping.
const STOP: Duration = Duration::from_secs(30);

pub struct Agent(Child);

impl Agent {
    /// Starts `program`, or this package's own.
    pub fn start(program: Option<&str>, socket: &str, flags: &[String]) -> Self {
        let child = Command::new(program.unwrap_or(env!("CARGO_BIN_EXE_cgauge")))
            .args(["run", "--log-level=warn"])
            .arg(format!("--listen=unix:{socket}"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// CPU time used so far, user and system, seconds.
    pub fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let mut fields = fields.split(' ').skip(11);
        let mut ticks = || fields.next().unwrap().parse::<f64>().unwrap();
        (ticks() + ticks()) / TICKS
    }

    /// Memory in use, MB, now and at most so far.
    pub fn memory(&self) -> (f64, f64) {
        let status = self.proc("status");
        let megabytes = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<f64>()
                .unwrap()
                / 1024.0
        };
        (megabytes("VmRSS:"), megabytes("VmHWM:"))
    }

    /// Open descriptors, and inotify watches.
    pub fn descriptors(&self) -> (usize, usize) {
        let directory = format!("/proc/{}/fdinfo", self.0.id());
        let (mut descriptors, mut watches) = (0, 0);
        for entry in fs::read_dir(directory).unwrap().flatten() {
            descriptors += 1;
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            watches += text
                .lines()
                .filter(|line| line.starts_with("inotify wd"))
                .count();
        }
        (descriptors, watches)
    }

    /// Asks it to end. How long that took.
    pub fn stop(mut self) -> Duration {
        let started = Instant::now();
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).unwrap();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success(), "cgauge: {status}");
                return started.elapsed();
            }
            assert!(
                started.elapsed() < STOP,
                "cgauge does not end within {STOP:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
