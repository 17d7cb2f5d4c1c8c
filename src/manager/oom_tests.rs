#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

/// The incarnation that the tests are about, and the next of the same name.
const ONE: u64 = 1;
const TWO: u64 = 2;

/// A time of the kernel's clock, in milliseconds.
fn at(ms: i64) -> Timestamp {
    Timestamp(1_000_000_000_000 + ms * 1_000_000)
}

fn name(text: &str) -> ContainerName {
    ContainerName::from_request(text)
}

struct Scene {
    matcher: OomMatcher,
    now: Instant,
    /// When containers were made whose counters are read.
    made: i64,
}

impl Scene {
    fn new() -> Self {
        Self {
            matcher: OomMatcher::default(),
            now: Instant::now(),
            made: 5_000,
        }
    }

    fn log(&mut self, place: Place, ms: i64) -> Option<Verdict> {
        let group = matches!(place, Place::Within(_));
        let kill = OomKill {
            pid: Some(u32::try_from(ms).unwrap()),
            group,
            ..OomKill::default()
        };
        let logged = Logged {
            kill: Arc::new(kill),
            when: at(ms),
            earliest: at(ms),
            place,
            limit_of: ContainerName::root(),
        };
        self.matcher.logged(logged, self.now)
    }

    fn count(&mut self, of: &str, incarnation: u64, number: u64, ms: i64) -> Vec<Verdict> {
        self.count_with(of, incarnation, (number, None), ms, true)
    }

    fn count_with(
        &mut self,
        of: &str,
        incarnation: u64,
        (kills, groups): (u64, Option<u64>),
        ms: i64,
        followed: bool,
    ) -> Vec<Verdict> {
        let counted = Counted {
            name: &name(of),
            incarnation,
            counters: OomCounters { kills, groups },
            tasks: (of == "/pod/b").then_some(2),
            memory_bytes: (of == "/pod/c").then_some(1 << 20),
            while_down: false,
            read: at(ms),
            started: at(self.made),
        };
        self.matcher.counted(&counted, followed, self.now)
    }

    fn later(&mut self, wait: Duration) -> Vec<Verdict> {
        self.now += wait;
        self.matcher.overdue(self.now)
    }
}

fn in_a() -> Place {
    Place::In(name("/a"), Some(ONE))
}

fn twice(of: &str, incarnation: u64) -> Verdict {
    Verdict::twice((name(of), incarnation))
}

fn down(of: &str, incarnation: u64) -> Verdict {
    Verdict::group((name(of), incarnation), 1)
}

/// `number victim incarnation pid counted` of a new kill.
fn new(verdict: &Verdict) -> (u64, String, Option<u64>, Option<u32>, bool) {
    let Verdict::New(kill) = verdict else {
        panic!("no new kill: {verdict:?}")
    };
    let pid = kill.told.as_ref().and_then(|(_, told)| told.pid);
    let victim = kill.victim.to_string();
    (kill.number, victim, kill.incarnation, pid, kill.counted)
}

#[test]
fn both_witnesses_make_one_kill_in_either_order() {
    let mut scene = Scene::new();
    let told = scene.log(in_a(), 10).unwrap();
    assert_eq!(new(&told), (1, "/a".into(), Some(ONE), Some(10), false));
    assert_eq!(scene.count("/a", ONE, 1, 11), [Verdict::Confirmed(1, None)]);
    assert_eq!(scene.later(WAIT), []);

    assert_eq!(scene.count("/a", ONE, 1, 21), []);
    let told = scene.log(in_a(), 20).unwrap();
    assert_eq!(new(&told), (2, "/a".into(), Some(ONE), Some(20), true));
    assert_eq!(scene.later(WAIT), []);
    assert!(scene.matcher.from_log.is_empty() && scene.matcher.from_counters.is_empty());
}

#[test]
fn a_kill_is_counted_before_it_is_logged() {
    let mut scene = Scene::new();
    assert_eq!(scene.count("/a", ONE, 1, 20), []);
    let told = scene.log(in_a(), 25).unwrap();
    assert!(new(&told).4, "one kill, told by both");
    assert_eq!(scene.later(WAIT), []);
}

#[test]
fn a_kill_that_the_log_lost_is_told_after_a_moment_and_completed_if_it_comes_late() {
    let mut scene = Scene::new();
    assert_eq!(scene.count("/a", ONE, 2, 20), []);
    let told = scene.later(WAIT);
    assert_eq!(told.len(), 2);
    assert_eq!(new(&told[0]), (1, "/a".into(), Some(ONE), None, true));
    // The reader was held up: it is the same kill.
    let late = scene.log(in_a(), 10).unwrap();
    let Verdict::Confirmed(1, Some(logged)) = late else {
        panic!("{late:?}")
    };
    assert_eq!(logged.kill.pid, Some(10));
    // The third is another.
    assert!(matches!(
        scene.log(in_a(), 12),
        Some(Verdict::Confirmed(2, _))
    ));
    assert_eq!(new(&scene.log(in_a(), 2_000).unwrap()).0, 3);
}

