#![allow(clippy::unwrap_used)]

use super::*;
use crate::ledger::figures::LastRead;

fn which(name: &str, incarnation: u64) -> Which {
    Which {
        name: ContainerName::from_request(name),
        incarnation,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

fn cpu(ns: u64) -> Figures {
    Figures {
        cpu_ns: Some(ns),
        ..Figures::default()
    }
}

fn kill(name: &str, incarnation: Option<u64>, when: Timestamp) -> OomRecord {
    OomRecord {
        when,
        victim: ContainerName::from_request(name),
        incarnation,
        limit_of: None,
        source: KillSource::Counter,
        while_down: false,
        told: None,
    }
}

fn book() -> Book {
    Book::new(LedgerLimits::default())
}

fn end(book: &mut Book, which: &Which, ended: Timestamp, figures: Figures) {
    book.end(which, ended, figures, Finality::default());
}

#[test]
fn totals_go_on_when_a_container_is_made_again() {
    let mut book = book();
    let (one, two) = (which("/a", 1), which("/a", 2));
    book.begin(one.clone(), at(1), false, None);
    book.kill(1, kill("/a", Some(1), at(2)));
    end(&mut book, &one, at(3), cpu(5));
    book.begin(two.clone(), at(4), false, None);
    let totals = book.totals_where(|_| true);
    assert_eq!(&*totals[0].name, "/a");
    let of = totals[0].totals;
    assert_eq!((of.lives, of.living), (2, 1));
    assert_eq!(totals[0].living, std::slice::from_ref(&two));
    assert_eq!((of.oom_kills, of.cpu_ns), (1, 5));
    end(&mut book, &two, at(5), cpu(7));
    assert_eq!(book.totals_where(|_| true)[0].totals.cpu_ns, 12);
}

#[test]
fn figures_that_are_read_late_raise_life_and_total_and_never_lower_them() {
    let mut book = book();
    let one = which("/a", 1);
    book.begin(one.clone(), at(1), false, None);
    end(&mut book, &one, at(2), cpu(5));
    let finality = Finality {
        last_read: LastRead::Empty,
        age: Some(Duration::ZERO),
    };
    book.amend(&one, &cpu(8), finality);
    book.amend(&one, &cpu(3), finality);
    let life = &book.lives(&LedgerRequest::default())[0];
    assert_eq!((life.figures.cpu_ns, life.finality), (Some(8), finality));
    assert_eq!(book.totals_where(|_| true)[0].totals.cpu_ns, 8);
}

#[test]
fn a_kill_that_is_told_late_goes_to_the_life_that_it_ended() {
    let mut book = book();
    let (one, two) = (which("/a", 1), which("/a", 2));
    book.begin(one.clone(), at(1), false, None);
    end(&mut book, &one, at(2), cpu(1));
    book.begin(two, at(3), false, None);
    book.kill(7, kill("/a", Some(1), at(2)));
    let told = OomRecord {
        limit_of: Some(ContainerName::root()),
        told: Some(Arc::default()),
        ..kill("/a", Some(1), at(1))
    };
    book.confirm(7, Some(&told));
    let lives = book.lives(&LedgerRequest::default());
    assert_eq!((lives[0].oom_kills, lives[1].oom_kills), (0, 1));
    let (_, record) = &lives[1].kills[0];
    assert_eq!(record.source, KillSource::Both);
    assert!(record.told.is_some() && record.when == at(1));
    assert_eq!(book.totals_where(|_| true)[0].totals.oom_kills, 1);
}

#[test]
fn kills_of_nobody_known_are_kept_together_by_name() {
    let mut book = book();
    book.kill(1, kill("/gone", None, at(1)));
    book.kill(1, kill("/gone", Some(9), at(2)));
    let lives = book.lives(&LedgerRequest::default());
    assert_eq!((lives.len(), lives[0].oom_kills), (1, 2));
    assert_eq!(book.totals_where(|_| true)[0].totals.oom_kills, 2);
}

#[test]
fn the_book_is_bounded_and_says_what_it_let_go() {
    let limits = LedgerLimits {
        age: Duration::from_secs(60),
        number: 3,
        bytes: usize::MAX,
    };
    let mut book = Book::new(limits);
    for number in 1..=5 {
        let one = which(&format!("/{number}"), 1);
        book.begin(one.clone(), at(0), false, None);
        end(&mut book, &one, at(number), cpu(1));
    }
    assert_eq!((book.ended_lives(), book.evicted()), (3, 2));
    let names = |book: &Book| -> Vec<String> {
        let lives = book.lives(&LedgerRequest::default());
        lives.iter().map(|l| l.which.name.to_string()).collect()
    };
    assert_eq!(names(&book), ["/5", "/4", "/3"]);
    book.expire(at(64));
    assert_eq!(names(&book), ["/5", "/4"], "too old is not too much");
    assert_eq!(book.evicted(), 2);
    assert_eq!(book.which_at(&which("/5", 1).name, at(2_000)), Some(1));
    book.expire(at(1000));
    assert_eq!(
        book.which_at(&which("/5", 1).name, at(2_000)),
        None,
        "let go"
    );
    assert_eq!((book.bytes(), book.totals_where(|_| true).len()), (0, 0));

    let mut book = Book::new(LedgerLimits { bytes: 1, ..limits });
    book.begin(which("/a", 1), at(0), false, None);
    end(&mut book, &which("/a", 1), at(1), cpu(1));
    assert_eq!(
        (book.ended_lives(), book.evicted(), book.bytes()),
        (0, 1, 0)
    );
}

#[test]
fn a_life_with_many_kills_counts_all_and_tells_the_newest() {
    let mut book = book();
    book.begin(which("/a", 1), at(0), false, None);
    let many = Life::MAX_KILLS_TOLD + 10;
    for second in 0..many {
        book.kill(1, kill("/a", Some(1), at(i64::try_from(second).unwrap())));
    }
    let life = &book.lives(&LedgerRequest::default())[0];
    assert_eq!(life.oom_kills, many as u64);
    assert_eq!(life.kills.len(), Life::MAX_KILLS_TOLD);
    assert_eq!(life.kills[0].1.when, at(10));
}

#[test]
fn totals_move_to_the_workloads_name_when_a_runtime_tells_it() {
    let mut book = book();
    for (number, path) in ["/x/1", "/x/2"].into_iter().enumerate() {
        let one = which(path, number as u64 + 1);
        book.begin(one.clone(), at(0), false, None);
        book.kill(1, kill(path, Some(one.incarnation), at(1)));
        let identity = Identity {
            workload: Some("ns/pod/app".into()),
            ..Identity::default()
        };
        book.identify(&one, Arc::new(identity));
        end(&mut book, &one, at(2), cpu(4));
    }
    let totals = book.totals_where(|_| true);
    assert_eq!(totals.len(), 1);
    assert_eq!(&*totals[0].name, "ns/pod/app");
    let of = totals[0].totals;
    assert_eq!((of.lives, of.living, of.oom_kills, of.cpu_ns), (2, 0, 2, 8));
    let request = LedgerRequest {
        called: Some("ns/pod/app".into()),
        ..LedgerRequest::default()
    };
    assert_eq!(book.lives(&request).len(), 2);
}

#[test]
fn filters() {
    let mut book = book();
    for (name, ended) in [("/a", Some(5)), ("/a/b", None), ("/c", Some(9))] {
        book.begin(which(name, 1), at(1), false, None);
        if let Some(ended) = ended {
            end(&mut book, &which(name, 1), at(ended), cpu(1));
        }
    }
    book.kill(1, kill("/c", Some(1), at(8)));
    let names = |request: LedgerRequest| -> Vec<String> {
        let lives = book.lives(&request);
        lives.iter().map(|l| l.which.name.to_string()).collect()
    };
    let all = LedgerRequest::default;
    assert_eq!(names(all()), ["/a/b", "/c", "/a"]);
    let within = ContainerName::from_request("/a");
    assert_eq!(names(LedgerRequest { within, ..all() }), ["/a/b", "/a"]);
    let since = Some(at(6));
    assert_eq!(names(LedgerRequest { since, ..all() }), ["/a/b", "/c"]);
    assert_eq!(
        names(LedgerRequest {
            only_oom: true,
            ..all()
        }),
        ["/c"]
    );
    assert_eq!(
        names(LedgerRequest {
            living: false,
            max: Some(1),
            ..all()
        }),
        ["/c"]
    );
}

#[test]
fn time_tells_which_of_a_name_is_meant() {
    let mut book = book();
    let name = ContainerName::from_request("/a");
    assert_eq!(book.which_at(&name, at(1)), None);
    for (incarnation, started) in [(1, 10), (2, 20), (3, 30)] {
        let one = which("/a", incarnation);
        book.begin(one.clone(), at(started), false, None);
        if incarnation < 3 {
            end(&mut book, &one, at(started + 5), cpu(1));
        }
    }
    let at_second = |second| book.which_at(&name, at(second));
    assert_eq!(at_second(12), Some(1));
    assert_eq!(
        at_second(26),
        Some(2),
        "told late, it was in the one before"
    );
    assert_eq!(at_second(31), Some(3));
    assert_eq!(at_second(5), Some(3), "none had begun");
}

#[test]
fn a_person_may_mean_a_path_its_beginning_or_its_last_element() {
    let mut book = book();
    for name in [
        "/system.slice/docker-3f2c.scope",
        "/batch/job-1",
        "/batch/job-2",
    ] {
        book.begin(which(name, 1), at(1), false, None);
    }
    let found = |called: &str| {
        let request = LedgerRequest {
            called: Some(called.to_owned()),
            ..LedgerRequest::default()
        };
        book.lives(&request).len()
    };
    assert_eq!(found("/batch/job-1"), 1);
    assert_eq!(found("/batch/job"), 2);
    assert_eq!(found("3f2"), 1);
    assert_eq!(found("docker-3f2c.scope"), 1);
    assert_eq!((found("job-2"), found("nothing"), found("2c")), (1, 0, 0));
}

/// What a later run has after reading `of`'s records back, in the same boot.
fn next_run(of: &mut Book) -> Book {
    let mut next = book();
    for record in of.take_outbox() {
        let (life, boot) = stored::decode(&record).unwrap();
        next.restore(life, boot.as_deref(), Some("boot"));
    }
    next.keep_outbox(Some("boot".into()));
    next
}

#[test]
fn a_later_run_goes_on_where_the_earlier_one_was_ended() {
    let mut first = book();
    first.keep_outbox(Some("boot".into()));
    for (name, inode) in [("/gone", 1), ("/stays", 2), ("/goes", 3)] {
        first.begin(which(name, 1), at(1), false, Some((0, inode)));
        first.kill(1, kill(name, Some(1), at(2)));
    }
    first.attached(&which("/stays", 1), (1, 7));
    let logged = OomRecord {
        source: KillSource::Log,
        ..kill("/stays", Some(1), at(2))
    };
    first.kill(2, logged);
    end(&mut first, &which("/gone", 1), at(3), cpu(5));

    let mut second = next_run(&mut first);
    // The counter has the kill that only the log had told, too.
    let name = ContainerName::from_request("/stays");
    let unmet = second.unmet(Some(&name));
    assert_eq!(unmet[0].directories, [(0, 2), (1, 7)]);
    let counted = second.resume(unmet[0].number, which("/stays", 9));
    let groups = Some(0);
    assert_eq!(counted, Some(OomCounters { kills: 2, groups }));
    let unmet = second.unmet(None);
    assert_eq!(unmet.len(), 1);
    let gone = second.gone(unmet[0].number, at(10)).unwrap();
    assert_eq!((gone.ended, gone.end_unseen), (Some(at(10)), true));
    assert!(second.gone(unmet[0].number, at(10)).is_none(), "once");
    let lives = second.lives(&LedgerRequest::default());
    let told: Vec<_> = lives
        .iter()
        .map(|life| (life.which.name.to_string(), life.oom_kills, life.end_unseen))
        .collect();
    assert_eq!(
        told,
        [
            ("/stays".into(), 2, false),
            ("/goes".into(), 1, true),
            ("/gone".into(), 1, false)
        ]
    );
    assert_eq!(lives[0].started, at(1), "one life, two runs");
    let totals = second.totals_where(|_| true);
    let of = |name: &str| {
        let mut all = totals.iter();
        all.find(|of| &*of.name == name).unwrap().totals
    };
    assert_eq!((of("/gone").lives, of("/gone").cpu_ns), (1, 5));
    assert_eq!((of("/stays").living, of("/stays").oom_kills), (1, 2));
    assert_eq!(of("/goes").living, 0);

    // And a third has what the second knew.
    let third = next_run(&mut second);
    let lives = third.lives(&LedgerRequest::default());
    assert_eq!(
        lives.len(),
        1,
        "only what changed is written again: {lives:?}"
    );
    let number = second.lives(&LedgerRequest::default())[0].number;
    second.begin(which("/new", 3), at(11), false, None);
    let newest = &second.lives(&LedgerRequest::default())[0];
    assert!(newest.number > number, "no number twice");
}

#[test]
fn a_directory_of_another_boot_is_another() {
    let mut first = book();
    first.keep_outbox(Some("boot".into()));
    first.begin(which("/a", 1), at(1), false, Some((0, 5)));
    let mut second = book();
    for record in first.take_outbox() {
        let (life, boot) = stored::decode(&record).unwrap();
        second.restore(life, boot.as_deref(), Some("another"));
    }
    let unmet = second.unmet(None);
    assert_eq!(unmet[0].directories, []);
    second.gone(unmet[0].number, at(9));
    second.begin(which("/a", 1), at(9), true, Some((0, 5)));
    assert_eq!(second.lives(&LedgerRequest::default()).len(), 2);
    assert_eq!(second.totals_where(|_| true)[0].totals.lives, 2);
}
