//! Helper processes: shells that stand still until they are told to go, so that a test can put them
//! into a cgroup first. Only what both a Debian and a busybox `sh` can do is used.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::{SOON, wait_until};

/// Doubles a string until the memory limit ends it. No external program: the shell itself is the victim.
const EAT: &str = "x=0123456789abcdef; while :; do x=$x$x; done";

/// The kernel reports at most 10 OOM kills in 5 s in full; of the others only the line "Killed process"
/// gets into its log, which names no cgroup. Tests that need the report stay below that together.
const FULL_REPORTS: usize = 8;
const REPORT_WINDOW: Duration = Duration::from_millis(5500);

/// When the last kills were made, oldest first.
static KILLS: Mutex<VecDeque<Instant>> = Mutex::new(VecDeque::new());

/// Waits until the kernel will report a kill in full, and takes note of it.
fn wait_for_report() {
    let mut kills = KILLS.lock();
    while kills.len() >= FULL_REPORTS {
        let oldest = kills.pop_front().expect("not empty");
        std::thread::sleep((oldest + REPORT_WINDOW).saturating_duration_since(Instant::now()));
    }
    kills.push_back(Instant::now());
}

/// A process of ours; killed with all of its process group when dropped.
pub struct Helper {
    child: Child,
    go: Option<ChildStdin>,
    eats: bool,
}

impl Helper {
    /// A process that waits, then runs `script` in the same shell.
    pub fn held(script: &str) -> Self {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("read go || exit 0; {script}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let go = child.stdin.take();
        Self {
            child,
            go,
            eats: false,
        }
    }

    fn eating(script: &str) -> Self {
        let mut helper = Self::held(script);
        helper.eats = true;
        helper
    }

    /// Sleeps for longer than any test.
    pub fn sleeper() -> Self {
        Self::held("exec sleep 86400")
    }

    /// Burns one CPU.
    pub fn spinner() -> Self {
        Self::held("while :; do :; done")
    }

    /// Eats memory until it is killed; the process is alone in its cgroup ("pid 1").
    pub fn eater() -> Self {
        Self::eating(EAT)
    }

    /// An eater that the kernel chooses before all others.
    pub fn eater_chosen_first() -> Self {
        Self::eating(&format!("echo 1000 > /proc/self/oom_score_adj; {EAT}"))
    }

    /// A parent that survives a child which eats memory; [`go_and_read`](Self::go_and_read) gives the child's pid.
    pub fn parent_of_eater() -> Self {
        Self::eating(&format!("({EAT}) & echo $!; wait; exec sleep 86400"))
    }

    /// The process id, as this pid namespace counts.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The kernel's name for it (`/proc/PID/comm`).
    pub fn comm(&self) -> String {
        let path = format!("/proc/{}/comm", self.pid());
        std::fs::read_to_string(path)
            .expect("the helper lives")
            .trim_end()
            .to_owned()
    }

    /// Lets it go; an eater once the kernel will report its death in full.
    pub fn go(&mut self) {
        if self.eats {
            wait_for_report();
        }
        self.go_at_once();
    }

    /// Lets it go, however many were killed before.
    pub fn go_at_once(&mut self) {
        let mut pipe = self.go.take().expect("told to go once");
        pipe.write_all(b"go\n").expect("the helper waits");
        self.go = Some(pipe);
    }

    /// Lets it go and returns the first line that it prints.
    pub fn go_and_read(&mut self) -> String {
        self.go();
        let mut line = String::new();
        let pipe = self.child.stdout.as_mut().expect("stdout is a pipe");
        BufReader::new(pipe)
            .read_line(&mut line)
            .expect("the helper prints a line");
        line.trim_end().to_owned()
    }

    /// Tells those who wait for full reports of a kill that [`go_at_once`](Self::go_at_once) made.
    pub fn note_kill() {
        KILLS.lock().push_back(Instant::now());
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        wait_until(deadline, "the helper process ends", || {
            self.child.try_wait().expect("our child")
        })
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        // Not reaped yet, so neither the pid nor the group can be somebody else's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(
                Pid::from_raw(self.child.id().cast_signed()),
                Signal::SIGKILL,
            );
            let _ = self.child.wait();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends `signal` to our own child.
pub fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("our child takes a signal");
}

/// Waits for our own child, within a deadline.
pub fn wait_child(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    super::wait_for(deadline, || child.try_wait().expect("our child"))
}

/// The usual deadline for a helper that has been told to end.
pub const HELPER_ENDS: Duration = SOON;
