#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

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

/// Feeds raw records as the reader does, pre-filter included.
fn feed(tracker: &mut OomTracker, log: &[u8]) -> Vec<OomKill> {
    let mut kills = Vec::new();
    for raw in log
        .split(|&byte| byte == b'\n')
        .filter(|raw| !raw.is_empty())
    {
        let continues = tracker.wants_continuation() && kmsg::is_continuation(raw);
        match Record::parse(raw) {
            Ok(record) if may_matter(raw) || continues => {
                tracker.push(&record, &mut |kill| kills.push(kill))
            }
            _ => tracker.skip(&mut |kill| kills.push(kill)),
        }
    }
    kills
}

pub(super) fn kills(log: &[u8]) -> Vec<OomKill> {
    let mut tracker = OomTracker::default();
    let mut kills = feed(&mut tracker, log);
    tracker.flush(&mut |kill| panic!("left over: {kill:?}"));
    kills.retain(|kill| !kill.again);
    kills
}

/// A kernel log of these messages, a microsecond apart.
fn log(messages: &[&str]) -> Vec<u8> {
    let mut log = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        log.extend(format!("6,{at},{at},-;").bytes());
        for byte in message.bytes() {
            match byte {
                b'\\' | 0..32 | 127.. => log.extend(format!("\\x{byte:02x}").bytes()),
                _ => log.push(byte),
            }
        }
        log.push(b'\n');
    }
    log
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn memcgs(kill: &OomKill) -> (Option<&str>, Option<&str>) {
    (kill.oom_memcg.as_deref(), kill.task_memcg.as_deref())
}

const SUMMARY_7: &str = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,\
     oom_memcg=/a,task_memcg=/a/b,task=java,pid=7,uid=1000";
const KILLED_7: &str = "Memory cgroup out of memory: Killed process 7 (java) total-vm:10kB, anon-rss:8kB, \
     file-rss:2kB, shmem-rss:1kB, UID:1000 pgtables:60kB oom_score_adj:-5";

#[test]
fn a_report_of_6_18_has_every_field() {
    assert_eq!(
        kills(fixture!("6.18/v1_parent_limit.txt")),
        [OomKill {
            pid: Some(11795),
            process_name: some("tail"),
            constraint: Some(Constraint::Memcg),
            oom_memcg: some("/cgauge-test-7798"),
            task_memcg: some("/cgauge-test-7798/kid, x"),
            group: false,
            again: false,
            invoked_by: some("tail"),
            total_vm_bytes: Some(10_940 * 1024),
            anon_rss_bytes: Some(8_064 * 1024),
            file_rss_bytes: Some(1_652 * 1024),
            shmem_rss_bytes: Some(0),
            pgtables_bytes: Some(60 * 1024),
            oom_score_adj: Some(0),
            uid: Some(0),
            memcg_usage_bytes: Some(8_192 * 1024),
            memcg_limit_bytes: Some(8_192 * 1024),
            memcg_failcnt: Some(81),
            stamp: Duration::from_micros(929_745_250),
            sequence: 422,
        }]
    );
}

#[test]
fn the_limit_of_a_parent_on_each_kernel() {
    let logs = [
        (fixture!("5.10/v1_parent_limit.txt"), 147),
        (fixture!("5.10/v2_parent_limit.txt"), 121),
        (fixture!("6.1/v1_parent_limit.txt"), 157),
        (fixture!("6.1/v2_parent_limit.txt"), 127),
        (fixture!("6.12/v2_parent_limit.txt"), 167),
    ];
    for (log, pid) in logs {
        let kills = kills(log);
        let [kill] = kills.as_slice() else {
            panic!("{kills:?}")
        };
        assert_eq!(kill.pid, Some(pid));
        assert_eq!(kill.process_name.as_deref(), Some("child hog"));
        assert_eq!(memcgs(kill), (Some("/parent"), Some("/parent/child")));
        assert_eq!(kill.invoked_by.as_deref(), Some("child hog"));
        assert_eq!(kill.memcg_limit_bytes, Some(8 << 20));
    }
}

