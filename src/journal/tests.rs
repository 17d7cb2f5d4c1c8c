//! The journal on real files: what is promised when it is cut, damaged, full, slow or gone.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::frame::{FRAME_BYTES, HEADER_BYTES, Header};
use super::*;

const SOON: Duration = Duration::from_secs(10);

fn options(directory: &Path) -> Options {
    Options {
        sync_interval: Duration::from_millis(5),
        stall_limit: Duration::from_millis(200),
        retry: (Duration::from_millis(1), Duration::from_millis(10)),
        ..Options::new(directory)
    }
}

type Read = Vec<(u64, Vec<u8>)>;

/// A journal, and the events that were in it.
fn open(directory: &Path) -> (Journal, ReadBack, Read) {
    open_with(options(directory), |disk| disk)
}

/// One with short segments.
fn open_small(directory: &Path) -> (Journal, ReadBack, Read) {
    let mut options = options(directory);
    options.max_bytes = 1;
    open_with(options, |disk| disk)
}

fn open_with(options: Options, change: impl FnOnce(Disk) -> Disk) -> (Journal, ReadBack, Read) {
    let mut read = Vec::new();
    let mut take = |record: Record<'_>| {
        if record.kind == Kind::EVENT {
            read.push((record.sequence, record.payload.to_vec()));
        }
    };
    let (journal, report) = Journal::open_with(options, Arc::default(), &mut take, change).unwrap();
    (journal, report, read)
}

fn write(journal: &Journal, payloads: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    for payload in payloads {
        journal.append(Kind::EVENT, payload.as_ref());
    }
    journal.flush(Instant::now() + SOON);
}

/// Ends it as `kill -9` would: nothing more is written.
fn kill(journal: Journal) {
    let directory = journal.shared.options.directory.clone();
    let before: Vec<_> = segment::list(&directory).unwrap();
    drop(journal);
    for file in before {
        let kept = fs::OpenOptions::new().write(true).open(&file.path).unwrap();
        kept.set_len(file.bytes).unwrap();
    }
}

fn payloads(read: &Read) -> Vec<String> {
    read.iter()
        .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

fn only_segment(directory: &Path) -> PathBuf {
    let [segment] = &segment::list(directory).unwrap()[..] else {
        panic!("one segment")
    };
    segment.path.clone()
}

fn wait_for(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !look() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn records_and_their_numbers_go_on_over_lives() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, report, read) = open(directory.path());
    assert_eq!((report, read.len()), (ReadBack::default(), 0));
    let epoch = journal.epoch();
    write(&journal, ["a", "b"]);
    journal.close(Instant::now() + SOON);
    drop(journal);

    let (journal, report, read) = open(directory.path());
    assert_eq!(payloads(&read), ["a", "b"]);
    assert!(
        report.ended_in_order && report.losses.is_empty(),
        "{report:?}"
    );
    assert_eq!((journal.epoch(), &report.epochs[..]), (epoch, &[epoch][..]));
    write(&journal, ["c"]);
    kill(journal);

    let (_journal, report, read) = open(directory.path());
    assert_eq!(payloads(&read), ["a", "b", "c"]);
    assert!(
        !report.ended_in_order && report.losses.is_empty(),
        "{report:?}"
    );
    assert!(read.is_sorted(), "{read:?}");
    assert_eq!(
        segment::list(directory.path()).unwrap().len(),
        1,
        "one file goes on"
    );
}

#[test]
fn listeners_hear_of_records_only_once_they_are_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, ..) = open(directory.path());
    let path = only_segment(directory.path());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    journal.on_settled(move |settled| {
        let bytes = fs::read(&path).unwrap();
        let last = frame::pieces(&bytes, HEADER_BYTES)
            .filter_map(|piece| match piece {
                frame::Piece::Record(record) => Some(record.sequence),
                frame::Piece::Damage(..) => None,
            })
            .last();
        hears.lock().push((settled, last));
    });
    let mut last = 0;
    for n in 0..500 {
        last = journal.append(Kind::EVENT, format!("event {n}").as_bytes());
    }
    wait_for("all are settled", || {
        heard
            .lock()
            .last()
            .is_some_and(|(settled, _)| *settled == last)
    });
    for (settled, on_disk) in &*heard.lock() {
        assert!(
            on_disk.is_some_and(|on_disk| on_disk >= *settled),
            "{settled} {on_disk:?}"
        );
    }
}

