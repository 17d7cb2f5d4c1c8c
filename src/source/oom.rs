//! Kernel log records to OOM kills.
