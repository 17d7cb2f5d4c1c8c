//! The lowest priority that there is, for processor and disk.

// One system call that takes three numbers, for which no crate here has a safe interface.
#![allow(unsafe_code)]

/// Who is meant: one thread. `IOPRIO_WHO_PROCESS` of the kernel's `linux/ioprio.h`.
const ONE_THREAD: libc::c_int = 1;

/// The class that is served when nobody else wants the disk: `IOPRIO_CLASS_IDLE` in its place, with no
/// level.
const IDLE: libc::c_int = 3 << 13;

/// What niceness this thread gets.
const NICENESS: i32 = 19;

/// Makes the calling thread give way to all others. What the kernel refuses stays as it is.
pub(super) fn give_way() {
    // Never negative: no privilege is needed.
    let _ = rustix::process::nice(NICENESS);
    // SAFETY: the call takes three numbers, changes the calling thread's priority and nothing else.
    unsafe {
        libc::syscall(libc::SYS_ioprio_set, ONE_THREAD, 0, IDLE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_thread_and_no_other_gives_way() {
        // SAFETY: the call takes two numbers and gives one.
        let class = || unsafe { libc::syscall(libc::SYS_ioprio_get, ONE_THREAD, 0) };
        let before = class();
        let in_thread = std::thread::spawn(move || {
            give_way();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let nice = stat.rsplit(')').next().unwrap().split(' ').nth(17).unwrap();
            (class(), nice.parse::<i32>().unwrap())
        });
        assert_eq!(in_thread.join().unwrap(), (i64::from(IDLE), 19));
        assert_eq!(class(), before);
    }
}
