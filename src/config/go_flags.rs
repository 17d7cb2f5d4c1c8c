//! Go's way of writing flags, turned into the one that clap reads. Pure.
//!
//! Go takes one dash or two, and a value flag swallows the next word whatever it begins with.
//! cAdvisor spells its flags with underscores. After [`rewrite`] every flag is `--kebab-case`,
//! with its value behind `=`.

use super::ConfigError;
use super::suggest::nearest;

/// How a flag takes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `--x=v` or `--x v`.
    Value,
    /// `--x` or `--x=false`.
    Bool,
    /// `--x`: prints something and ends, as `--help` does.
    Switch,
}

/// A flag that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// In kebab-case, without dashes.
    pub name: String,
    /// How it takes its value.
    pub shape: Shape,
    /// Whether it is offered as a correction of a typing error.
    pub suggest: bool,
}

/// Rewrites the arguments (without the program's name).
///
/// # Errors
/// [`ConfigError::UnknownFlag`] for a flag that is not in `known`; [`ConfigError::Usage`] for a
/// value flag without a value, and for a boolean whose value stands apart (in Go, such a word
/// would silently end the flags).
pub fn rewrite(args: &[String], known: &[Known]) -> Result<Vec<String>, ConfigError> {
    let mut out = Vec::with_capacity(args.len());
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        if arg == "--" {
            out.push(arg.clone());
            out.extend(args.cloned());
            break;
        }
        let Some((name, value)) = split(arg) else {
            out.push(arg.clone());
            continue;
        };
        let flag = lookup(name, known).ok_or_else(|| unknown(arg, name, known))?;
        let name = &flag.name;
        match (flag.shape, value) {
            (Shape::Value | Shape::Bool, Some(value)) => out.push(format!("--{name}={value}")),
            (Shape::Value, None) => {
                let next = args.next_if(|next| {
                    split(next).is_none_or(|(name, _)| lookup(name, known).is_none())
                });
                let value = next.ok_or_else(|| {
                    ConfigError::Usage(format!("--{name} needs a value: --{name}=VALUE"))
                })?;
                out.push(format!("--{name}={value}"));
            }
            (Shape::Bool, None) => {
                if let Some(word) = args
                    .peek()
                    .filter(|next| super::values::boolean(next).is_ok())
                {
                    let text =
                        format!("--{name} takes its value with an equals sign: --{name}={word}");
                    return Err(ConfigError::Usage(text));
                }
                out.push(format!("--{name}=true"));
            }
            (Shape::Switch, value) => {
                if value.is_none_or(|value| super::values::boolean(value).unwrap_or(true)) {
                    out.push(format!("--{name}"));
                }
            }
        }
    }
    Ok(out)
}

/// Name and value of a flag; `None` for a word that is none (also `-` alone).
fn split(arg: &str) -> Option<(&str, Option<&str>)> {
    let body = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    if body.is_empty() {
        return None;
    }
    match body.split_once('=') {
        Some((name, value)) => Some((name, Some(value))),
        None => Some((body, None)),
    }
}

fn lookup<'a>(name: &str, known: &'a [Known]) -> Option<&'a Known> {
    let name = match name {
        "h" => "help".to_owned(),
        "V" => "version".to_owned(),
        _ => name.replace('_', "-"),
    };
    known.iter().find(|flag| flag.name == name)
}

fn unknown(arg: &str, name: &str, known: &[Known]) -> ConfigError {
    let given = arg.split_once('=').map_or(arg, |(flag, _)| flag).to_owned();
    let names = known
        .iter()
        .filter(|flag| flag.suggest)
        .map(|flag| flag.name.as_str());
    ConfigError::UnknownFlag {
        given,
        nearest: nearest(name, names).map(|name| format!("--{name}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn known() -> Vec<Known> {
        let flag = |name: &str, shape| Known {
            name: name.to_owned(),
            shape,
            suggest: true,
        };
        vec![
            flag("port", Shape::Value),
            flag("jitter-factor", Shape::Value),
            flag("kmsg", Shape::Value),
            flag("v", Shape::Value),
            flag("docker-only", Shape::Bool),
            flag("help", Shape::Switch),
            flag("version", Shape::Switch),
        ]
    }

    fn run(line: &str) -> Result<Vec<String>, ConfigError> {
        let args: Vec<String> = line.split(' ').map(|word| word.replace('~', "")).collect();
        rewrite(&args, &known())
    }

    #[test]
    fn go_spellings_become_one() {
        for (line, want) in [
            ("-port=8080", "--port=8080"),
            ("--port=8080", "--port=8080"),
            ("-port 8080", "--port=8080"),
            ("--port 8080", "--port=8080"),
            ("run --port 9000", "run --port=9000"),
            ("-jitter_factor -1", "--jitter-factor=-1"),
            ("--jitter-factor=-1.5", "--jitter-factor=-1.5"),
            ("-jitter_factor -.5 -port 1", "--jitter-factor=-.5 --port=1"),
            ("-kmsg -odd-file", "--kmsg=-odd-file"),
            ("-kmsg -", "--kmsg=-"),
            ("-kmsg --", "--kmsg=--"),
            ("-kmsg= -port=1", "--kmsg= --port=1"),
            ("-kmsg ~ -port=1", "--kmsg= --port=1"),
            ("-kmsg=a=b", "--kmsg=a=b"),
            ("-v=2", "--v=2"),
            ("-v 4", "--v=4"),
            ("--v=0", "--v=0"),
            ("-docker_only", "--docker-only=true"),
            ("--docker_only=false", "--docker-only=false"),
            ("-docker-only check", "--docker-only=true check"),
            ("-h", "--help"),
            ("-help", "--help"),
            ("-V", "--version"),
            ("-version=true", "--version"),
            ("-version=false -port=1", "--port=1"),
            ("run -- -port=1 --nonsense", "run -- -port=1 --nonsense"),
            ("- x", "- x"),
        ] {
            assert_eq!(run(line).unwrap().join(" "), want, "{line}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (line, want) in [
            ("-prot=1", "unknown flag -prot; did you mean --port?"),
            (
                "--docker_olny",
                "unknown flag --docker_olny; did you mean --docker-only?",
            ),
            ("--", ""),
            (
                "--nothing_like_it=3",
                "unknown flag --nothing_like_it; `cgauge --help` lists the flags",
            ),
            (
                "--port",
                "--port needs a value: --port=VALUE; `cgauge --help` lists what there is",
            ),
            (
                "--port --docker_only",
                "--port needs a value: --port=VALUE; `cgauge --help` lists what there is",
            ),
            (
                "-docker_only false",
                "--docker-only takes its value with an equals sign: --docker-only=false; `cgauge --help` lists what there is",
            ),
            ("-=x", "unknown flag -; `cgauge --help` lists the flags"),
            ("---port=1", "unknown flag ---port; did you mean --port?"),
        ] {
            let text = run(line)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert_eq!(text, want, "{line}");
        }
    }
}