#[test]
fn without_a_log_the_counter_is_believed_at_once() {
    let mut scene = Scene::new();
    let told = scene.count_with("/a", ONE, (u64::MAX, None), 0, false);
    assert_eq!(told.len(), MAX_AT_ONCE, "an absurd counter is bounded");
    assert_eq!(scene.later(WAIT), []);
}

#[test]
fn a_counter_read_before_a_kill_cannot_have_counted_it() {
    let mut scene = Scene::new();
    assert_eq!(scene.count("/a", ONE, 1, 1_000), []);
    let told = scene.log(in_a(), 2_000).unwrap();
    assert_eq!(new(&told).0, 1);
    assert_eq!(
        new(&scene.later(WAIT)[0]),
        (2, "/a".into(), Some(ONE), None, true)
    );
}

#[test]
fn an_old_record_does_not_hide_a_new_kill() {
    let mut scene = Scene::new();
    scene.log(in_a(), 10).unwrap();
    assert_eq!(scene.later(WAIT_FOR_CONFIRMATION), []);
    assert_eq!(scene.count("/a", ONE, 1, 200_000), []);
    assert_eq!(scene.later(WAIT).len(), 1);
}

#[test]
fn a_record_of_one_container_does_not_hide_a_kill_in_the_next_of_its_name() {
    let mut scene = Scene::new();
    scene.log(in_a(), 10).unwrap();
    assert_eq!(scene.count("/a", TWO, 1, 20), []);
    let told = scene.later(WAIT);
    assert_eq!(new(&told[0]), (2, "/a".into(), Some(TWO), None, true));
    assert_eq!(scene.count("/a", ONE, 1, 30), [Verdict::Confirmed(1, None)]);
}

#[test]
fn a_record_at_the_time_of_a_change_is_of_the_container_that_counted() {
    let mut scene = Scene::new();
    scene.made = 12;
    scene.log(in_a(), 10).unwrap();
    assert_eq!(scene.count("/a", TWO, 1, 20), []);
    let counters = OomCounters {
        kills: 1,
        groups: None,
    };
    let told = scene.later(WAIT);
    let beside = Verdict::Beside(name("/a"), TWO, counters);
    assert_eq!(told, [Verdict::Confirmed(1, None), beside], "one kill");
    assert_eq!(scene.later(WAIT), []);
}

/// Two kills, one in each container of a name, both put down to the later one: made within the same tick of
/// the kernel's timer.
#[test]
fn a_record_put_down_to_the_next_of_the_name_is_of_the_one_that_counted() {
    for followed in [true, false] {
        let mut scene = Scene::new();
        for when in [10, 12] {
            let told = scene.log(Place::In(name("/a"), Some(TWO)), when);
            assert_eq!(new(&told.unwrap()).2, Some(TWO));
        }
        let of_two = scene.count("/a", TWO, 1, 14);
        assert_eq!(of_two, [Verdict::Confirmed(1, None)]);
        let mut told = scene.count_with("/a", ONE, (1, None), 11, followed);
        told.extend(scene.later(WAIT));
        let one_kill = [Verdict::Confirmed(2, None), twice("/a", ONE)];
        assert_eq!(told, one_kill, "{followed}");
        assert_eq!(scene.later(WAIT), []);
        // What happens in the next one long after is not what the first one counted.
        let told = scene.log(Place::In(name("/a"), Some(TWO)), 500).unwrap();
        assert_eq!(new(&told).0, 3);
        let mut told = scene.count_with("/a", ONE, (1, None), 300, followed);
        told.extend(scene.later(WAIT));
        assert_eq!(new(&told[0]), (4, "/a".into(), Some(ONE), None, true));
    }
}

#[test]
fn a_record_that_is_late_goes_to_the_container_that_counted() {
    let mut scene = Scene::new();
    assert_eq!(scene.count("/a", ONE, 1, 20), []);
    // Made again at 21; the record was put down to the new one for lack of better knowledge.
    let told = scene.log(Place::In(name("/a"), Some(TWO)), 10).unwrap();
    assert_eq!(new(&told), (1, "/a".into(), Some(ONE), Some(10), true));
    // But what happens right after in the new one is its own.
    assert_eq!(scene.count("/a", ONE, 1, 22), []);
    let told = scene.log(Place::In(name("/a"), Some(TWO)), 30).unwrap();
    assert_eq!(new(&told), (2, "/a".into(), Some(TWO), Some(30), false));
}