#[test]
fn a_group_kill_counts_each_process_once() {
    let logs = [
        (fixture!("5.10/v2_oom_group.txt"), [128, 123, 126, 124, 127]),
        (fixture!("6.1/v2_oom_group.txt"), [134, 129, 130, 132, 133]),
        (fixture!("6.12/v2_oom_group.txt"), [174, 170, 169, 172, 173]),
    ];
    for (log, pids) in logs {
        // The kernel prints, and counts, the first one twice.
        let mut again = feed(&mut OomTracker::default(), log);
        again.retain(|kill| kill.again);
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].pid, again[0].group), (Some(pids[0]), false));
        assert_eq!(again[0].task_memcg.as_deref(), Some("/group"));
        let kills = kills(log);
        assert_eq!(
            kills.iter().filter_map(|kill| kill.pid).collect::<Vec<_>>(),
            pids
        );
        assert_eq!(
            kills.iter().map(|kill| kill.group).collect::<Vec<_>>(),
            [false, true, true, true, true]
        );
        for kill in &kills {
            assert_eq!(memcgs(kill), (Some("/group"), Some("/group")));
            assert_eq!(kill.constraint, Some(Constraint::Memcg));
            assert_eq!(kill.invoked_by.as_deref(), Some("hog"));
        }
    }
}

#[test]
fn a_global_oom_has_no_limiting_memcg() {
    for log in [
        fixture!("5.10/v2_global.txt"),
        fixture!("6.1/v2_global.txt"),
        fixture!("6.12/v2_global.txt"),
    ] {
        let kills = kills(log);
        let [kill] = kills.as_slice() else {
            panic!("{kills:?}")
        };
        assert_eq!(kill.constraint, Some(Constraint::None));
        assert_eq!(memcgs(kill), (None, Some("/")));
        assert_eq!(kill.process_name.as_deref(), Some("globalhog"));
        assert_eq!(kill.memcg_usage_bytes, None);
    }
}

#[test]
fn odd_names_and_paths() {
    let kills = kills(fixture!("6.1/v2_odd_names.txt"));
    let [comma, newline] = kills.as_slice() else {
        panic!("{kills:?}")
    };
    assert_eq!(
        (comma.pid, comma.process_name.as_deref()),
        (Some(137), Some("odd,pid=7) (x"))
    );
    assert_eq!(
        memcgs(comma),
        (Some("/odd,task_memcg=,b c"), Some("/odd,task_memcg=,b c"))
    );
    assert_eq!(
        (newline.pid, newline.process_name.as_deref()),
        (Some(139), Some("a\nb\\c\"é"))
    );
    assert_eq!(newline.invoked_by, newline.process_name);
}

#[test]
fn paths_too_long_for_one_record_are_put_together() {
    for log in [
        fixture!("5.10/v2_long_paths.txt"),
        fixture!("6.1/v2_long_paths.txt"),
    ] {
        let kills = kills(log);
        let [kill] = kills.as_slice() else {
            panic!("{kills:?}")
        };
        assert_eq!(kill.oom_memcg.as_ref().unwrap().len(), 562);
        assert_eq!(kill.oom_memcg, kill.task_memcg);
        assert_eq!(kill.process_name.as_deref(), Some("deep"));
    }
}

#[test]
fn four_memcgs_at_once() {
    let kills = kills(fixture!("6.12/v2_four_at_once.txt"));
    let found: Vec<_> = kills
        .iter()
        .map(|kill| (kill.pid.unwrap(), kill.task_memcg.as_deref().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            (185, "/par2"),
            (184, "/par1"),
            (186, "/par3"),
            (187, "/par4")
        ]
    );
}

