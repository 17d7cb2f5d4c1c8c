#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use super::*;
use crate::cgroup::OomCounters;
use crate::event::{Constraint, OomKill};
use crate::ledger::figures::{Figures, Finality, LastRead};
use crate::ledger::kill::{KillSource, OomRecord};
use crate::ledger::life::{Exit, Identity, Which};
use crate::ledger::stored::OF_EARLIER_RUN;
use crate::pack::Packer;

/// Made up, the same each time, as far from regular as an id is.
fn noise(of: u64) -> u64 {
    let of = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let of = (of ^ (of >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ (of >> 31)
}

fn id(number: u64) -> String {
    (1..5)
        .map(|part| format!("{:016x}", noise(number * 4 + part)))
        .collect()
}

const START: i64 = 1_800_000_000_000_000_000;

fn at(number: u64) -> Timestamp {
    Timestamp(START + number.cast_signed() * 50_000_000)
}

/// As a kubelet's node has them: every container has had a poll or two and has a name.
fn life(number: u64) -> Life {
    let id = id(number);
    let name = format!("/kubepods/burstable/pod7f3a/{id}");
    let which = Which {
        name: ContainerName::from_request(&name),
        incarnation: number + 7,
    };
    let jitter = |salt| (noise(number + salt) % 4_000_000).cast_signed();
    let ended = Timestamp(at(number).0 + jitter(1 << 40));
    let started = Timestamp(ended.0 - 2_000_000_000 - jitter(1 << 41));
    let mut life = Life::new(number, which, started, false);
    life.ended = Some(ended);
    life.oom_counter = Some(OomCounters {
        kills: 0,
        groups: Some(0),
    });
    life.figures = Figures {
        cpu_ns: Some(noise(number + (1 << 42)) % 200_000_000),
        cpu_user_ns: Some(noise(number + (1 << 43)) % 150_000_000),
        cpu_system_ns: Some(noise(number + (1 << 44)) % 50_000_000),
        memory_peak_bytes: Some(noise(number) % 50_000 * 4096),
        memory_limit_bytes: Some(256 << 20),
        io_read_bytes: Some(noise(number) % 1_000 * 4096),
        io_reads: Some(noise(number) % 1_000),
        ..Figures::default()
    };
    life.finality = Finality {
        last_read: LastRead::Exit,
        age: Some(Duration::from_nanos(noise(number + 9) % 1_000_000_000)),
    };
    life.identity = Some(Arc::new(Identity {
        workload: Some(format!("shop/web-5d8f{}/app", number / 2)),
        name: Some("app".to_owned()),
        id: Some(id),
        image: Some("images.example/shop/web:1.2.3".to_owned()),
        pod: Some(format!("web-5d8f{}", number / 2)),
        namespace: Some("shop".to_owned()),
    }));
    life
}

/// A life in which everything is as odd as it can be, or absent.
fn odd(number: u64) -> Life {
    let name = ContainerName::from_bytes(b"/a\xff\0 0123456789abcdef0123456789abcdef");
    let incarnation = match number % 3 {
        0 => 0,
        1 => OF_EARLIER_RUN | number,
        _ => u64::MAX,
    };
    let mut life = Life::new(
        number,
        Which { name, incarnation },
        Timestamp(i64::MIN),
        true,
    );
    life.end_unseen = true;
    if number % 2 == 1 {
        return life;
    }
    life.ended = Some(Timestamp(i64::MAX));
    life.exit = Some(Exit {
        code: Some(i32::MIN),
        signal: Some(9),
        reason: Some(String::new()),
    });
    life.figures.throttled_ns = Some(u64::MAX);
    life.finality.age = Some(Duration::MAX);
    life.oom_counter = Some(OomCounters {
        kills: u64::MAX,
        groups: None,
    });
    life.identity = Some(Arc::new(Identity {
        pod: Some("\u{fffd}\0".to_owned()),
        ..Identity::default()
    }));
    for incarnation in [None, Some(incarnation), Some(3)] {
        let told = OomKill {
            pid: Some(7),
            constraint: Some(Constraint::Memcg),
            stamp: Duration::from_micros(3),
            ..OomKill::default()
        };
        let record = OomRecord {
            when: Timestamp(-1),
            victim: life.which.name.clone(),
            incarnation,
            limit_of: incarnation.map(|_| ContainerName::root()),
            source: KillSource::Both,
            while_down: true,
            told: incarnation.map(|_| Arc::new(told)),
        };
        life.add_kill(number * 10, record);
    }
    life
}

#[test]
fn what_is_sealed_is_what_it_was() {
    let lives: Vec<Life> = (1..40)
        .map(|number| match number % 4 {
            0 => life(number),
            _ => odd(number),
        })
        .collect();
    let sealed = Sealed::of(lives.iter().map(|life| (life, 1)));
    assert_eq!(sealed.open(&mut Opener::default()), lives);
    assert_eq!(sealed.len(), 39);
    assert!(sealed.may_have_name(1) && !sealed.may_have_name(2));
    assert!(sealed.may_have_number(39) && !sealed.may_have_number(40));
    assert!(sealed.may_have_kill(20) && !sealed.may_have_kill(19));
}

fn full(number: u64) -> Ended {
    let mut ended = Ended::default();
    for number in 0..number {
        ended.push(life(number));
    }
    ended
}

#[test]
fn a_life_takes_some_hundred_bytes() {
    let mut ended = full(20_000);
    let most = |ended: &Ended| {
        let sealed = ended.chunks.iter().filter_map(|chunk| match chunk {
            Chunk::Sealed(sealed) => Some((sealed.bytes(), sealed.len())),
            Chunk::Open(_) => None,
        });
        sealed.fold((0, 0), |(bytes, lives), (more, of)| {
            (bytes + more, lives + of)
        })
    };
    ended.seal(at(1 << 30));
    let (bytes, lives) = most(&ended);
    assert!(lives > 20_000 - 2 * CHUNK, "{lives}");
    let each = bytes as f64 / lives as f64;
    assert!(each < 130.0, "{each}");
    assert!(ended.bytes() < 20_000 * 150, "{}", ended.bytes());
}

#[test]
fn all_are_found_in_time() {
    let mut ended = full(20_000);
    ended.seal(at(1 << 30));
    let request = LedgerRequest {
        called: Some(id(77)),
        ..LedgerRequest::default()
    };
    let found = ended.ask(&request, Vec::new()).lives();
    assert_eq!(found, [life(77)]);
    let newest = LedgerRequest {
        max: Some(300),
        ..LedgerRequest::default()
    };
    let found = ended.ask(&newest, Vec::new()).lives();
    let numbers: Vec<u64> = found.iter().map(|life| life.number).collect();
    assert_eq!(numbers, Vec::from_iter((19_700..20_000).rev()));
    let ended_since = LedgerRequest {
        since: Some(at(19_990)),
        ..LedgerRequest::default()
    };
    let found = ended.ask(&ended_since, Vec::new()).lives();
    assert_eq!(found.last().map(|life| life.number), Some(19_990));
    let killed = LedgerRequest {
        only_oom: true,
        ..LedgerRequest::default()
    };
    assert_eq!(
        ended.ask(&killed, Vec::new()).parts.len(),
        2,
        "the open one"
    );
}

#[test]
fn what_changes_late_is_changed_and_packed_again() {
    let mut ended = full(1_000);
    let later = at(1_000).saturating_add(2 * CHANGES_FOR);
    ended.seal(later);
    let sealed = |ended: &Ended| {
        let sealed = ended
            .chunks
            .iter()
            .filter(|of| matches!(of, Chunk::Sealed(_)));
        sealed.count()
    };
    assert_eq!(sealed(&ended), 7);
    let before = ended.bytes();
    let name = life(5).which.name;
    let is = |life: &Life| life.which.name == name;
    let number = ended.change(By::Name(&name), is, |life| {
        life.figures.periods = Some(3);
        life.number
    });
    assert_eq!((number, sealed(&ended)), (Some(5), 6));
    ended.seal(later);
    assert_eq!(sealed(&ended), 6, "more may come");
    ended.seal(later);
    assert_eq!(sealed(&ended), 7);
    assert!(ended.bytes().abs_diff(before) < 100);
    let periods = ended.newest(By::Number(5), |life| {
        (life.number == 5).then_some(life.figures.periods)
    });
    assert_eq!(periods, Some(Some(3)));
    assert_eq!(ended.remove(6).map(|life| life.number), Some(6));
    assert_eq!(ended.remove(6), None);
    assert_eq!(ended.len(), 999);
}

#[test]
fn the_oldest_go_first_and_leave_nothing() {
    let mut ended = full(1_000);
    ended.seal(at(1 << 30));
    for number in 0..1_000 {
        assert_eq!(ended.oldest(), life(number).ended);
        ended.pop_front();
        ended.seal(at(1 << 30));
    }
    assert_eq!((ended.len(), ended.bytes(), ended.strays()), (0, 0, 0));
    assert!(ended.chunks.is_empty());
    ended.pop_front();
}

#[test]
fn few_chunks_are_open_however_many_end_at_once() {
    let ended = full(100 * CHUNK as u64);
    let open = ended
        .chunks
        .iter()
        .filter(|of| matches!(of, Chunk::Open(_)));
    assert_eq!(open.count(), MAX_OPEN + 1);
}

#[test]
fn what_cannot_be_unpacked_is_gone_and_the_rest_is_there() {
    let mut ended = full(3 * CHUNK as u64);
    ended.seal(at(1 << 30));
    let Some(Chunk::Sealed(first)) = ended.chunks.front_mut() else {
        panic!("not sealed");
    };
    Arc::get_mut(first)
        .unwrap()
        .damage(Packer::default().seal());
    let all = ended.ask(&LedgerRequest::default(), Vec::new()).lives();
    assert_eq!(all.len(), 2 * CHUNK);
    ended.pop_front();
    assert_eq!(ended.len(), 2 * CHUNK);
    assert_eq!(ended.oldest(), life(CHUNK as u64).ended);
}