#[test]
fn a_record_of_a_container_not_yet_known_meets_its_counter() {
    let mut scene = Scene::new();
    let told = scene.log(Place::In(name("/a"), None), 10).unwrap();
    assert_eq!(new(&told).2, None);
    assert_eq!(scene.count("/a", ONE, 1, 20), [Verdict::Confirmed(1, None)]);
}

#[test]
fn further_victims_of_a_group_kill_go_where_the_counters_rose() {
    let mut scene = Scene::new();
    let pod = || Place::Within(name("/pod"));
    assert_eq!(scene.log(pod(), 10), None);
    assert_eq!(scene.log(pod(), 11), None);
    let told = scene.count("/pod/a", ONE, 1, 12);
    assert_eq!(
        new(&told[0]),
        (1, "/pod/a".into(), Some(ONE), Some(10), true)
    );
    // The counter first.
    let told = scene.count("/pod/b", TWO, 1, 12);
    assert_eq!(
        new(&told[0]),
        (2, "/pod/b".into(), Some(TWO), Some(11), true)
    );
    // The counter first.
    assert_eq!(scene.count("/pod/b", TWO, 1, 20), []);
    let told = scene.log(pod(), 19).unwrap();
    assert_eq!(new(&told), (3, "/pod/b".into(), Some(TWO), Some(19), true));
    assert_eq!(scene.later(WAIT), []);
    // Nobody counts: told of the group, after a moment.
    assert_eq!(scene.log(pod(), 1_500), None);
    let told = scene.later(WAIT);
    assert_eq!(new(&told[0]), (4, "/pod".into(), None, Some(1_500), false));
    // A counter that is read late does not tell it again.
    assert_eq!(
        scene.count("/pod/b", TWO, 1, 3_000),
        [Verdict::Confirmed(4, None)]
    );
}

#[test]
fn a_kill_without_a_place_is_that_of_the_one_container_that_counted() {
    let mut scene = Scene::new();
    assert_eq!(scene.count("/a", ONE, 2, 12), []);
    assert_eq!(scene.log(Place::Unknown, 10), None);
    assert_eq!(scene.log(Place::Unknown, 11), None);
    let told = scene.later(WAIT);
    assert_eq!(new(&told[0]), (1, "/a".into(), Some(ONE), Some(10), true));
    assert_eq!(new(&told[1]), (2, "/a".into(), Some(ONE), Some(11), true));
    assert_eq!((told.len(), scene.later(WAIT)), (2, vec![]));
}

#[test]
fn who_was_where_is_not_guessed() {
    let mut scene = Scene::new();
    scene.log(Place::Unknown, 10);
    scene.log(Place::Unknown, 11);
    scene.count("/a", ONE, 1, 12);
    scene.count("/b", TWO, 1, 12);
    let told: Vec<_> = scene.later(WAIT).iter().map(new).collect();
    assert_eq!(
        told,
        [
            (1, "/a".into(), Some(ONE), None, true),
            (2, "/b".into(), Some(TWO), None, true),
        ]
    );
    assert_eq!(scene.later(WAIT), []);
}

#[test]
fn a_kill_that_nobody_counted_and_nothing_places_is_the_roots() {
    let mut scene = Scene::new();
    scene.log(Place::Unknown, 10);
    let told = scene.later(WAIT);
    assert_eq!(new(&told[0]), (1, "/".into(), None, Some(10), false));
    assert_eq!(scene.later(WAIT), []);
}

#[test]
fn what_is_held_is_bounded() {
    let mut scene = Scene::new();
    for number in 0..3 * MAX_HELD {
        scene.log(Place::Unknown, i64::try_from(number).unwrap());
    }
    assert!(scene.matcher.from_log.len() <= MAX_HELD);
}

#[test]
fn the_chosen_process_of_a_group_kill_is_counted_twice_and_told_once() {
    let mut scene = Scene::new();
    let again = |scene: &mut Scene, ms| {
        let logged = Logged {
            kill: Arc::default(),
            when: at(ms),
            earliest: at(ms),
            place: in_a(),
            limit_of: ContainerName::root(),
        };
        scene.matcher.again(logged, scene.now)
    };
    assert_eq!(scene.count("/a", ONE, 2, 12), []);
    assert_eq!(new(&scene.log(in_a(), 10).unwrap()).0, 1);
    assert_eq!(again(&mut scene, 11), [twice("/a", ONE)]);
    assert_eq!(scene.later(WAIT), []);

    assert_eq!(new(&scene.log(in_a(), 20).unwrap()).0, 2);
    assert_eq!(again(&mut scene, 21), []);
    assert_eq!(
        scene.count("/a", ONE, 2, 22),
        [Verdict::Confirmed(2, None), twice("/a", ONE)]
    );
    assert_eq!(scene.later(WAIT), []);

    // The kernel counts groups, too; that is no second reason to drop one.
    for group_first in [true, false] {
        let mut scene = Scene::new();
        let told = new(&scene.log(in_a(), 20).unwrap());
        let group = |scene: &mut Scene| scene.count_with("/", ONE, (0, Some(1)), 21, true);
        if group_first {
            assert_eq!(group(&mut scene), []);
            assert_eq!(again(&mut scene, 21), [down("/", ONE)]);
        } else {
            assert_eq!(again(&mut scene, 21), []);
            assert_eq!(group(&mut scene), [down("/", ONE)]);
        }
        assert_eq!(
            scene.count_with("/a", ONE, (3, Some(0)), 22, true),
            [Verdict::Confirmed(told.0, None), twice("/a", ONE)]
        );
        assert_eq!(scene.later(WAIT).len(), 1, "one that the log lost");
    }
}

