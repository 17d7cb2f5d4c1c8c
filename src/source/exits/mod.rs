//! What processes had used when they exited, by container: the last moments of a container that no poll
//! can see, since its files are gone when its end is noticed.
//!
//! Two netlink sockets, both for root in the initial namespaces only: the process connector (kernel:
//! `include/uapi/linux/cn_proc.h`) tells of each process that is made and of each program that is
//! begun, which is when [`table`] looks up its cgroup; taskstats (`taskstats.h`) tells of each thread
//! that ends, with its CPU time to the nanosecond, before its memory is given back and before anyone
//! can reap it. [`reader`] is the thread that brings them together.
//!
//! Neither names a cgroup. On v2 procfs still shows that of a process that has ended, until it is
//! reaped. On v1 it shows none, and what is known is where the process was when it was last looked at:
//! after `fork`, after `exec`, and after somebody wrote to a `cgroup.procs`.

pub mod wire;
mod pace;
pub mod table;
pub mod reader;

pub use reader::{ExitError, ExitReader};
pub use table::{ExitBook, Notice, Tally};
