//! One row of the table of settings.

use super::Config;

/// Writes one value into the configuration; the error says what would have been right.
pub type Apply = fn(&mut Config, &str) -> Result<(), String>;

/// One setting.
#[derive(Debug)]
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
