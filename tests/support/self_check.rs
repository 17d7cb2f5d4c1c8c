//! Tests of the support library itself, so that a red test tells of the agent and not of the tools.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::http::encode_path;
use super::{Address, Client, Helper, Layout, SOON, TestCgroup, needs_cgroups, shared, wait_until};

/// Serves one connection with these bytes, then closes it.
fn serve_once(answer: &'static [&'static [u8]]) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|w| w == b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        for part in answer {
            connection.write_all(part).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    Client::new(Address::Tcp(address))
}

#[test]
fn client_reads_a_body_of_known_length() {
    let client = serve_once(&[
        b"HTTP/1.1 200 OK\r\nX-Odd:  a b \r\nContent-Length: 7\r\n\r\n{\"a\":1}trailing",
    ]);
    let response = client.get("/x").unwrap();
    assert_eq!(
        (response.status, response.header("x-odd")),
        (200, Some("a b"))
    );
    assert_eq!(response.json()["a"], 1);
}

#[test]
fn client_reads_a_chunked_body_in_pieces() {
    let client = serve_once(&[
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nab",
        b"c\r\n1",
        b"0\r\n0123456789abcdef\r\n",
        b"0\r\n\r\n",
    ]);
    let response = client.get("/").unwrap();
    assert_eq!(
        (response.status, response.text().as_str()),
        (500, "abc0123456789abcdef")
    );
}

#[test]
fn stream_gives_lines_and_tells_an_end_from_a_cut() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut ends = serve_once(&[HEAD, b"4\r\na\nb\n\r\n2\r\nc\n\r\n0\r\n\r\n"])
        .stream("/")
        .unwrap();
    let lines: Vec<_> = std::iter::from_fn(|| ends.next_line(SOON).unwrap()).collect();
    assert_eq!(lines, ["a", "b", "c"]);
    let mut cut = serve_once(&[HEAD, b"2\r\na\n\r\n"]).stream("/").unwrap();
    assert_eq!(cut.next_line(SOON).unwrap().as_deref(), Some("a"));
    assert_eq!(
        cut.next_line(SOON).unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
}

#[test]
fn names_are_escaped_for_the_request_line() {
    assert_eq!(encode_path("/a b/ü\n\\x"), "/a%20b/%C3%BC%0A%5Cx");
}

#[test]
fn cgroups_are_made_filled_limited_and_removed() {
    needs_cgroups!();
    let _machine = shared();
    let mut cgroup = TestCgroup::new("self");
    cgroup.child("inner").limit_memory(32 << 20);
    assert!(cgroup.paths().iter().all(|p| p.join("inner").is_dir()));
    let inner = cgroup.child("second");
    let pid = {
        let helper = inner.add(Helper::spinner());
        helper.go();
        helper.pid()
    };
    let procs = inner.read("memory", "cgroup.procs", "cgroup.procs");
    assert_eq!(procs, pid.to_string());
    wait_until(SOON, "the spinner's time is counted", || {
        (inner.cpu_usage_ns() > 1_000_000).then_some(())
    });
    let paths = cgroup.paths();
    drop(cgroup);
    assert!(paths.iter().all(|p| !p.exists()), "{paths:?}");
}

#[test]
fn eater_is_killed_by_the_limit_of_its_cgroup() {
    needs_cgroups!();
    if Layout::get().with("memory").is_none() {
        super::skip!("no memory controller");
    }
    let _machine = shared();
    let mut cgroup = TestCgroup::new("self-eater");
    cgroup.limit_memory(24 << 20);
    let helper = cgroup.add(Helper::eater());
    helper.go();
    let status = helper.wait(SOON);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
}

#[test]
fn parent_survives_the_child_that_is_killed() {
    needs_cgroups!();
    if Layout::get().with("memory").is_none() {
        super::skip!("no memory controller");
    }
    let _machine = shared();
    let mut cgroup = TestCgroup::new("self-child");
    cgroup.limit_memory(24 << 20);
    let helper = cgroup.add(Helper::parent_of_eater());
    let child = helper.go_and_read();
    assert_ne!(child, helper.pid().to_string());
    let parent = helper.pid().to_string();
    wait_until(SOON, "the child is killed, the parent lives", || {
        (cgroup.read("memory", "cgroup.procs", "cgroup.procs") == parent).then_some(())
    });
}
