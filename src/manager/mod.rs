//! Stage manager.
