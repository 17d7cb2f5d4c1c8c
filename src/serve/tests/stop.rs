//! Stopping, and who is cut off.

use super::*;

#[tokio::test]
async fn slow_readers_do_not_slow_others_and_are_cut_off_at_the_end() {
    const SLOW: u64 = 200;
    let f = Fixture::start(Limits::default()).await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut c = f.connect_small().await;
        send(&mut c, "GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await;
        slow.push(c);
    }
    until("all are being answered", || {
        f.seen.calls.load(SeqCst) as u64 == SLOW
    })
    .await;
    let mut fast = f.connect().await;
    for _ in 0..20 {
        assert_eq!(ask(&mut fast, Method::GET, "/hello").await.body, b"hello");
    }
    assert_eq!(ask(&mut fast, Method::GET, "/big").await.body.len(), BIG);
    assert_eq!(f.open(), SLOW + 1, "the slow ones are still there");
    let metrics = f.metrics.clone();
    let cut_off = within("drain", f.server.drain(Duration::from_millis(50))).await;
    assert_eq!(
        (
            cut_off as u64,
            metrics.http.cut_off.get(),
            metrics.http.connections_open.get()
        ),
        (SLOW, SLOW, 0)
    );
}

#[tokio::test]
async fn stopping_ends_streams_cleanly_and_closes_the_idle() {
    let f = Fixture::start(Limits::default()).await;
    let (mut stream, mut idle, mut silent) =
        (f.connect().await, f.connect().await, f.connect().await);
    assert_eq!(ask(&mut idle, Method::GET, "/hello").await.status, 200);
    send(&mut stream, "GET /events/tick HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut stream, b"tick\n\r\n").await;
    until("accepted", || f.open() == 3).await;
    let (seen, addr) = (f.seen.clone(), f.addr.clone());
    f.finish().await;
    assert_eq!(closed(&mut stream).await, b"0\r\n\r\n", "a clean end");
    assert_eq!(
        (closed(&mut idle).await, closed(&mut silent).await),
        (vec![], vec![])
    );
    until("the writer is told", || seen.writers_told.load(SeqCst) == 1).await;
    drop(addr.bind().await.unwrap()); // the address is free again
}

#[tokio::test]
async fn stopping_waits_for_requests_in_progress_and_no_longer_than_told() {
    for released in [true, false] {
        let f = Fixture::start(Limits::default()).await;
        let mut c = f.connect().await;
        send(&mut c, "GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await;
        until("in progress", || f.seen.calls.load(SeqCst) == 1).await;
        let mut half = f.connect().await;
        send(&mut half, "GET /hello HTTP/1.1\r\nho").await;
        until("accepted", || f.open() == 2).await;
        if released {
            drop(half);
            f.release.add_permits(1);
            assert_eq!(within("drain", f.server.drain(PATIENCE)).await, 0);
            assert_eq!(answer(&mut c, Method::GET).await.body, b"released");
        } else {
            assert!(within("drain", f.server.drain(Duration::from_millis(50))).await >= 1);
            assert_eq!(closed(&mut c).await, b"");
            assert_eq!(f.metrics.http.connections_open.get(), 0);
        }
    }
}

#[tokio::test]
async fn stopping_drops_http2_handlers_with_their_connection() {
    let f = Fixture::start(Limits::default()).await;
    let io = TokioIo::new(f.connect().await);
    let (mut client, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let driver = tokio::spawn(conn);
    let request = http::Request::get("http://x/stuck")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let asked = tokio::spawn(client.send_request(request));
    until("in progress", || f.seen.calls.load(SeqCst) == 1).await;
    let seen = f.seen;
    assert_eq!(
        within("drain", f.server.drain(Duration::from_millis(50))).await,
        1
    );
    assert_eq!(
        Arc::strong_count(&seen),
        1,
        "nothing of the service is left"
    );
    assert!(within("answer", asked).await.unwrap().is_err());
    let _ = within("close", driver).await.unwrap();
}
