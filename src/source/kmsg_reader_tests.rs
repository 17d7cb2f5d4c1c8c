#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::VecDeque,
    fs,
    io::Write,
    os::fd::BorrowedFd,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use super::*;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

const REPORT: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/kmsg/6.18/v1_parent_limit.txt"
));

fn start(path: &Path) -> (KmsgReader, Receiver<OomKill>, Arc<SelfMetrics>) {
    let metrics = Arc::new(SelfMetrics::default());
    let (kills, received) = channel();
    let on_kill = move |kill: OomKill| {
        let late = Timestamp::now().since(wall_clock(kill.stamp));
        eprintln!("kill of {:?} seen {late:?} after its stamp", kill.pid);
        kills.send(kill).unwrap_or_default();
    };
    let reader = KmsgReader::spawn(path, Arc::clone(&metrics), on_kill).unwrap();
    assert_eq!(metrics.kmsg_state(), KmsgState::Following);
    (reader, received, metrics)
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).open(path).unwrap()
}

#[test]
fn a_file_is_followed_from_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kmsg");
    fs::write(&path, REPORT).unwrap();
    let (reader, kills, metrics) = start(&path);
    let later = b"3,1,5,-;Killed process 99 (later) total-vm:1kB, anon-rss:1kB\n";
    append(&path).write_all(later).unwrap();
    let kill = kills.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        kill.pid,
        Some(99),
        "the report from before the start is not replayed"
    );
    assert_eq!(metrics.kmsg_records.get(), 1);
    reader.stop();
    assert_eq!(metrics.kmsg_state(), KmsgState::Off);
    assert!(kills.try_recv().is_err());
}

#[test]
fn a_fifo_may_give_pieces_and_its_writers_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kmsg");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (_reader, kills, metrics) = start(&path);
    for round in 1..=2u64 {
        let mut fifo = OpenOptions::new().write(true).open(&path).unwrap();
        for piece in REPORT.chunks(37) {
            fifo.write_all(piece).unwrap();
        }
        drop(fifo);
        if round == 1 {
            assert_eq!(kills.recv_timeout(PATIENCE).unwrap().pid, Some(11795));
        }
        let records = REPORT
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .count();
        wait_for("all records", || {
            metrics.kmsg_records.get() == round * records as u64
        });
    }
    assert!(
        kills.try_recv().is_err(),
        "the same kill again is not another one"
    );
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_summary_at_the_end_of_a_quiet_log_is_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kmsg");
    fs::write(&path, "").unwrap();
    let (_reader, kills, _) = start(&path);
    let end = REPORT.len() - REPORT.rsplit(|&byte| byte == b'\n').nth(1).unwrap().len() - 1;
    append(&path).write_all(&REPORT[..end]).unwrap();
    let kill = kills.recv_timeout(PATIENCE).unwrap();
    assert_eq!((kill.pid, kill.anon_rss_bytes), (Some(11795), None));
}

#[test]
fn lines_without_end_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kmsg");
    fs::write(&path, "").unwrap();
    let (_reader, kills, metrics) = start(&path);
    let mut file = append(&path);
    for _ in 0..100 {
        file.write_all(&[b'x'; 4096]).unwrap();
    }
    file.write_all(b"\n\xff\xfe\n\n;\n").unwrap();
    file.write_all(REPORT).unwrap();
    assert_eq!(kills.recv_timeout(PATIENCE).unwrap().pid, Some(11795));
    assert_eq!(metrics.kmsg_malformed.get(), 1);
}

#[test]
fn what_cannot_be_followed_says_what_to_do() {
    let metrics = Arc::new(SelfMetrics::default());
    let try_path = |path: &str| KmsgReader::spawn(Path::new(path), Arc::clone(&metrics), |_| {});
    let missing = try_path("/nonexistent/kmsg").unwrap_err();
    assert!(matches!(missing, KmsgError::Missing { .. }));
    assert!(
        missing.to_string().contains("/nonexistent/kmsg"),
        "{missing}"
    );
    assert_eq!(metrics.kmsg_state(), KmsgState::Unavailable);
    for odd in ["/", "/dev/null", "/dev/zero"] {
        let error = try_path(odd).unwrap_err();
        assert!(matches!(error, KmsgError::NotALog { .. }), "{odd}: {error}");
    }
    for errno in [Errno::EPERM, Errno::EACCES] {
        let error = KmsgError::new("open", Path::new(DEFAULT_PATH), errno.into());
        assert!(matches!(error, KmsgError::Denied { .. }));
        assert!(error.to_string().contains("CAP_SYSLOG"), "{error}");
    }
}

