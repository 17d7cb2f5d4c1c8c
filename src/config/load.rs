//! From arguments and environment to what the process shall do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::{ConfigError, Origin};
use super::file::{self, Entry};
use super::settings::SETTINGS;
use super::suggest::{did_you_mean, nearest};
use super::{Config, EventsArgs, IgnoredFlag, WhyArgs, flags, go_flags};

/// What the process was asked to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Invocation {
    /// Print this on stdout and end: help, or the version.
    Print(String),
    /// `cgauge run`, and `cgauge` alone.
    Run(Config),
    /// `cgauge check`.
    Check(Config),
    /// `cgauge events`; the configuration tells where the server would be.
    Events(EventsArgs, Config),
    /// `cgauge why`; likewise.
    Why(WhyArgs, Config),
}

/// Understands a command line (without the program's name) in an environment.
///
/// # Errors
/// One line about the first thing that is wrong; [`ConfigError::exit_code`] goes with it.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, ConfigError> {
    let args = args.into_iter().map(utf8).collect::<Result<Vec<_>, _>>()?;
    let args = go_flags::rewrite(&args, &flags::known())?;
    let matches = match flags::command()
        .try_get_matches_from(std::iter::once("cgauge".to_owned()).chain(args))
    {
        Ok(matches) => matches,
        Err(error) => return clap_outcome(&error),
    };
    let (name, inner) = matches
        .subcommand()
        .map_or(("run", None), |(name, inner)| (name, Some(inner)));
    let given: Vec<&ArgMatches> = std::iter::once(&matches).chain(inner).collect();
    let config = layers(&given, env)?;
    Ok(match (name, inner) {
        ("events", Some(inner)) => Invocation::Events(flags::events(inner), config),
        ("why", Some(inner)) => Invocation::Why(flags::why(inner), config),
        ("check", _) => Invocation::Check(config),
        _ => Invocation::Run(config),
    })
}

fn utf8(arg: OsString) -> Result<String, ConfigError> {
    arg.into_string()
        .map_err(|arg| ConfigError::Usage(format!("argument {arg:?} is not UTF-8")))
}

/// Help and version are answers; everything else is what clap says before it shows the usage, in
/// one line.
fn clap_outcome(error: &clap::Error) -> Result<Invocation, ConfigError> {
    let text = error.render().to_string();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Ok(Invocation::Print(text));
    }
    if let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) {
        let command = flags::command();
        let names = command.get_subcommands().map(clap::Command::get_name);
        return Err(ConfigError::UnknownCommand {
            given: given.clone(),
            nearest: nearest(given, names).map(str::to_owned),
        });
    }
    let unexpected = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) if error.kind() == ErrorKind::UnknownArgument => {
            arg.as_str()
        }
        _ => "",
    };
    // The only flags that exist and yet are unexpected: those of one command beside another.
    if let Some(flag) = unexpected
        .strip_prefix("--")
        .and_then(|rest| rest.split('=').next())
    {
        return Err(ConfigError::Usage(format!(
            "--{flag} belongs to `cgauge events`: cgauge events --{flag}"
        )));
    }
    let is_end = |line: &str| line.starts_with("Usage:") || line.starts_with("For more");
    let said = text.lines().map(str::trim).take_while(|line| !is_end(line));
    let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
    Err(ConfigError::Usage(
        said.join(" ").trim_start_matches("error: ").to_owned(),
    ))
}

/// Applies the layers, lowest first.
fn layers(
    given: &[&ArgMatches],
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let env: BTreeMap<String, String> = env
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("CGAUGE_"))
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect();

    let flag = given
        .iter()
        .rev()
        .find_map(|matches| matches.get_one::<String>("config"));
    let path = flag
        .or_else(|| env.get("CGAUGE_CONFIG"))
        .filter(|path| !path.is_empty());
    if let Some(path) = path {
        apply(&mut config, file::read(&PathBuf::from(path))?)?;
    }
    let entries = SETTINGS.iter().filter_map(|setting| {
        let name = setting.env();
        Some((setting, env.get(&name)?.clone(), Origin::Env(name)))
    });
    apply(&mut config, entries.collect())?;
    for matches in given {
        let entries = flags::given(matches).into_iter();
        apply(
            &mut config,
            entries
                .map(|(setting, text)| (setting, text, Origin::Flag(setting.flag())))
                .collect(),
        )?;
        for (flag, text) in flags::given_compat(matches) {
            if flag.is_bool {
                super::values::boolean(&text).map_err(|want| ConfigError::BadValue {
                    origin: Origin::Flag(flag.name.to_owned()),
                    value: text.clone(),
                    want,
                })?;
            }
            if flag.harmless != Some(text.as_str()) {
                config.ignored.push(IgnoredFlag {
                    name: flag.name,
                    reason: flag.reason,
                });
            }
        }
    }
    config
        .warnings
        .extend(env.keys().filter_map(|name| unknown_variable(name)));
    config.settle();
    Ok(config)
}

/// Applies one layer in the order of the table.
fn apply(config: &mut Config, mut entries: Vec<Entry>) -> Result<(), ConfigError> {
    let place = |entry: &Entry| {
        SETTINGS
            .iter()
            .position(|setting| setting.name == entry.0.name)
    };
    entries.sort_by_key(place);
    for (setting, value, origin) in entries {
        (setting.apply)(config, &value).map_err(|want| ConfigError::BadValue {
            origin,
            value,
            want,
        })?;
    }
    Ok(())
}

/// A warning about a `CGAUGE_*` variable that no setting reads.
fn unknown_variable(name: &str) -> Option<String> {
    /// Read by the test suites, which also start the binary.
    const TESTS: &str = "CGAUGE_TEST";
    let known: Vec<String> = SETTINGS
        .iter()
        .map(super::settings::Setting::env)
        .chain(["CGAUGE_CONFIG".to_owned()])
        .collect();
    if name.starts_with(TESTS) || known.iter().any(|known| known == name) {
        return None;
    }
    let hint = did_you_mean(nearest(name, known.iter().map(String::as_str)));
    Some(format!(
        "unknown environment variable {name} has no effect{hint}"
    ))
}
