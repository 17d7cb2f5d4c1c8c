//! Ends well when asked to, and starts again at once when it was not asked.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Address, Agent, SOON, TestCgroup, needs_cgroups, shared, wait_until};

/// Requests that are running when the signal comes.
const CLIENTS: usize = 4;
const STREAMS: usize = 8;

#[test]
fn sigterm_under_load_ends_streams_cleanly() {
    needs_cgroups!();
    let _machine = shared();
    let mut agent = Agent::start();
    let cgroup = TestCgroup::new("shutdown");
    agent.wait_container(cgroup.name());
    let mut streams: Vec<_> = (0..STREAMS).map(|_| agent.stream_below("/")).collect();
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for target in [
            "/api/v1.3/subcontainers/",
            "/metrics",
            "/api/v1.3/machine",
            "/healthz",
        ]
        .iter()
        .take(CLIENTS)
        {
            let client = agent.http().clone();
            let (stop, answers) = (&stop, &answers);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Refused once the server is gone; until then whole.
                    if client.get(target).is_ok() {
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let busy = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(SOON, "the load runs", || {
                (answers.load(Ordering::Relaxed) > 20).then_some(())
            });
            agent.stop()
        }));
        stop.store(true, Ordering::Relaxed);
        let (status, took) = busy.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!("ended {took:?} after SIGTERM");
        assert_eq!(status.code(), Some(0), "stderr:\n{}", agent.stderr());
    });
    for stream in &mut streams {
        // Whatever was told before, then the terminating chunk; a cut fails.
        while let Some(event) = stream
            .next_or_end(Duration::from_secs(5))
            .expect("ended, not just silent")
        {
            assert!(!event.name.is_empty());
        }
    }
}

#[test]
fn sigint_ends_as_sigterm_does() {
    let _machine = shared();
    let mut agent = Agent::start();
    let (status, _) = agent.stop_with(nix::sys::signal::Signal::SIGINT);
    assert_eq!(status.code(), Some(0), "stderr:\n{}", agent.stderr());
}

#[test]
fn after_sigkill_the_same_socket_works_at_once() {
    let _machine = shared();
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Unix(directory.path().join("same.sock"));
    for _ in 0..3 {
        let mut agent = Agent::builder().listen(address.clone()).start();
        agent.kill();
    }
    let agent = Agent::builder().listen(address).start();
    agent.wait_container("/");
}

#[test]
fn after_sigkill_the_same_port_works_at_once() {
    let _machine = shared();
    // Free now; only another process that binds by chance could take it meanwhile.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut agent = Agent::builder().listen(Address::Tcp(address)).start();
    // A connection that the server closes first leaves the port in TIME_WAIT.
    let _stream = agent.stream_below("/");
    agent.kill();
    let agent = Agent::builder().listen(Address::Tcp(address)).start();
    agent.wait_container("/");
}

#[test]
fn a_socket_in_use_is_not_stolen() {
    let _machine = shared();
    let agent = Agent::start();
    let flag = agent.http().address().to_flag();
    let (code, _, stderr) = crate::support::agent::run_to_end(&["--listen", &flag]);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(
        agent.http().get("/healthz").unwrap().status,
        200,
        "the first one still answers"
    );
}