#[test]
fn a_late_record_whose_clock_is_not_sure_is_the_kill_that_was_counted() {
    let mut scene = Scene::new();
    assert_eq!(scene.count("/a", ONE, 1, 20), []);
    let logged = Logged {
        kill: Arc::default(),
        when: at(5_000),
        earliest: at(10),
        place: in_a(),
        limit_of: ContainerName::root(),
    };
    let told = scene.matcher.logged(logged, scene.now).unwrap();
    assert!(new(&told).4, "one kill, told by both");
}

#[test]
fn without_a_log_a_group_that_went_down_has_one_kill_less_than_was_counted() {
    let mut scene = Scene::new();
    // Counted in three looks, of which none has it all.
    assert_eq!(scene.count_with("/a", ONE, (1, Some(0)), 10, false), []);
    assert_eq!(scene.count_with("/a", ONE, (1, Some(1)), 11, false), []);
    assert_eq!(scene.count_with("/a", ONE, (1, Some(0)), 12, false), []);
    let told = scene.later(WAIT);
    assert_eq!(told[..2], [twice("/a", ONE), down("/a", ONE)]);
    let kills: Vec<_> = told[2..].iter().map(new).collect();
    let one = |number| (number, "/a".into(), Some(ONE), None, true);
    assert_eq!(kills, [one(1), one(2)]);
    assert_eq!(scene.later(Duration::from_secs(5)), []);

    // It was alone, and had ended before the kernel came to it again.
    assert_eq!(scene.count_with("/a", ONE, (1, Some(1)), 90_000, false), []);
    assert_eq!(scene.later(WAIT).len(), 1);
    assert_eq!(scene.later(Duration::from_secs(5)), [down("/a", ONE)]);
}

#[test]
fn what_was_counted_twice_was_where_more_were_counted_than_there_were() {
    let count = |scene: &mut Scene, others: &[(&str, u64, u64)]| {
        assert_eq!(scene.count_with("/pod", 9, (0, Some(1)), 10, false), []);
        for (of, incarnation, number) in others {
            let told = scene.count_with(of, *incarnation, (*number, Some(0)), 11, false);
            assert_eq!(told, []);
        }
        let told = scene.later(WAIT);
        told.into_iter()
            .filter(|of| !matches!(of, Verdict::New(_)))
            .collect::<Vec<_>>()
    };
    // `b` has two tasks, `c` is large.
    let mut scene = Scene::new();
    let told = count(&mut scene, &[("/pod/b", 1, 3), ("/pod/c", 2, 3)]);
    assert_eq!(told, [twice("/pod/b", 1), down("/pod", 9)]);
    let mut scene = Scene::new();
    let told = count(&mut scene, &[("/pod/b", 1, 2), ("/pod/c", 2, 3)]);
    assert_eq!(told, [twice("/pod/c", 2), down("/pod", 9)]);
    // One that is not in the group, and one that lost a single process.
    let mut scene = Scene::new();
    assert_eq!(count(&mut scene, &[("/other", 1, 3), ("/pod/c", 2, 1)]), []);
}

#[test]
fn a_log_that_is_late_does_not_drop_a_second_kill() {
    let mut scene = Scene::new();
    assert_eq!(scene.count_with("/a", ONE, (3, Some(1)), 12, true), []);
    let told = scene.later(WAIT);
    assert_eq!(told.len(), 4, "{told:?}");
    for ms in [10, 11] {
        assert!(matches!(
            scene.log(in_a(), ms),
            Some(Verdict::Confirmed(..))
        ));
    }
    let logged = Logged {
        kill: Arc::default(),
        when: at(11),
        earliest: at(11),
        place: in_a(),
        limit_of: ContainerName::root(),
    };
    assert_eq!(scene.matcher.again(logged, scene.now), []);
    assert_eq!(scene.count("/a", ONE, 1, 2_000), []);
    assert_eq!(scene.later(WAIT).len(), 1, "another kill");
}