#[test]
fn kernels_3_and_4() {
    let old = kills(fixture!("3.10/memcg.txt"));
    let [kill] = old.as_slice() else {
        panic!("{old:?}")
    };
    assert_eq!(
        (kill.pid, kill.process_name.as_deref()),
        (Some(4036), Some("sh")),
        "a child was killed"
    );
    assert_eq!(
        memcgs(kill),
        (Some("/1"), Some("/1/2")),
        "put together from fragments"
    );
    assert_eq!(kill.constraint, Some(Constraint::Memcg));
    assert_eq!(
        (kill.memcg_usage_bytes, kill.memcg_failcnt),
        (Some(511_640 * 1024), Some(4471))
    );
    assert_eq!(
        (kill.shmem_rss_bytes, kill.uid, kill.pgtables_bytes),
        (None, None, None)
    );

    let old = kills(fixture!("3.10/global_vendor_uid.txt"));
    let [kill] = old.as_slice() else {
        panic!("{old:?}")
    };
    assert_eq!(
        (kill.pid, kill.uid, kill.constraint),
        (Some(21945), Some(1000), None)
    );
    assert_eq!(kill.anon_rss_bytes, Some(31_303_276 * 1024));

    let old = kills(fixture!("4.9/memcg.txt"));
    let [kill] = old.as_slice() else {
        panic!("{old:?}")
    };
    assert_eq!(
        memcgs(kill),
        (Some("/docker/34186d9bd077"), Some("/docker/34186d9bd077"))
    );
    assert_eq!(kill.invoked_by.as_deref(), Some("stress"));

    let old = kills(fixture!("4.19/oom_group.txt"));
    let [first, second] = old.as_slice() else {
        panic!("{old:?}")
    };
    assert_eq!(
        (first.pid, memcgs(first)),
        (Some(300), (Some("/job"), Some("/job/step")))
    );
    assert_eq!(
        (second.pid, memcgs(second)),
        (Some(298), (Some("/job"), Some("/job")))
    );
    assert!(second.group);
}

#[test]
fn a_child_killed_in_place_of_the_one_in_the_summary() {
    let old = kills(fixture!("5.0/sacrificed_child.txt"));
    let [kill] = old.as_slice() else {
        panic!("{old:?}")
    };
    assert_eq!(
        (kill.pid, kill.process_name.as_deref(), kill.uid),
        (Some(41), Some("cgi"), None)
    );
    assert_eq!(memcgs(kill), (Some("/web"), Some("/web/1")));
}

#[test]
fn a_kill_line_alone_knows_no_memcg_and_inherits_none() {
    let alone = KILLED_7.replace(" 7 (", " 8 (");
    let kills = kills(&log(&[
        "java invoked oom-killer: gfp_mask=0x0",
        SUMMARY_7,
        KILLED_7,
        &alone,
    ]));
    let [_, kill] = kills.as_slice() else {
        panic!("{kills:?}")
    };
    assert_eq!((kill.pid, memcgs(kill)), (Some(8), (None, None)));
    assert_eq!(
        (kill.constraint, kill.group),
        (Some(Constraint::Memcg), false)
    );
    assert_eq!(
        (kill.invoked_by.as_deref(), kill.oom_score_adj),
        (None, Some(-5))
    );
}

#[test]
fn a_summary_without_its_kill_line_is_a_kill() {
    let mut tracker = OomTracker::default();
    assert_eq!(
        feed(
            &mut tracker,
            &log(&["java invoked oom-killer: x", SUMMARY_7])
        ),
        []
    );
    assert!(tracker.is_pending());
    let mut found = Vec::new();
    tracker.flush(&mut |kill| found.push(kill));
    let [kill] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (kill.pid, kill.uid, kill.process_name.as_deref()),
        (Some(7), Some(1000), Some("java"))
    );
    assert_eq!(memcgs(kill), (Some("/a"), Some("/a/b")));
    assert_eq!((kill.anon_rss_bytes, kill.sequence), (None, 1));
    assert!(!tracker.is_pending());
    assert_eq!(
        feed(&mut tracker, &log(&[KILLED_7])),
        [],
        "the line that came late is about the same kill"
    );
}

#[test]
fn a_summary_is_given_out_after_a_bounded_number_of_records() {
    let mut tracker = OomTracker::default();
    assert_eq!(feed(&mut tracker, &log(&[SUMMARY_7])), []);
    let noise = log(&["eth0: link up"; SUMMARY_PATIENCE_RECORDS as usize + 1]);
    assert_eq!(feed(&mut tracker, &noise).len(), 1);
}

#[test]
fn a_victim_that_ended_by_itself_was_not_killed() {
    let spared = "Memory cgroup out of memory: OOM victim 7 (java) is already exiting. Skip killing the task";
    assert_eq!(
        kills(&log(&["java invoked oom-killer: x", SUMMARY_7, spared])),
        []
    );
    let none = "Out of memory and no killable processes...";
    assert_eq!(kills(&log(&["java invoked oom-killer: x", none])), []);
}

