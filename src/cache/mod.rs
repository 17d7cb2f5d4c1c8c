//! Stage cache.
