//! Stage wire.