#[test]
fn records_that_a_process_wrote_do_not_count() {
    let mut forged = log(&[SUMMARY_7, KILLED_7]);
    for byte in &mut forged {
        // Priority 6 (kernel) to 8 (user): one digit.
        *byte = if *byte == b'6' { b'8' } else { *byte };
    }
    let mut tracker = OomTracker::default();
    for raw in forged
        .split(|&byte| byte == b'\n')
        .filter(|raw| !raw.is_empty())
    {
        assert!(!may_matter(raw));
        tracker.push(&Record::parse(raw).unwrap(), &mut |kill| panic!("{kill:?}"));
    }
    assert!(!tracker.is_pending());
}

#[test]
fn interleaved_reports_go_by_pid() {
    let other = SUMMARY_7.replace("/a", "/z").replace("pid=7", "pid=9");
    let other_killed = KILLED_7.replace(" 7 (", " 9 (");
    let found = kills(&log(&[
        "a invoked oom-killer: x",
        "b invoked oom-killer: x",
        SUMMARY_7,
        &other,
        &other_killed,
        KILLED_7,
    ]));
    let [nine, seven] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (nine.pid, memcgs(nine)),
        (Some(9), (Some("/z"), Some("/z/b")))
    );
    assert_eq!(
        (seven.pid, memcgs(seven)),
        (Some(7), (Some("/a"), Some("/a/b")))
    );
    assert_eq!(
        (&nine.invoked_by, &seven.invoked_by),
        (&None, &None),
        "not known which"
    );
}

#[test]
fn interleaved_reports_of_3_x_say_only_what_is_certain() {
    let found = kills(&log(&[
        "a invoked oom-killer: x",
        "b invoked oom-killer: x",
        "Task in /a/1 killed as a result of limit of /a",
        "Task in /b/1 killed as a result of limit of /b",
        "Killed process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB",
        "Killed process 2 (y) total-vm:1kB, anon-rss:1kB, file-rss:1kB",
    ]));
    let [one, two] = found.as_slice() else {
        panic!("{found:?}")
    };
    for kill in [one, two] {
        assert_eq!(
            (memcgs(kill), kill.constraint),
            ((None, None), Some(Constraint::Memcg))
        );
    }
}

#[test]
fn other_constraints_and_no_memcg_at_all() {
    let found = kills(&log(&[
        "oom-kill:constraint=CONSTRAINT_CPUSET,nodemask=0-1,3,cpuset=/,mems_allowed=0-1,3,global_oom,task_memcg=/s,task=x,pid=1,uid=0",
        "Out of memory: Killed process 1 (x) total-vm:1kB, anon-rss:1kB",
        "oom-kill:constraint=CONSTRAINT_MEMORY_POLICY,nodemask=0,cpuset=/,mems_allowed=0,task=y,pid=2,uid=0",
        "Out of memory (oom_kill_allocating_task): Killed process 2 (y) total-vm:1kB, anon-rss:1kB",
    ]));
    let [one, two] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (one.constraint, memcgs(one)),
        (Some(Constraint::Cpuset), (None, Some("/s")))
    );
    assert_eq!(
        (two.constraint, memcgs(two)),
        (Some(Constraint::MemoryPolicy), (None, None))
    );
}

/// Names as a hostile process or cgroup may choose them.
fn hostile(max: usize) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(",pid=".to_owned()),
        Just(",task=".to_owned()),
        Just(",uid=0".to_owned()),
        Just(") total-vm:".to_owned()),
        Just(",task_memcg=".to_owned()),
        Just(",oom_memcg=".to_owned()),
        Just(",mems_allowed=0,".to_owned()),
        Just("global_oom".to_owned()),
        Just("Task in ".to_owned()),
        "[ -.0-~\n\t\\\\]{1,4}",
        "\\PC",
    ];
    proptest::collection::vec(part, 1..6).prop_map(move |parts| {
        let text: String = parts.concat().replace('/', "_");
        let end = text
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| *end <= max)
            .last();
        text.get(..end.unwrap_or(0))
            .filter(|text| !text.is_empty())
            .unwrap_or("x")
            .to_owned()
    })
}

