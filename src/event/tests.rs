//! Readers and the journal together.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use super::bus::READER_BACKLOG;
use super::restore::LEAP;
use super::*;
use crate::journal::{self, Epoch, Journal, Kind, Record};
use crate::self_metrics::SelfMetrics;

fn bus() -> EventBus {
    EventBus::new(EventLimits::default(), Arc::default())
}

/// One that keeps only so many of each type.
fn forgetful(number: usize) -> EventBus {
    let mut limits = EventLimits::default();
    for kind in EventType::ALL {
        limits.of_mut(kind).number = Some(number);
    }
    EventBus::new(limits, Arc::default())
}

fn publish(bus: &EventBus, name: &str) {
    publish_kind(bus, name, EventKind::ContainerCreation);
}

fn publish_kind(bus: &EventBus, name: &str, kind: EventKind) {
    bus.publish(Timestamp::now(), ContainerName::from_request(name), kind);
}

fn all() -> EventRequest {
    EventRequest::everything()
}

fn at(id: u64) -> Position {
    Position { epoch: None, id }
}

/// What a reader is given until nothing more is there: numbers of events, or what was missed.
async fn drain(reader: &mut Subscription) -> Vec<Result<u64, Missed>> {
    let mut items = Vec::new();
    loop {
        // What is there is given at once: a reader that waits has been given all.
        let next = tokio::time::timeout(Duration::from_millis(20), reader.next()).await;
        match next {
            Ok(Some(item)) => items.push(item.map(|event| event.id)),
            Ok(None) | Err(_) => return items,
        }
    }
}

fn ids(range: impl IntoIterator<Item = u64>) -> Vec<Result<u64, Missed>> {
    range.into_iter().map(Ok).collect()
}

#[tokio::test]
async fn a_reader_sees_what_it_asked_for_in_order() {
    let bus = bus();
    publish(&bus, "/before");
    let request = EventRequest {
        container: ContainerName::from_request("/a"),
        ..all()
    };
    let mut reader = bus.subscribe(request);
    for name in ["/a/1", "/b", "/a/2"] {
        publish(&bus, name);
    }
    drop(bus);
    let mut names = Vec::new();
    while let Some(event) = reader.next().await {
        names.push(event.unwrap().container.to_string());
    }
    assert_eq!(names, ["/a/1", "/a/2"]);
}

#[tokio::test]
async fn a_reader_that_sleeps_is_given_what_is_still_remembered() {
    let bus = bus();
    let mut asleep = bus.subscribe(all());
    let number = READER_BACKLOG as u64 * 2 + 100;
    for _ in 0..number {
        publish(&bus, "/a");
    }
    assert_eq!(drain(&mut asleep).await, ids(1..=number));
    publish(&bus, "/a");
    assert_eq!(drain(&mut asleep).await, ids([number + 1]));
}

#[tokio::test]
async fn a_reader_is_told_of_what_is_not_remembered_any_more() {
    let bus = forgetful(1_000);
    let mut asleep = bus.subscribe(all());
    let number = READER_BACKLOG as u64 + 100;
    for _ in 0..number {
        publish(&bus, "/a");
    }
    // The buffer still has the newest: only what is in neither is lost.
    let lost = 100;
    let mut want = vec![Err(Missed::Forgotten { number: lost })];
    want.extend(ids(lost + 1..=number));
    assert_eq!(drain(&mut asleep).await, want);
}

#[tokio::test]
async fn a_resumed_reader_gets_every_event_once() {
    let bus = bus();
    for _ in 0..2_000 {
        publish(&bus, "/a");
    }
    let mut reader = bus.resume(all(), at(500));
    for _ in 0..10 {
        publish(&bus, "/a");
    }
    assert_eq!(drain(&mut reader).await, ids(501..=2_010));
    assert_eq!(reader.seen(), 2_010);
    let mut reader = bus.resume(all(), bus.position(2_010));
    assert_eq!(drain(&mut reader).await, []);
    publish(&bus, "/a");
    assert_eq!(drain(&mut reader).await, ids([2_011]));
    let mut ends = bus.read(all(), Position::START);
    let mut number = 0;
    while let Some(event) = ends.next().await {
        number += 1;
        assert_eq!(event.unwrap().id, number);
        assert_eq!(ends.seen(), number, "to resume from here repeats nothing");
    }
    assert_eq!(number, 2_011);
}

