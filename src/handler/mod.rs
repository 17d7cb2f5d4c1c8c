//! Stage handler.
