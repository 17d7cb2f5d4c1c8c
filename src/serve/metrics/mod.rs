//! `/metrics`: what Prometheus and its like scrape, from a table.
//!
//! A row is a family: its name, help, type, kind and where its samples come from. The encoder walks
//! the rows by name and writes straight into one buffer. Values are integers, or nanoseconds printed
//! as decimal seconds: nothing is rounded on its way out.
//!
//! *Absent is absent*: a figure that the kernel does not give has no sample, a family without
//! samples no header. There are no timestamps unless asked for: they keep Prometheus from seeing that
//! a container has gone. How old figures are is said by `container_last_seen`, the time of the sample.
//!
//! | file | holds |
//! |---|---|
//! | `options`, `profile` | what is shown |
//! | `format` | which format a client wants |
//! | `encode`, `proto` | the formats |
//! | `labels` | label blocks, and escaping |
//! | `identity` | who a container is: labels, and what its runtime alone knows |
//! | `family`, `table` | what a row is; all rows |
//! | `page`, `budget` | what a scrape shows, the walk over the rows, and what is left out |
//! | `cpu`, `memory`, `numa`, `disk`, `io`, `network`, `sockets`, `pressure`, `processes`, `spec` | families of containers |
//! | `workloads` | families of what outlives a container |
//! | `machine`, `topology`, `own`, `process` | families of the machine, of cgauge, of its process |

mod identity;
mod options;
mod profile;
mod format;
mod proto;
mod labels;
mod encode;
mod family;
mod page;
mod budget;
mod cpu;
mod memory;
mod numa;
mod disk;
mod io;
mod network;
mod sockets;
mod pressure;
mod processes;
mod spec;
mod workloads;
mod machine;
mod topology;
mod own;
mod process;
mod table;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = Format::Text.content_type();

pub use family::Type;
pub use format::Format;
pub use identity::{LabelCache, LabelChoice, LabelSet, MAX_LABEL_VALUE, MAX_LABELS};
pub use options::{ENDED_FOR, MAX_AGE, Options, Profile};
pub use page::{Container, Descriptors, NameCounts, Page, Sources};
pub use process::Process;
pub use profile::LEAN_SERIES;
pub use table::{Row, families};
pub use workloads::is_shown;

#[cfg(test)]
mod tests;
