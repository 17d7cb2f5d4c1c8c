//! What is too long, too slow or too much.

use super::*;

#[tokio::test]
async fn the_silent_and_the_slow_are_closed() {
    let short = Duration::from_millis(60);
    let f = Fixture::start(Limits {
        header_timeout: short,
        ..Limits::default()
    })
    .await;
    // Nothing; half a preface; half a header, twice.
    for partial in ["", "PRI * HTTP/2.0\r\n", "GET /hello HTTP/1.1\r\nhost", "G"] {
        let mut c = f.connect().await;
        send(&mut c, partial).await;
        assert_eq!(
            String::from_utf8_lossy(&closed(&mut c).await),
            "",
            "{partial:?}"
        );
    }
    until("closed", || f.open() == 0).await;
    assert_eq!(
        (f.metrics.http.timeouts.get(), f.seen.calls.load(SeqCst)),
        (4, 0)
    );
    f.finish().await;
}

#[tokio::test]
async fn idle_connections_are_closed_but_not_busy_ones() {
    let short = Duration::from_millis(60);
    let f = Fixture::start(Limits {
        header_timeout: short,
        idle_timeout: short,
        ..Limits::default()
    })
    .await;
    let mut idle = f.connect().await;
    let mut busy = f.connect().await;
    let (mut h2, conn) = hyper::client::conn::http2::handshake(
        TokioExecutor::new(),
        TokioIo::new(f.connect().await),
    )
    .await
    .unwrap();
    let driver = tokio::spawn(conn);
    let request = http::Request::get("http://x/hello")
        .body(Empty::<Bytes>::new())
        .unwrap();
    drop(within("h2", h2.send_request(request)).await.unwrap());
    send(&mut busy, "GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(ask(&mut idle, Method::GET, "/hello").await.status, 200);
    closed(&mut idle).await;
    let _ = within("h2 goaway", driver).await.unwrap();
    until("only the busy one", || f.open() == 1).await;
    f.release.add_permits(1);
    assert_eq!(answer(&mut busy, Method::GET).await.body, b"released");
    f.finish().await;
}

#[tokio::test]
async fn what_is_too_long_or_no_path_never_reaches_the_service() {
    let f = Fixture::start(Limits::default()).await;
    let many = (0..10_000)
        .map(|i| format!("h{i}: x\r\n"))
        .collect::<String>();
    for (request, want) in [
        (
            "CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            405,
        ),
        ("CONNECT example.org:443 HTTP/1.0\r\n\r\n".to_owned(), 405),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400),
        (
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(9000)),
            414,
        ),
        (
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(40_000)),
            431,
        ),
        (format!("GET /hello HTTP/1.1\r\n{many}\r\n"), 431),
        ("GET hello HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\0\u{1}garbage\r\n\r\n".to_owned(), 400),
        (
            "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 65537\r\n\r\n".to_owned(),
            413,
        ),
    ] {
        let mut c = f.connect().await;
        let _ = c.write_all(request.as_bytes()).await; // it may be cut off while sending
        let said = String::from_utf8_lossy(&closed(&mut c).await).into_owned();
        let shown: String = request.chars().take(40).collect();
        assert!(
            said.starts_with(&format!("HTTP/1.1 {want} "))
                || said.starts_with(&format!("HTTP/1.0 {want} ")),
            "{shown:?}: {said:?}"
        );
    }
    assert_eq!(f.seen.calls.load(SeqCst), 0);
    let mut c = f.connect().await;
    assert_eq!(ask(&mut c, Method::GET, "http://x").await.status, 404); // absolute form: the path is "/"
    f.finish().await;
}

#[tokio::test]
async fn bodies_are_bounded_when_they_do_not_say_their_length() {
    let f = Fixture::start(Limits::default()).await;
    let mut c = f.connect().await;
    send(
        &mut c,
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(answer(&mut c, Method::POST).await.body, b"abc");
    send(
        &mut c,
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    for _ in 0..5 {
        let _ = c
            .write_all(format!("4000\r\n{}\r\n", "a".repeat(0x4000)).as_bytes())
            .await;
    }
    assert_eq!(answer(&mut c, Method::POST).await.status, 413);
    drop(c);
    f.finish().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off_unless_the_answer_is_endless() {
    let f = Fixture::start(Limits {
        write_deadline: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut endless = f.connect().await;
    send(
        &mut endless,
        "GET /events/flood HTTP/1.1\r\nhost: x\r\n\r\n",
    )
    .await;
    until("it floods", || f.seen.endless_chunks.load(SeqCst) > 0).await;
    // Two, one after the other: when the second is cut off, the endless one has been stalled for
    // longer than the deadline as well.
    for cut in 1..=2 {
        let mut finite = f.connect().await;
        send(&mut finite, "GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await;
        until("cut off", || f.metrics.http.timeouts.get() == cut).await;
        until("and gone", || f.open() == 1).await;
        assert!(closed(&mut finite).await.len() < BIG);
    }
    let before = f.seen.endless_chunks.load(SeqCst);
    // The endless one goes on as soon as it is read again.
    let mut sink = vec![0; 1 << 20];
    while f.seen.endless_chunks.load(SeqCst) < before + 10 {
        assert!(within("more", endless.read(&mut sink)).await.unwrap() > 0);
    }
    drop(endless);
    f.finish().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let f = Fixture::start(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    let mut first = f.connect().await;
    assert_eq!(ask(&mut first, Method::GET, "/hello").await.status, 200);
    let mut second = f.connect().await;
    let refused = ask(&mut second, Method::GET, "/hello").await;
    assert_eq!(
        (refused.status, refused.body),
        (503, b"too many connections\n".to_vec())
    );
    assert_eq!(f.metrics.http.connections_refused.get(), 1);
    assert_eq!(ask(&mut first, Method::GET, "/hello").await.status, 200);
    drop(first);
    until("room again", || f.open() == 0).await;
    assert_eq!(
        ask(&mut f.connect().await, Method::GET, "/hello")
            .await
            .status,
        200
    );
    drop(second);
    f.finish().await;
}
