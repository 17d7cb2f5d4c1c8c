//! The monitor under test, and what the kernel says of it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than cgauge's own deadline for stopping.
const STOP: Duration = Duration::from_secs(30);

pub struct Agent(Child);

impl Agent {
    /// Starts a program with these arguments.
    pub fn start(program: &str, arguments: &[String]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        Self(child)
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// CPU time used so far, user and system, seconds: that of all threads that live. Of the scheduler's
    /// clock, for `/proc/PID/stat` counts in steps of 10 ms.
    pub fn cpu(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let used = threads.flatten().filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        });
        used.sum::<f64>() / 1e9
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Memory in use, MB.
    pub fn resident(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<f64>().unwrap() / 1024.0
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
    pub fn stop(mut self, must_succeed: bool) -> Duration {
        let started = Instant::now();
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).unwrap();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success() || !must_succeed, "{status}");
                return started.elapsed();
            }
            assert!(started.elapsed() < STOP, "it does not end within {STOP:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