/// Answers `read` from a list.
struct Scripted {
    answers: VecDeque<Result<&'static [u8], Errno>>,
    fd: EventFd,
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.answers.pop_front().unwrap_or(Err(Errno::EAGAIN))?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl AsFd for Scripted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A follower of a log that `poll` never says anything of.
fn follow<F: FnMut(OomKill)>(
    answers: Vec<Result<&'static [u8], Errno>>,
    metrics: &Arc<SelfMetrics>,
    on_kill: F,
) -> Follower<Scripted, F> {
    Follower {
        file: Scripted {
            answers: answers.into(),
            fd: EventFd::new().unwrap(),
        },
        wake: Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()),
        stopping: Arc::default(),
        sleep: MAX_SLEEP,
        intake: Intake {
            metrics: Arc::clone(metrics),
            tracker: OomTracker::default(),
            on_kill,
            last: None,
            read: None,
            gap: false,
            warned: None,
        },
        lines: None,
    }
}

fn read_scripted(
    answers: Vec<Result<&'static [u8], Errno>>,
) -> (io::Result<Pause>, Vec<OomKill>, Arc<SelfMetrics>) {
    let metrics = Arc::new(SelfMetrics::default());
    let mut kills = Vec::new();
    let mut follower = follow(answers, &metrics, |kill| kills.push(kill));
    let pause = follower.read_some(&mut [0; MAX_RECORD_BYTES]);
    drop(follower);
    (pause, kills, metrics)
}

#[test]
fn overwritten_records_are_a_gap_and_reading_goes_on() {
    let invoked = b"4,1,1,-;java invoked oom-killer: gfp_mask=0x0".as_slice();
    let killed = b"3,9,9,-;Killed process 7 (java) total-vm:1kB".as_slice();
    let (pause, kills, metrics) = read_scripted(vec![
        Ok(invoked),
        Err(Errno::EPIPE),
        Err(Errno::EINTR),
        Err(Errno::EINVAL),
        Ok(killed),
    ]);
    assert!(matches!(pause, Ok(Pause::Dry)));
    assert_eq!(
        (
            metrics.kmsg_gaps.get(),
            metrics.kmsg_malformed.get(),
            metrics.kmsg_records.get()
        ),
        (1, 1, 2)
    );
    assert_eq!(metrics.kmsg_lost.get(), 7, "2 to 8");
    assert_eq!(kills.len(), 1);
    assert_eq!(
        (kills[0].pid, kills[0].invoked_by.as_deref()),
        (Some(7), None),
        "from before the gap"
    );
}

#[test]
fn a_log_that_says_nothing_is_looked_at_less_and_when_asked_at_once() {
    let metrics = Arc::new(SelfMetrics::default());
    let record = b"4,1,1,-;anything".as_slice();
    let mut follower = follow(vec![Ok(record)], &metrics, |_| {});
    assert!(follower.read_some(&mut [0; MAX_RECORD_BYTES]).is_ok());
    let mut sleeps = Vec::new();
    for _ in 0..6 {
        sleeps.push(follower.sleep.as_millis());
        follower.wait(Duration::ZERO, true).unwrap();
    }
    assert_eq!(sleeps, [50, 100, 200, 400, 500, 500]);

    let looker = Looker(Arc::clone(&follower.wake));
    looker.look();
    looker.look();
    let begun = Instant::now();
    follower.wait(PATIENCE, true).unwrap();
    assert!(begun.elapsed() < PATIENCE, "asked for");
    assert_eq!(follower.wake.read(), Err(Errno::EAGAIN), "once is enough");
}

#[test]
fn errors_that_stay_end_the_reading() {
    let (pause, ..) = read_scripted(vec![Err(Errno::EINVAL); READS_PER_POLL]);
    assert_eq!(
        pause.err().and_then(|error| error.raw_os_error()),
        Some(Errno::EINVAL as i32)
    );
    let (pause, ..) = read_scripted(vec![Err(Errno::EIO)]);
    assert_eq!(
        pause.err().and_then(|error| error.raw_os_error()),
        Some(Errno::EIO as i32)
    );
}