#[tokio::test]
async fn types_come_in_one_order_and_filters_leave_no_gap() {
    let bus = bus();
    for n in 0..3_000 {
        match n % 3 {
            0 => publish(&bus, "/a"),
            1 => publish_kind(&bus, "/b", EventKind::Oom),
            _ => publish_kind(&bus, "/a/c", EventKind::OomKill(Arc::default())),
        }
    }
    assert_eq!(drain(&mut bus.resume(all(), at(0))).await, ids(1..=3_000));
    let kills = EventRequest {
        types: vec![EventType::OomKill],
        ..all()
    };
    assert_eq!(
        drain(&mut bus.resume(kills, at(4))).await,
        ids((6..=3_000).step_by(3))
    );
    let of_a = EventRequest {
        container: ContainerName::from_request("/a"),
        subcontainers: false,
        ..all()
    };
    let mut reader = bus.resume(of_a, at(0));
    assert_eq!(drain(&mut reader).await, ids((1..=3_000).step_by(3)));
    assert_eq!(
        reader.seen(),
        3_000,
        "what is not wanted has been seen, too"
    );
}

#[tokio::test]
async fn a_position_that_is_not_known_is_told() {
    let bus = forgetful(10);
    for _ in 0..15 {
        publish(&bus, "/a");
    }
    let unknown = Err(Missed::UnknownPosition);
    let with_all = |first: Result<u64, Missed>| {
        let mut want = vec![first];
        want.extend(ids(6..=15));
        want
    };
    let elsewhere = Position {
        epoch: Some(Epoch(1)),
        id: 12,
    };
    assert_eq!(
        drain(&mut bus.resume(all(), elsewhere)).await,
        with_all(unknown)
    );
    assert_eq!(
        drain(&mut bus.resume(all(), at(16))).await,
        with_all(unknown)
    );
    let forgotten = Err(Missed::Forgotten { number: 3 });
    assert_eq!(
        drain(&mut bus.resume(all(), at(2))).await,
        with_all(forgotten)
    );
    assert_eq!(
        drain(&mut bus.resume(all(), Position::START)).await,
        ids(6..=15)
    );
    assert_eq!(
        drain(&mut bus.resume(all(), bus.position(12))).await,
        ids(13..=15)
    );
}

#[tokio::test]
async fn what_is_dropped_before_a_slow_reader_comes_to_it_is_told() {
    let bus = forgetful(1_000);
    for _ in 0..1_000 {
        publish(&bus, "/a");
    }
    let mut reader = bus.resume(all(), Position::START);
    assert_eq!(reader.next().await.unwrap().unwrap().id, 1);
    for _ in 0..500 {
        publish(&bus, "/a");
    }
    let mut want = ids(2..=256);
    want.push(Err(Missed::Forgotten { number: 500 - 256 }));
    want.extend(ids(501..=1_500));
    assert_eq!(drain(&mut reader).await, want);
}

/// A life of a bus with a journal.
fn live(directory: &Path, limits: EventLimits) -> (EventBus, Arc<Journal>) {
    let metrics: Arc<SelfMetrics> = Arc::default();
    let mut past = Past::new(limits);
    let options = journal::Options::new(directory);
    let take = &mut |record: Record<'_>| past.take(&record);
    let (journal, read) = Journal::open(options, Arc::clone(&metrics), take).unwrap();
    let journal = Arc::new(journal);
    let bus = EventBus::with_journal(past, Arc::clone(&journal), read.epochs, metrics);
    (bus, journal)
}

fn flush(bus: &EventBus) {
    bus.flush(Instant::now() + Duration::from_secs(10));
}

/// Leaves the directory as `kill -9` would.
fn kill(bus: EventBus, journal: Arc<Journal>, directory: &Path) {
    let copy = tempfile::tempdir().unwrap();
    let files = || {
        std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
    };
    for file in files() {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    drop((bus, journal));
    for file in files() {
        std::fs::copy(copy.path().join(file.file_name()), file.path()).unwrap();
    }
}

#[tokio::test]
async fn events_and_positions_outlive_an_orderly_end() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, journal) = live(directory.path(), EventLimits::default());
    let mut reader = bus.subscribe(all());
    for _ in 0..10 {
        publish(&bus, "/a");
    }
    flush(&bus);
    assert_eq!(drain(&mut reader).await, ids(1..=10));
    let position = bus.position(7);
    let before = bus.past(&all());
    drop((bus, journal));

    let (bus, _journal) = live(directory.path(), EventLimits::default());
    assert_eq!(bus.past(&all()), before);
    assert_eq!(drain(&mut bus.resume(all(), position)).await, ids(8..=10));
    publish(&bus, "/b");
    flush(&bus);
    assert_eq!(drain(&mut bus.resume(all(), position)).await, ids(8..=11));
}

