//! The `cgauge` command.

fn main() {}
