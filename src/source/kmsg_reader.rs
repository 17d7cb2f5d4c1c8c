//! Reads `/dev/kmsg`.
