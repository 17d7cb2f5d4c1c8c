//! One row of the table of settings, and what rows are made with.

use super::Config;

/// Writes one value into the configuration; the error says what would have been right.
pub type Apply = fn(&mut Config, &str) -> Result<(), String>;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name with underscores: the key in the file, and the flag as cAdvisor would spell it.
    pub name: &'static str,
    /// Heading in `--help`; empty for the ones that are there for cAdvisor's sake only.
    pub group: &'static str,
    /// What stands for the value in `--help`; empty for a boolean.
    pub value: &'static str,
    /// The default as it would be written, for `--help`.
    pub default: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
    /// Sets it.
    pub apply: Apply,
}

impl Setting {
    /// The flag in our spelling, without dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub fn env(&self) -> String {
        if self.name == "log_level" {
            "CGAUGE_LOG".to_owned()
        } else {
            format!("CGAUGE_{}", self.name.to_uppercase())
        }
    }

    /// Whether a bare `--flag` is enough.
    pub fn is_bool(&self) -> bool {
        self.value.is_empty()
    }
}

// Headings in `--help`.
pub(super) const SERVE: &str = "Where to answer";
pub(super) const POLL: &str = "Polling";
pub(super) const KEEP: &str = "Keeping";
pub(super) const PICK: &str = "Which containers and metrics";
pub(super) const ROOTS: &str = "Where the kernel's files are";
pub(super) const PROCESS: &str = "The process";
pub(super) const COMPAT: &str = "";

/// A row of the table.
pub(super) const fn row(
    name: &'static str,
    group: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
    apply: Apply,
) -> Setting {
    Setting {
        name,
        group,
        value,
        default,
        help,
        apply,
    }
}

/// More threads than this answer nothing faster.
pub(super) const MAX_PROCS: usize = 256;

/// Puts a value that is right in its place.
pub(super) fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

/// Keeps what is odd about a setting without being wrong.
pub(super) fn warn(c: &mut Config, name: &str, warnings: Vec<String>) -> Result<(), String> {
    let named = warnings.into_iter().map(|text| format!("{name}: {text}"));
    c.warnings.extend(named);
    Ok(())
}
