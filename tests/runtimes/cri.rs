//! CRI.