#[test]
fn cut_at_every_byte_of_the_last_record() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, ..) = open(directory.path());
    write(&journal, ["first", "second", "the last one"]);
    kill(journal);
    let path = only_segment(directory.path());
    let whole = fs::read(&path).unwrap();
    let begin = whole.len() - FRAME_BYTES - "the last one".len();
    for cut in begin..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (journal, report, read) = open(directory.path());
        assert_eq!(payloads(&read), ["first", "second"], "cut at {cut}");
        let torn = Loss::TornTail {
            path: path.clone(),
            offset: begin as u64,
            bytes: (cut - begin) as u64,
        };
        let told: &[Loss] = if cut == begin { &[] } else { &[torn] };
        assert_eq!(report.losses, told);
        assert_eq!(report.lost_bytes, (cut - begin) as u64);
        write(&journal, ["afterwards"]);
        kill(journal);
        let (journal, report, read) = open(directory.path());
        assert_eq!(payloads(&read), ["first", "second", "afterwards"]);
        assert_eq!(report.losses, [], "the tail was cut off");
        kill(journal);
    }
}

#[test]
fn a_header_cut_at_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, ..) = open(directory.path());
    kill(journal);
    let path = only_segment(directory.path());
    let whole = fs::read(&path).unwrap();
    for cut in 0..HEADER_BYTES {
        fs::remove_dir_all(directory.path()).unwrap();
        fs::create_dir(directory.path()).unwrap();
        fs::write(&path, &whole[..cut]).unwrap();
        let (journal, ..) = open(directory.path());
        write(&journal, ["x"]);
        assert_eq!(journal.status().mode, Mode::Writing);
        drop(journal);
        assert_eq!(payloads(&open(directory.path()).2), ["x"], "cut at {cut}");
    }
}

#[test]
fn records_behind_damage_are_found_and_the_loss_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, ..) = open(directory.path());
    write(&journal, (0..100).map(|n| format!("event number {n:03}")));
    kill(journal);
    let path = only_segment(directory.path());
    let whole = fs::read(&path).unwrap();
    let each = FRAME_BYTES + "event number 000".len();
    let begin = whole.len() - 100 * each;
    // Twenty records in the middle are noise, and five in the tail.
    let mut bytes = whole.clone();
    let mut noise = 1_u32;
    for (at, byte) in bytes.iter_mut().enumerate() {
        let record = at.saturating_sub(begin) / each;
        if at >= begin && ((40..60).contains(&record) || record >= 95) {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = noise.to_be_bytes()[0];
        }
    }
    fs::write(&path, &bytes).unwrap();
    let (_journal, report, read) = open(directory.path());
    let want: Vec<String> = (0..40)
        .chain(60..95)
        .map(|n| format!("event number {n:03}"))
        .collect();
    assert_eq!(payloads(&read), want);
    assert_eq!(report.lost_bytes, 25 * each as u64);
    assert_eq!(report.lost_records, 20);
    assert!(
        matches!(&report.losses[..], [
            Loss::Damage { offset, bytes, .. },
            Loss::Missing { number: 20, .. },
            Loss::TornTail { .. },
        ] if *offset == (begin + 40 * each) as u64 && *bytes == 20 * each as u64),
        "{:?}",
        report.losses
    );
}

