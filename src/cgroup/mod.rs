//! Stage cgroup.