/// A memory cgroup with a limit of 8 MiB and one below it; both go when this does.
struct Cgroup {
    name: String,
    child: PathBuf,
}

impl Cgroup {
    fn make() -> Result<Self, String> {
        let (root, limit) = if Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let name = format!("cgauge-test-{}", std::process::id());
        let parent = Path::new(root).join(&name);
        let made = Self {
            child: parent.join("kid, x"),
            name,
        };
        let say = |what: &str, error: io::Error| format!("{what} {}: {error}", parent.display());
        fs::create_dir(&parent).map_err(|error| say("cannot make the cgroup", error))?;
        if limit == "memory.max" {
            fs::write(parent.join("cgroup.subtree_control"), "+memory")
                .map_err(|error| say("no memory controller in", error))?;
        }
        fs::create_dir(&made.child).map_err(|error| say("cannot make a cgroup in", error))?;
        fs::write(parent.join(limit), "8M").map_err(|error| say("cannot limit", error))?;
        // Absent without swap.
        let _ = fs::write(parent.join("memory.swap.max"), "0");
        Ok(made)
    }

    /// A shell that fills its memory in the cgroup below the limit.
    fn victim(&self) -> Child {
        Command::new("sh")
            .args([
                "-c",
                r#"echo $$ >"$0/cgroup.procs"; x=0123456789abcdef; while :; do x=$x$x; done"#,
            ])
            .arg(&self.child)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in [Some(self.child.as_path()), self.child.parent()]
            .into_iter()
            .flatten()
        {
            let deadline = Instant::now() + PATIENCE;
            while fs::remove_dir(folder)
                .is_err_and(|error| error.raw_os_error() == Some(Errno::EBUSY as i32))
                && Instant::now() < deadline
            {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

#[test]
fn a_real_kill_is_seen() {
    let skip = |why: &str| {
        assert!(
            std::env::var_os("CGAUGE_TEST_ALL").is_none(),
            "may not skip: {why}"
        );
        eprintln!("a_real_kill_is_seen: skipped: {why}");
    };
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root, to make a memory cgroup and to read the kernel log");
    }
    if let Err(error) = open(Path::new(DEFAULT_PATH)) {
        return skip(&error.to_string());
    }
    let cgroup = match Cgroup::make() {
        Ok(cgroup) => cgroup,
        Err(why) => return skip(&why),
    };
    let (reader, kills, metrics) = start(Path::new(DEFAULT_PATH));
    // A process that may write to the log cannot make a kill up.
    let forged =
        b"<3>Memory cgroup out of memory: Killed process 1 (forged) total-vm:1kB, anon-rss:1kB\n";
    OpenOptions::new()
        .write(true)
        .open(DEFAULT_PATH)
        .unwrap()
        .write_all(forged)
        .unwrap();
    let before = Timestamp::now().saturating_sub(Duration::from_secs(1));
    let mut victim = cgroup.victim();
    victim.wait().unwrap();
    let ours = |kill: &OomKill| kill.pid == Some(victim.id());
    let kill = loop {
        let kill = kills.recv_timeout(PATIENCE).unwrap();
        assert_ne!(kill.process_name.as_deref(), Some("forged"));
        if ours(&kill) {
            break kill;
        }
    };
    assert_eq!(kill.process_name.as_deref(), Some("sh"));
    assert_eq!(kill.constraint, Some(oom::Constraint::Memcg));
    let (oom, task) = (kill.oom_memcg.unwrap(), kill.task_memcg.unwrap());
    assert!(oom.ends_with(&format!("/{}", cgroup.name)), "{oom}");
    assert_eq!(task, format!("{oom}/kid, x"));
    assert_eq!(kill.memcg_limit_bytes, Some(8 << 20));
    assert!(
        kill.anon_rss_bytes.is_some_and(|bytes| bytes > 1 << 20),
        "{:?}",
        kill.anon_rss_bytes
    );
    let after = Timestamp::now().saturating_add(Duration::from_secs(1));
    let wall = wall_clock(kill.stamp);
    assert!(
        before < wall && wall < after,
        "{before:?} {wall:?} {after:?}"
    );
    reader.stop();
    assert!(!kills.try_iter().any(|kill| ours(&kill)), "once");
    assert_eq!(metrics.kmsg_state(), KmsgState::Off);
}
