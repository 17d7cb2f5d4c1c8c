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
    book.begin(one.clone(), at(1), false);
    book.kill(1, kill("/a", Some(1), at(2)));
    end(&mut book, &one, at(3), cpu(5));
    book.begin(two.clone(), at(4), false);
    let totals = book.totals();
    assert_eq!(&*totals[0].name, "/a");
    let of = totals[0].totals;
    assert_eq!((of.lives, of.living), (2, 1));
    assert_eq!(totals[0].living, std::slice::from_ref(&two));
    assert_eq!((of.oom_kills, of.cpu_ns), (1, 5));
    end(&mut book, &two, at(5), cpu(7));
    assert_eq!(book.totals()[0].totals.cpu_ns, 12);
}

#[test]
fn figures_that_are_read_late_raise_life_and_total_and_never_lower_them() {
    let mut book = book();
    let one = which("/a", 1);
    book.begin(one.clone(), at(1), false);
    end(&mut book, &one, at(2), cpu(5));
    let finality = Finality {
        last_read: LastRead::Empty,
        age: Some(Duration::ZERO),
    };
    book.amend(&one, &cpu(8), finality);
    book.amend(&one, &cpu(3), finality);
    let life = &book.lives(&LedgerRequest::default())[0];
    assert_eq!((life.figures.cpu_ns, life.finality), (Some(8), finality));
    assert_eq!(book.totals()[0].totals.cpu_ns, 8);
}

#[test]
fn a_kill_that_is_told_late_goes_to_the_life_that_it_ended() {
    let mut book = book();
    let (one, two) = (which("/a", 1), which("/a", 2));
    book.begin(one.clone(), at(1), false);
    end(&mut book, &one, at(2), cpu(1));
    book.begin(two, at(3), false);
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
    assert_eq!(book.totals()[0].totals.oom_kills, 1);
}

#[test]
fn kills_of_nobody_known_are_kept_together_by_name() {
    let mut book = book();
    book.kill(1, kill("/gone", None, at(1)));
    book.kill(1, kill("/gone", Some(9), at(2)));
    let lives = book.lives(&LedgerRequest::default());
    assert_eq!((lives.len(), lives[0].oom_kills), (1, 2));
    assert_eq!(book.totals()[0].totals.oom_kills, 2);
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
        book.begin(one.clone(), at(0), false);
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
    book.expire(at(1000));
    assert_eq!((book.bytes(), book.totals().len()), (0, 0));

    let mut book = Book::new(LedgerLimits { bytes: 1, ..limits });
    book.begin(which("/a", 1), at(0), false);
    end(&mut book, &which("/a", 1), at(1), cpu(1));
    assert_eq!(
        (book.ended_lives(), book.evicted(), book.bytes()),
        (0, 1, 0)
    );
}

#[test]
fn a_life_with_many_kills_counts_all_and_tells_the_newest() {
    let mut book = book();
    book.begin(which("/a", 1), at(0), false);
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
        book.begin(one.clone(), at(0), false);
        book.kill(1, kill(path, Some(one.incarnation), at(1)));
        let identity = Identity {
            workload: Some("ns/pod/app".into()),
            ..Identity::default()
        };
        book.identify(&one, Arc::new(identity));
        end(&mut book, &one, at(2), cpu(4));
    }
    let totals = book.totals();
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
        book.begin(which(name, 1), at(1), false);
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
        book.begin(one.clone(), at(started), false);
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
        book.begin(which(name, 1), at(1), false);
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