#[test]
fn segments_that_are_missing_truncated_or_noise_cost_what_they_held() {
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        let (journal, ..) = open_small(directory.path());
        // Four segments and a little.
        let payload = vec![b'x'; 64 * 1024];
        for _ in 0..33 {
            write(&journal, [&payload]);
        }
        kill(journal);
        directory
    };
    let of = |directory: &Path| {
        let (_journal, report, read) = open_small(directory);
        (report, read.len())
    };
    let directory = make();
    let all = segment::list(directory.path()).unwrap();
    assert!(all.len() >= 4, "{}", all.len());
    let held = all[2].first_sequence - all[1].first_sequence;
    assert_eq!(of(directory.path()).1, 33);

    fs::remove_file(&all[1].path).unwrap();
    let (report, number) = of(directory.path());
    assert_eq!((number as u64, report.lost_records), (33 - held, held));

    let directory = make();
    let path = |number: usize| {
        segment::list(directory.path()).unwrap()[number]
            .path
            .clone()
    };
    fs::write(path(1), vec![0xff; 300_000]).unwrap();
    let (report, number) = of(directory.path());
    assert_eq!(
        (number as u64, report.lost_records, report.lost_bytes),
        (33 - held, held, 300_000)
    );

    let directory = make();
    let path = |number: usize| {
        segment::list(directory.path()).unwrap()[number]
            .path
            .clone()
    };
    fs::OpenOptions::new()
        .write(true)
        .open(path(1))
        .unwrap()
        .set_len(100_000)
        .unwrap();
    let (report, number) = of(directory.path());
    assert_eq!(
        (number as u64, report.lost_records),
        (33 - held + 1, held - 1)
    );
    assert_eq!(
        report.lost_bytes,
        100_000 - HEADER_BYTES as u64 - 64 * 1024 - FRAME_BYTES as u64
    );

    // The oldest one: nothing is missing that could not have been dropped for its age.
    let directory = make();
    fs::remove_file(&segment::list(directory.path()).unwrap()[0].path).unwrap();
    let (report, number) = of(directory.path());
    assert!(number < 33 && report.losses.is_empty(), "{report:?}");
}

#[test]
fn the_whole_stays_within_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let metrics: Arc<SelfMetrics> = Arc::default();
    let mut options = options(directory.path());
    options.max_bytes = 1;
    let (journal, _) = Journal::open(options, Arc::clone(&metrics), &mut |_| ()).unwrap();
    let payload = vec![b'x'; 10_000];
    for _ in 0..1_000 {
        write(&journal, [&payload]);
        let bytes: u64 = segment::list(directory.path())
            .unwrap()
            .iter()
            .map(|segment| segment.bytes)
            .sum();
        assert!(bytes <= MIN_MAX_BYTES, "{bytes}");
        assert_eq!(bytes, journal.status().bytes);
    }
    assert!(metrics.journal.dropped_segments.get() > 0);
    drop(journal);
    let (_journal, report, read) = open(directory.path());
    assert!(
        report.losses.is_empty() && read.len() > 300,
        "{} {report:?}",
        read.len()
    );
}

#[test]
fn a_second_cgauge_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, ..) = open(directory.path());
    let error = Journal::open(options(directory.path()), Arc::default(), &mut |_| ()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("(process {})", std::process::id())),
        "{text}"
    );
    assert!(text.contains("--state-dir"), "{text}");
    drop(journal);
    open(directory.path());
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Journal::open(options(&file), Arc::default(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, OpenError::NoDirectory(_)), "{error}");
}

#[test]
fn another_format_is_kept_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, ..) = open(directory.path());
    write(&journal, ["old"]);
    drop(journal);
    let future = Header {
        version: 2,
        epoch: 9,
        first_sequence: 50,
    };
    let path = segment::path(directory.path(), 50);
    let bytes = [&future.encode()[..], b"whatever that means"].concat();
    fs::write(&path, &bytes).unwrap();
    let (journal, report, read) = open(directory.path());
    assert_eq!(payloads(&read), ["old"]);
    assert!(matches!(
        report.losses[..],
        [Loss::OtherFormat { version: 2, .. }]
    ));
    assert_ne!(journal.epoch(), Epoch(9));
    let aside = directory.path().join(format!(
        "{}.aside",
        path.file_name().unwrap().to_str().unwrap()
    ));
    assert_eq!(fs::read(aside).unwrap(), bytes);
    assert!(journal.append(Kind::EVENT, b"new") > 50);
}