proptest! {
    #[test]
    fn a_report_with_hostile_names_reads_back(
        name in hostile(15), by in hostile(15), cpuset in hostile(40),
        above in hostile(40), below in hostile(40),
        nested: bool, global: bool, noise in proptest::collection::vec("\\PC{0,30}", 0..12),
    ) {
        let oom = format!("/{above}");
        let task = if nested { format!("{oom}/{below}") } else { oom.clone() };
        let (constraint, memcg) = if global {
            ("CONSTRAINT_NONE", format!("global_oom,task_memcg={task}"))
        } else {
            ("CONSTRAINT_MEMCG", format!("oom_memcg={oom},task_memcg={task}"))
        };
        let lines = [
            format!("{by} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
            format!("oom-kill:constraint={constraint},nodemask=(null),cpuset={cpuset},mems_allowed=0-1,{memcg},task={name},pid=12,uid=3"),
            format!("Memory cgroup out of memory: Killed process 12 ({name}) total-vm:4kB, anon-rss:3kB, file-rss:2kB, shmem-rss:1kB, UID:3 pgtables:5kB oom_score_adj:6"),
        ];
        let mut messages: Vec<&str> = Vec::new();
        let mut others = noise.iter().filter(|it| !line::may_matter(it.as_bytes()));
        for line in &lines {
            messages.extend(others.by_ref().take(4).map(String::as_str));
            messages.push(line);
        }
        let found = kills(&log(&messages));
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        let kill = &found[0];
        prop_assert_eq!(kill.pid, Some(12));
        prop_assert_eq!(kill.process_name.as_ref(), Some(&name));
        prop_assert_eq!(kill.invoked_by.as_ref(), Some(&by));
        prop_assert_eq!(kill.uid, Some(3));
        prop_assert_eq!(kill.oom_score_adj, Some(6));
        prop_assert_eq!(kill.pgtables_bytes, Some(5 * 1024));
        prop_assert_eq!(kill.task_memcg.as_ref(), Some(&task));
        prop_assert_eq!(kill.oom_memcg.as_ref(), (!global).then_some(&oom));
    }

    #[test]
    fn noise_changes_nothing(at in proptest::collection::vec(0usize..78, 0..40)) {
        let log = fixture!("6.18/v1_parent_limit.txt");
        let mut records: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();
        for at in at {
            records.insert(at, b"4,1,929745000,-;usb 1-1: new device\n");
            records.insert(at, b"12,2,929745001,-;Killed process 1 (x) total-vm:1kB\n");
        }
        prop_assert_eq!(kills(&records.concat()), kills(log));
    }

    #[test]
    fn arbitrary_lines_never_panic_and_never_grow(
        lines in proptest::collection::vec((0u32..20, "\\PC{0,30}", 0usize..12), 0..200),
    ) {
        let mut tracker = OomTracker::default();
        let mut count = 0;
        for (at, (number, text, kind)) in lines.iter().enumerate() {
            let message = match kind {
                0 => format!("{text} invoked oom-killer: x"),
                1 => format!("Task in /{text} killed as a result of limit of /"),
                2 => "Task in /".to_owned(),
                3 => format!("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=,task={text},pid={number},uid=0"),
                4 => format!("oom-kill:constraint={text}"),
                5 => format!("Killed process {number} ({text}) total-vm:1kB"),
                6 => format!("Tasks in {text} are going to be killed due to memory.oom.group set"),
                7 => format!("Kill process {number} ({text}) score 1 or sacrifice child"),
                8 => format!("Out of memory: OOM victim {number} (x) is already exiting"),
                9 => "memory: usage 1kB, limit 2kB, failcnt 3".to_owned(),
                _ => text.clone(),
            };
            let record = Record {
                facility: 0, level: 6, sequence: at as u64, stamp: Duration::from_millis(at as u64 * 100),
                continuation: number % 2 == 0, message,
            };
            tracker.push(&record, &mut |_| count += 1);
            prop_assert!(tracker.open.len() <= MAX_OPEN_REPORTS);
            prop_assert!(tracker.recent.len() <= MAX_RECENT_KILLS);
        }
        prop_assert!(count <= lines.len());
    }
}
