//! A log of each kernel version, with names as nobody would wish them, and what is told of it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use super::tests::kills;
use super::{Constraint, OomKill};

macro_rules! fixture {
    ($path:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/kmsg/",
            $path
        ))
        .as_slice()
    };
}

const KB: u64 = 1024;

/// Who was killed, where, and for whose limit.
fn kill(pid: u32, name: &str, memcgs: (Option<&str>, Option<&str>)) -> OomKill {
    OomKill {
        pid: Some(pid),
        process_name: Some(name.to_owned()),
        oom_memcg: memcgs.0.map(str::to_owned),
        task_memcg: memcgs.1.map(str::to_owned),
        ..OomKill::default()
    }
}

/// Its memory: all, anonymous, of files, shared; in kB.
fn with_memory(kill: OomKill, kb: (u64, u64, u64, Option<u64>)) -> OomKill {
    OomKill {
        total_vm_bytes: Some(kb.0 * KB),
        anon_rss_bytes: Some(kb.1 * KB),
        file_rss_bytes: Some(kb.2 * KB),
        shmem_rss_bytes: kb.3.map(|kb| kb * KB),
        ..kill
    }
}

/// The memcg at its limit: usage, limit, failcnt; in kB.
fn with_limit(kill: OomKill, (usage, limit, failcnt): (u64, u64, u64)) -> OomKill {
    OomKill {
        constraint: Some(Constraint::Memcg),
        memcg_usage_bytes: Some(usage * KB),
        memcg_limit_bytes: Some(limit * KB),
        memcg_failcnt: Some(failcnt),
        ..kill
    }
}

fn at(kill: OomKill, by: &str, us: u64, sequence: u64) -> OomKill {
    OomKill {
        invoked_by: Some(by.to_owned()),
        stamp: Duration::from_micros(us),
        sequence,
        ..kill
    }
}

#[test]
fn names_of_3_10_are_put_together_from_fragments() {
    let task = "/pod [1]/with \"quotes\"\nand ) lines";
    let told = kill(5034, "new\nli) ne", (Some("/pod [1]"), Some(task)));
    let told = with_memory(told, (1_048_576, 508_000, 16, None));
    let told = with_limit(told, (511_640, 512_000, 12));
    let told = at(told, "a b [c] \"d\"", 395_754_320, 1311);
    assert_eq!(kills(fixture!("3.10/odd_names.txt")), [told]);
}

#[test]
fn a_memcg_and_then_the_machine_on_3_18() {
    let task = "/a/b c/d killed as a result of limit of x";
    let memcg = kill(811, "worker 3 (x)", (Some("/a/b c"), Some(task)));
    let memcg = with_memory(memcg, (20_480, 10_100, 140, None));
    let memcg = with_limit(memcg, (10_240, 10_240, 2211));
    let memcg = at(memcg, "worker 3 (x)", 710_000_121, 2009);
    let global = kill(900, "[kworker]", (None, None));
    let global = with_memory(global, (8_388_608, 4_194_304, 0, None));
    let global = at(global, "kswapd0", 720_000_121, 2014);
    let told = kills(fixture!("3.18/memcg_and_global.txt"));
    assert_eq!(told, [memcg, global]);
}

#[test]
fn a_child_of_the_chosen_process_on_4_4() {
    let path = "/system.slice/docker-0f \"x\".scope";
    let told = kill(4101, "tab\tle\\", (Some(path), Some(path)));
    let told = with_memory(told, (70_000, 60_000, 5_536, None));
    let told = with_limit(told, (65_536, 65_536, 77));
    let told = at(told, "\"q\" [r]", 81_000_121, 3008);
    assert_eq!(kills(fixture!("4.4/memcg.txt")), [told]);
}

