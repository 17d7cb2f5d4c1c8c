//! Stage wire.

pub mod machine;
pub mod time;
