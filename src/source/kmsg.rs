//! One `/dev/kmsg` record.