#[tokio::test]
async fn after_a_kill_numbers_leap_and_nothing_counts_as_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, journal) = live(directory.path(), EventLimits::default());
    for _ in 0..10 {
        publish(&bus, "/a");
    }
    flush(&bus);
    let position = |id| bus.position(id);
    let (seen, beyond) = (position(10), position(12));
    kill(bus, journal, directory.path());
    let mut numbers = vec![10];
    for life in 1..4 {
        let (bus, journal) = live(directory.path(), EventLimits::default());
        let last = numbers.last().unwrap() + LEAP + 1;
        publish(&bus, "/b");
        flush(&bus);
        numbers.push(last);
        assert_eq!(
            drain(&mut bus.resume(all(), seen)).await,
            ids(numbers[1..].iter().copied()),
            "life {life}"
        );
        // Shown, and then lost with the power: nobody knows what came behind it.
        let mut want = vec![Err(Missed::UnknownPosition)];
        want.extend(ids(numbers[1..].iter().copied()));
        assert_eq!(drain(&mut bus.resume(all(), beyond)).await, want);
        kill(bus, journal, directory.path());
    }
}

#[tokio::test]
async fn events_that_were_lost_on_disk_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, journal) = live(directory.path(), EventLimits::default());
    for _ in 0..10 {
        publish(&bus, "/a");
    }
    flush(&bus);
    let position = bus.position(2);
    drop((bus, journal));
    let [path] = &std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("one segment")
    };
    let mut bytes = std::fs::read(path).unwrap();
    for id in 4..7 {
        let text = format!("{{\"id\":{id},");
        let start = bytes
            .windows(text.len())
            .position(|part| part == text.as_bytes());
        bytes[start.unwrap()] = b'!';
    }
    std::fs::write(path, bytes).unwrap();
    let (bus, _journal) = live(directory.path(), EventLimits::default());
    let mut want = vec![Err(Missed::Forgotten { number: 3 })];
    want.extend(ids([3, 7, 8, 9, 10]));
    assert_eq!(drain(&mut bus.resume(all(), position)).await, want);
    assert_eq!(
        drain(&mut bus.resume(all(), bus.position(6))).await,
        ids(7..=10)
    );
    assert_eq!(
        drain(&mut bus.resume(all(), Position::START)).await,
        ids([1, 2, 3, 7, 8, 9, 10])
    );
}

#[tokio::test]
async fn the_bounds_hold_for_what_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, journal) = live(directory.path(), EventLimits::default());
    for _ in 0..10 {
        publish(&bus, "/a");
    }
    drop((bus, journal));
    let mut limits = EventLimits::default();
    limits.of_mut(EventType::ContainerCreation).number = Some(4);
    let (bus, _journal) = live(directory.path(), limits);
    assert_eq!(bus.kept(EventType::ContainerCreation), 4);
    let mut want = vec![Err(Missed::Forgotten { number: 1 })];
    want.extend(ids(7..=10));
    assert_eq!(drain(&mut bus.resume(all(), bus.position(5))).await, want);
}

#[tokio::test]
async fn without_a_disk_events_are_shown_under_an_epoch_of_their_own() {
    let (bus, journal) = live(Path::new("/proc/self/cgauge"), EventLimits::default());
    let mut reader = bus.subscribe(all());
    publish(&bus, "/a");
    assert_eq!(drain(&mut reader).await, ids([1]));
    assert_eq!(bus.epoch(), journal.epoch());
    let (again, _journal) = live(Path::new("/proc/self/cgauge"), EventLimits::default());
    assert_ne!(bus.epoch(), again.epoch());
}

#[test]
fn records_of_other_kinds_and_from_newer_versions_are_passed_over() {
    let mut past = Past::new(EventLimits::default());
    let mut take = |kind, payload: &[u8]| {
        past.take(&Record {
            sequence: 1,
            kind,
            payload,
        });
    };
    take(Kind(200), b"whatever");
    take(
        Kind::EVENT,
        b"{\"id\":1,\"type\":\"frozen\",\"time\":0,\"noticed\":0,\"container\":\"/\"}",
    );
    take(
        Kind::EVENT,
        b"{\"id\":5,\"type\":\"oom\",\"time\":0,\"noticed\":0,\"container\":\"/\"}",
    );
    take(
        Kind::EVENT,
        b"{\"id\":5,\"type\":\"oom\",\"time\":0,\"noticed\":0,\"container\":\"/\"}",
    );
    take(Kind::ENDED, b"");
    assert_eq!(past.malformed(), 2);
    assert_eq!(past.next_id(), 6);
}