/// A disk that refuses while the switch is on, in the middle of a batch.
fn refusing(switch: &Arc<AtomicBool>, kind: ErrorKind) -> disk::Put {
    let switch = Arc::clone(switch);
    Box::new(move |mut file, bytes| {
        if !switch.load(Ordering::SeqCst) {
            return file.write(bytes);
        }
        match bytes.len() {
            // Some of it still fits.
            length if length > 30 => file.write(&bytes[..30]),
            _ => Err(io::Error::from(kind)),
        }
    })
}

#[test]
fn a_full_disk_degrades_and_recovers_without_loss() {
    let directory = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let (journal, ..) = open_with(options(directory.path()), |disk| {
        disk.with_put(refusing(&full, ErrorKind::StorageFull))
    });
    write(&journal, ["before"]);
    full.store(true, Ordering::SeqCst);
    let during = journal.append(Kind::EVENT, b"while it is full, number one");
    wait_for("it is settled all the same", || journal.settled() >= during);
    let Mode::MemoryOnly(why) = journal.status().mode else {
        panic!("{:?}", journal.status())
    };
    assert!(why.contains("--journal-max-size"), "{why}");
    for n in 0..10 {
        let sequence = journal.append(Kind::EVENT, format!("while it is full, {n}").as_bytes());
        assert_eq!(journal.settled(), sequence, "nobody waits");
    }
    assert_eq!(
        journal.shared.metrics.journal_state(),
        JournalState::MemoryOnly
    );
    full.store(false, Ordering::SeqCst);
    wait_for("it is on disk again", || {
        journal.status().mode == Mode::Writing
    });
    write(&journal, ["after"]);
    assert_eq!(journal.status().given_up, 0);
    kill(journal);
    let (_journal, report, read) = open(directory.path());
    assert_eq!(read.len(), 13, "{:?}", payloads(&read));
    assert_eq!(report.losses, []);
}

#[test]
fn a_disk_that_hangs_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let hangs = Arc::new(AtomicBool::new(false));
    let hung = Arc::clone(&hangs);
    let (journal, ..) = open_with(options(directory.path()), |disk| {
        disk.with_put(Box::new(move |mut file, bytes| {
            while hung.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            file.write(bytes)
        }))
    });
    hangs.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    let first = journal.append(Kind::EVENT, b"a");
    assert!(journal.settled() < first);
    wait_for("the watcher gives up", || journal.settled() >= first);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    let more = journal.append(Kind::EVENT, b"b");
    assert_eq!(journal.settled(), more);
    journal.flush(Instant::now() + SOON);
    hangs.store(false, Ordering::SeqCst);
    wait_for("it is on disk again", || {
        journal.status().mode == Mode::Writing
    });
    kill(journal);
    assert_eq!(payloads(&open(directory.path()).2), ["a", "b"]);
}

#[test]
fn a_directory_that_is_removed_is_made_again() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("not/there/yet");
    let (journal, ..) = open(&directory);
    write(&journal, ["gone"]);
    fs::remove_dir_all(&directory).unwrap();
    write(&journal, ["kept"]);
    assert_eq!(journal.status().mode, Mode::Writing);
    let error = Journal::open(options(&directory), Arc::default(), &mut |_| ()).unwrap_err();
    assert!(
        matches!(error, OpenError::InUse { .. }),
        "locked again: {error}"
    );
    drop(journal);
    assert_eq!(payloads(&open(&directory).2), ["kept"]);
}

#[test]
fn a_place_that_cannot_be_written_is_no_reason_not_to_start() {
    // Nothing can be made in procfs, not even by root.
    let (journal, report, _) = open(Path::new("/proc/self/cgauge"));
    assert_eq!(report, ReadBack::default());
    assert!(
        matches!(journal.status().mode, Mode::MemoryOnly(_)),
        "{journal:?}"
    );
    let sequence = journal.append(Kind::EVENT, b"x");
    assert_eq!(journal.settled(), sequence);
}

#[test]
fn epochs_are_read_back() {
    let epoch = Epoch::random();
    assert_ne!(epoch, Epoch::random());
    assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
    for bad in [
        "",
        "12",
        "+000000000000001",
        "00000000000000001",
        "000000000000000g",
    ] {
        assert_eq!(Epoch::parse(bad), None, "{bad}");
    }
}
