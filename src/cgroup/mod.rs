//! Stage cgroup.

pub mod mountinfo;
