//! The files of cgroup v1. `Documentation/admin-guide/cgroup-v1/` of the kernel.

pub mod files;
pub mod spec;
