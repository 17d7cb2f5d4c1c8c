//! What every integration test stands on: the agent under test, real cgroups, helper processes,
//! a small HTTP client, and waiting for a state with a deadline.
//!
//! | variable | effect |
//! |---|---|
//! | `CGAUGE_TEST_ALL=1` | a test that lacks something fails instead of being skipped |
//! | `CGAUGE_TEST_SLOWNESS=10` | every deadline is that many times longer (emulated CPUs, valgrind) |
//! | `CGAUGE_IN_GUEST=1` | the machine is a throw-away guest: tests may change its sysctls |
//! | `CGAUGE_TEST_BINARY=PATH` | tests another build of the binary |
//! | `CGAUGE_CHURN_ROUNDS=20` | rounds of the churn tests |
//! | `CGAUGE_TEST_OUTAGE=60` | for how many seconds a runtime is stopped where the length matters |

// Each test module uses its own part of the library.
#![allow(dead_code, unused_imports)]

pub mod agent;
pub mod cgroup;
pub mod http;
pub mod process;
mod self_check;

use std::time::{Duration, Instant};

pub use agent::{Agent, Event};
pub use cgroup::{Layout, TestCgroup};
pub use http::{Address, Client, LineStream, Response};
pub use process::Helper;

/// How often [`wait_until`] looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The deadline for anything that takes an unloaded machine much less than a second.
pub const SOON: Duration = Duration::from_secs(15);

/// Ends the test: something that it needs is not on this machine.
///
/// Prints one line that says what; with `CGAUGE_TEST_ALL=1` it is a failure.
macro_rules! skip {
    ($($reason:tt)*) => {{
        let reason = format!($($reason)*);
        assert!(
            std::env::var_os("CGAUGE_TEST_ALL").is_none_or(|v| v != "1"),
            "skipped although CGAUGE_TEST_ALL=1: {reason}"
        );
        println!("skipped: {reason}");
        return;
    }};
}
pub(crate) use skip;

/// Ends the test: it belongs to the other place where the same binary is run (host or guest).
///
/// Unlike [`skip!`] never a failure, since the full run covers both places.
macro_rules! not_here {
    ($($reason:tt)*) => {{
        println!("not here: {}", format!($($reason)*));
        return;
    }};
}
pub(crate) use not_here;

/// Ends the test unless it runs as root with writable cgroups.
macro_rules! needs_cgroups {
    () => {
        if let Err(reason) = $crate::support::cgroup::writable() {
            $crate::support::skip!("{reason}");
        }
    };
}
pub(crate) use needs_cgroups;

/// `duration`, stretched by `CGAUGE_TEST_SLOWNESS`.
pub fn scaled(duration: Duration) -> Duration {
    let slowness = std::env::var("CGAUGE_TEST_SLOWNESS")
        .ok()
        .and_then(|v| v.parse::<f64>().ok())
        .filter(|v| *v >= 1.0 && *v <= 1000.0)
        .unwrap_or(1.0);
    duration.mul_f64(slowness)
}

/// Whether this machine is the throw-away guest.
pub fn in_guest() -> bool {
    std::env::var_os("CGAUGE_IN_GUEST").is_some_and(|v| v == "1")
}

/// Waits until `look` has an answer; fails the test, naming `what`, after `deadline` (scaled).
#[track_caller]
pub fn wait_until<T>(deadline: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    match wait_for(deadline, look) {
        Some(value) => value,
        None => panic!("not within {:?}: {what}", scaled(deadline)),
    }
}

/// As [`wait_until`], with `None` after the deadline: for callers that say more about the failure.
pub fn wait_for<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + scaled(deadline);
    loop {
        if let Some(value) = look() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The machine shared by tests that run side by side, or owned by one that counts what the agent holds.
static MACHINE: parking_lot::RwLock<()> = parking_lot::RwLock::new(());

/// Held, once, by a test that may run beside others.
pub fn shared() -> parking_lot::RwLockReadGuard<'static, ()> {
    MACHINE.read()
}

/// Held by a test that measures, or that changes the machine: no other test runs meanwhile.
pub fn alone() -> parking_lot::RwLockWriteGuard<'static, ()> {
    MACHINE.write()
}
