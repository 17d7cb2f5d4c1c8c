//! The files of cgroup v2. `Documentation/admin-guide/cgroup-v2.rst` of the kernel.

pub mod files;
pub mod spec;
