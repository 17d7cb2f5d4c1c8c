//! What is wrong with the configuration, in one line each.

use std::fmt;
use std::path::PathBuf;

use super::suggest::did_you_mean;

/// Where a value came from; `Display` is how a message names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag (kebab-case, without dashes).
    Flag(String),
    /// An environment variable.
    Env(String),
    /// A key of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Line of the key, from 1.
        line: usize,
        /// The key.
        key: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Env(name) => f.write_str(name),
            Self::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
        }
    }
}

/// Why there is no [`Config`](super::Config).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line cannot be understood.
    #[error("{0}; `cgauge --help` lists what there is")]
    Usage(String),
    /// No flag has this name.
    #[error("unknown flag {given}{}", match nearest { Some(_) => did_you_mean(nearest.as_deref()), None => "; `cgauge --help` lists the flags".to_owned() })]
    UnknownFlag {
        /// As it was written.
        given: String,
        /// The flag that was probably meant, with dashes.
        nearest: Option<String>,
    },
    /// No command has this name.
    #[error("unknown command {given:?}{}", match nearest { Some(_) => did_you_mean(nearest.as_deref()), None => "; `cgauge --help` lists the commands".to_owned() })]
    UnknownCommand {
        /// As it was written.
        given: String,
        /// The command that was probably meant.
        nearest: Option<String>,
    },
    /// A value that its setting cannot take.
    #[error("{origin}: {value:?} is not {want}")]
    BadValue {
        /// Who gave it.
        origin: Origin,
        /// As it was written.
        value: String,
        /// What would have been right.
        want: String,
    },
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {source}; check --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration file is not TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser says, in one line.
        message: String,
    },
    /// No setting has this name.
    #[error("{}:{line}: unknown key {key:?}{}", path.display(), match nearest { Some(_) => did_you_mean(nearest.as_deref()), None => "; a key is the name of a flag without its dashes: `cgauge --help` lists them".to_owned() })]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// As it was written.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
}

impl ConfigError {
    /// Exit code of a process that ends with this: 2 for the command line, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::UnknownFlag { .. }
            | Self::UnknownCommand { .. }
            | Self::BadValue {
                origin: Origin::Flag(_),
                ..
            } => 2,
            _ => 1,
        }
    }
}
