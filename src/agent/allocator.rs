//! Gives memory back to the system: for the program, not for those who embed the library.
//!
//! A page for a large node or a list of all events takes megabytes for a moment. glibc would keep
//! them, in one heap for each thread, and grow its idea of what is worth giving back at once; a
//! monitor should be as small between requests as it was before them.

// The only unsafe code of the package: three calls into the C library that take numbers, for which
// no safe interface exists.
#![allow(unsafe_code)]

use std::time::Duration;

/// How often memory that lies free between other memory is given back.
pub(super) const TRIM_INTERVAL: Duration = Duration::from_secs(15);

/// Blocks of at least this size are mapped one by one and given back as soon as they are free. The
/// C library's own default, which setting it keeps from growing.
#[cfg(target_env = "gnu")]
const MAP_FROM_BYTES: i32 = 128 * 1024;

/// Heaps for all threads: few, as they are mostly empty.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// To be called once, before threads are started.
pub(super) fn tune() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and has no precondition; an unknown one is refused.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAP_FROM_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Gives back what is free. A millisecond or less for tens of megabytes; locks one heap at a time.
pub(super) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and may be called at any time, on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
