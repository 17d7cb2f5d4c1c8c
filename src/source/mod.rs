//! NOTICE: the kernel's own signals become changes for the manager.

pub mod kmsg;
pub mod oom;
pub mod kmsg_reader;