/// Before 5.0 a cpuset is not told apart from the machine.
#[test]
fn a_cpuset_of_4_14_is_not_told_apart() {
    let told = kill(77, "stress", (None, None));
    let told = with_memory(told, (900_000, 800_000, 12, Some(4)));
    let told = at(told, "stress", 91_000_121, 4006);
    assert_eq!(kills(fixture!("4.14/cpuset.txt")), [told]);
}

#[test]
fn keys_within_names_of_5_2() {
    let (pod, task) = ("/kubepods/pod [7]", "/kubepods/pod [7]/c");
    let told = kill(612, "a=b,pid=1", (Some(pod), Some(task)));
    let told = with_memory(told, (200_000, 129_000, 900, Some(8)));
    let told = with_limit(told, (131_072, 131_072, 5));
    let told = at(told, "a=b,pid=1", 101_000_108, 5009);
    let uid = Some(1000);
    assert_eq!(kills(fixture!("5.2/memcg.txt")), [OomKill { uid, ..told }]);
}

#[test]
fn a_memory_policy_and_the_allocating_task_of_5_4() {
    let task = "/user.slice/user-1000.slice/a \"b\"\n";
    let told = kill(4242, "x) 9 (y", (None, Some(task)));
    let told = with_memory(told, (300_000, 250_000, 0, Some(0)));
    let told = at(told, "x) 9 (y", 111_000_108, 6003);
    let told = OomKill {
        constraint: Some(Constraint::MemoryPolicy),
        uid: Some(1000),
        pgtables_bytes: Some(540_672 * KB),
        oom_score_adj: Some(-5),
        ..told
    };
    assert_eq!(kills(fixture!("5.4/allocating_task.txt")), [told]);
}

/// Captured on two NUMA nodes, one after another: a cpuset, a memory policy, the machine.
#[test]
fn constraints_are_told_apart_since_5_0() {
    type Figures = (u32, (u64, u64, u64, Option<u64>), u64, (u64, u64));
    let check = |log: &[u8], cpuset: Figures, policy: Figures, none: Figures| {
        let expected = |figures: Figures, name: &str, task: &str, why, adjusted| {
            let (pid, memory, pgtables, (us, sequence)) = figures;
            let told = with_memory(kill(pid, name, (None, Some(task))), memory);
            OomKill {
                constraint: Some(why),
                uid: Some(0),
                pgtables_bytes: Some(pgtables * KB),
                oom_score_adj: Some(adjusted),
                ..at(told, name, us, sequence)
            }
        };
        let inner = "/cs \"one\" [a] (b)/in ner";
        let odd = "/gl,task_memcg=[x] {y}";
        assert_eq!(
            kills(log),
            [
                expected(cpuset, "a b \"c\" [d](e)", inner, Constraint::Cpuset, 0),
                expected(policy, "new\nli)ne: 1", "/mp", Constraint::MemoryPolicy, 0),
                expected(none, ") total-vm:1kB", odd, Constraint::None, 1000),
            ]
        );
    };
    check(
        fixture!("5.10/v2_constraints_odd_names.txt"),
        (126, (346396, 345240, 4, Some(648)), 712, (4517535, 438)),
        (127, (346396, 344456, 4, Some(648)), 716, (6413308, 487)),
        (129, (660964, 659412, 4, Some(648)), 1328, (10750888, 544)),
    );
    check(
        fixture!("6.1/v2_constraints_odd_names.txt"),
        (133, (345368, 343668, 4, Some(648)), 716, (4855305, 434)),
        (135, (345368, 343404, 4, Some(648)), 716, (6807744, 483)),
        (137, (654796, 652796, 4, Some(648)), 1320, (11922128, 543)),
    );
    check(
        fixture!("6.12/v2_constraints_odd_names.txt"),
        (169, (342284, 341120, 0, Some(544)), 700, (6315420, 446)),
        (171, (342284, 340992, 0, Some(544)), 708, (8262638, 500)),
        (173, (643488, 641664, 0, Some(544)), 1300, (13316247, 563)),
    );
}
