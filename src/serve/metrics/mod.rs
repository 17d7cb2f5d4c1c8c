//! `/metrics`: the Prometheus text format 0.0.4, from a table.
//!
//! A row is a family: its name, help, type, kind and where its samples come from. The encoder walks
//! the rows by name and writes straight into one buffer. Values are integers, or nanoseconds printed
//! as decimal seconds: nothing is rounded on its way out.
//!
//! *Absent is absent*: a figure that the kernel does not give has no sample, a family without
//! samples no header. There are no timestamps: how old figures are is said by
//! `container_last_seen`, the time of the sample that is shown.
//!
//! | file | holds |
//! |---|---|
//! | `encode` | the text format |
//! | `labels` | label blocks, and escaping |
//! | `family` | what a row is |
//! | `page` | what a scrape shows, and the walk over the rows |
//! | `cpu`, `memory`, `io`, `network`, `pressure`, `spec` | families of containers |
//! | `machine`, `own`, `process` | families of the machine, of cgauge, of its process |

mod encode;
mod labels;
mod family;
mod page;
mod cpu;
mod memory;
mod io;
mod network;
mod pressure;
mod spec;
mod machine;
mod own;
mod process;

pub use page::{CONTENT_TYPE, Container, Descriptors, Page};
pub use process::Process;

#[cfg(test)]
mod tests;
