//! The command line as clap sees it: built from the tables, so that there is one list of flags.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::compat::{COMPAT_FLAGS, CompatFlag};
use super::go_flags::{Known, Shape};
use super::limits::{EVENT_TYPES, event_type};
use super::settings::{SETTINGS, Setting};

/// What `cgauge events` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsArgs {
    /// Stream new events instead of listing past ones.
    pub follow: bool,
    /// Only these event types; empty: all.
    pub types: Vec<&'static str>,
    /// Only this container.
    pub container: Option<String>,
    /// Also what is below that container.
    pub subcontainers: bool,
    /// At most this many past events, the newest; `None`: all.
    pub max: Option<u32>,
    /// Print the events as JSON, one object a line.
    pub json: bool,
    /// The cgauge to ask: `http://ADDR:PORT`, `ADDR:PORT` or `unix:/path`.
    pub server: Option<String>,
}

/// What `cgauge why` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyArgs {
    /// The container: its path, the beginning of it, or what a runtime calls it.
    pub name: String,
    /// At most this many of its lives, the newest.
    pub max: u32,
    /// Print the answer as JSON.
    pub json: bool,
    /// The cgauge to ask.
    pub server: Option<String>,
}

const AFTER_HELP: &str = "\
Examples:
  cgauge                                     this node, on http://127.0.0.1:8080
  cgauge --listen 0.0.0.0:8080               the same, for everyone who can connect
  cgauge events --follow --type oom,oomKill  OOM kills as they happen
  cgauge why /system.slice/job.service       what happened to it?

Every setting is also an environment variable (--housekeeping-interval is
CGAUGE_HOUSEKEEPING_INTERVAL; --log-level is CGAUGE_LOG) and a key of the TOML file
(housekeeping_interval = \"10s\"). Flags win over variables, variables over the file.
A boolean takes its value with an equals sign: --docker-only=false.
cAdvisor's flags work as they are written for it: -port=8080, --housekeeping_interval=10s.";

const EVENTS_FLAGS: [(&str, Shape); 7] = [
    ("follow", Shape::Bool),
    ("type", Shape::Value),
    ("container", Shape::Value),
    ("subcontainers", Shape::Bool),
    ("max", Shape::Value),
    ("json", Shape::Bool),
    ("server", Shape::Value),
];

/// Every flag of every command, for [`rewrite`](super::go_flags::rewrite).
pub fn known() -> Vec<Known> {
    let shape = |is_bool| if is_bool { Shape::Bool } else { Shape::Value };
    let own = SETTINGS.iter().map(|s| Known {
        name: s.flag(),
        shape: shape(s.is_bool()),
        suggest: true,
    });
    let compat = COMPAT_FLAGS.iter().map(|flag| Known {
        name: flag.name.replace('_', "-"),
        shape: shape(flag.is_bool),
        suggest: true,
    });
    let other = EVENTS_FLAGS.into_iter().chain([
        ("config", Shape::Value),
        ("help", Shape::Switch),
        ("version", Shape::Switch),
    ]);
    let other = other.map(|(name, shape)| Known {
        name: name.to_owned(),
        shape,
        suggest: true,
    });
    own.chain(other).chain(compat).collect()
}

/// The whole command line.
pub fn command() -> Command {
    let run = with_settings(
        Command::new("run")
            .about("Monitor this node (the default)")
            .after_help(AFTER_HELP),
        true,
    );
    let check = Command::new("check")
        .about("Say what works here, what does not, and what each missing privilege would unlock");
    let events = Command::new("events")
        .about("Past events of a running cgauge; --follow streams new ones")
        .args(events_args());
    let why = Command::new("why")
        .about("What happened to a container, from a running cgauge: its end, its OOM kills, its limits")
        .args(why_args());
    let root = Command::new("cgauge")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A monitor for the containers of one Linux node.")
        .after_help(AFTER_HELP)
        .subcommand(run)
        .subcommand(with_settings(check, false))
        .subcommand(with_settings(events, false))
        .subcommand(with_settings(why, false));
    with_settings(root, true)
}

fn with_settings(command: Command, shown: bool) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("TOML file with settings (also CGAUGE_CONFIG) [default: none]")
        .help_heading("Settings file");
    command
        .args_override_self(true)
        .arg(file)
        .args(SETTINGS.iter().map(|setting| setting_arg(setting, shown)))
        .args(COMPAT_FLAGS.iter().map(compat_arg))
}

fn setting_arg(setting: &Setting, shown: bool) -> Arg {
    let arg = Arg::new(setting.name).long(setting.flag());
    let arg = if setting.is_bool() {
        bool_arg(arg)
    } else {
        arg.value_name(setting.value)
    };
    let action = if setting.name == "listen" {
        ArgAction::Append
    } else {
        ArgAction::Set
    };
    arg.action(action)
        .help(format!("{} [default: {}]", setting.help, setting.default))
        .help_heading(setting.group)
        .hide(setting.group.is_empty() || !shown)
}

fn compat_arg(flag: &CompatFlag) -> Arg {
    let arg = Arg::new(flag.name)
        .long(flag.name.replace('_', "-"))
        .hide(true);
    if flag.is_bool { bool_arg(arg) } else { arg }
}

/// Go's booleans: `--x`, or `--x=false`.
fn bool_arg(arg: Arg) -> Arg {
    arg.num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_name("true|false")
}

fn events_args() -> Vec<Arg> {
    let flag = |name: &'static str| {
        bool_arg(Arg::new(name).long(name))
            .value_parser(value_parser!(bool))
            .action(ArgAction::Set)
            .hide_possible_values(true)
    };
    let types = PossibleValuesParser::new(EVENT_TYPES.into_iter().chain(["creation", "deletion"]));
    vec![
        flag("follow").help("Stream new events until stopped"),
        Arg::new("type")
            .long("type")
            .value_name("TYPE")
            .value_parser(types)
            .value_delimiter(',')
            .action(ArgAction::Append)
            .help("Only events of this type; may be given more than once"),
        Arg::new("container")
            .long("container")
            .value_name("NAME")
            .help("Only events of this container [default: all]"),
        flag("subcontainers").help("With --container: and of everything below it"),
        Arg::new("max")
            .long("max")
            .value_name("N")
            .value_parser(value_parser!(u32))
            .help("The newest N past events; 0: all [default: 100]"),
        flag("json").help("Print one JSON object a line"),
        Arg::new("server")
            .long("server")
            .value_name("URL")
            .help("http://ADDR:PORT or unix:/path [default: where `cgauge run` would listen]"),
    ]
}

fn why_args() -> Vec<Arg> {
    vec![
        Arg::new("name")
            .value_name("NAME")
            .required(true)
            .help("Its path, the beginning of that, or what a runtime calls it"),
        Arg::new("max")
            .long("max")
            .value_name("N")
            .value_parser(value_parser!(u32))
            .help("The newest N containers of that name [default: 10]"),
        bool_arg(Arg::new("json").long("json"))
            .value_parser(value_parser!(bool))
            .action(ArgAction::Set)
            .hide_possible_values(true)
            .help("Print one JSON object a line"),
        Arg::new("server")
            .long("server")
            .value_name("URL")
            .help("http://ADDR:PORT or unix:/path [default: where `cgauge run` would listen]"),
    ]
}

/// How many lives `cgauge why` tells unless told otherwise.
const DEFAULT_MAX_LIVES: u32 = 10;

/// Reads the flags of `cgauge why`.
pub fn why(matches: &ArgMatches) -> WhyArgs {
    let text = |name| matches.get_one::<String>(name).cloned();
    let max = matches.get_one("max").copied();
    WhyArgs {
        name: text("name").unwrap_or_default(),
        max: max.unwrap_or(DEFAULT_MAX_LIVES).max(1),
        json: matches.get_one("json").copied().unwrap_or(false),
        server: text("server"),
    }
}

/// How many past events are listed unless told otherwise.
const DEFAULT_MAX_EVENTS: u32 = 100;

/// Reads the flags of `cgauge events`.
pub fn events(matches: &ArgMatches) -> EventsArgs {
    let flag = |name| matches.get_one::<bool>(name).copied().unwrap_or(false);
    let text = |name| matches.get_one::<String>(name).cloned();
    let types = matches.get_many::<String>("type").into_iter().flatten();
    EventsArgs {
        follow: flag("follow"),
        types: types.filter_map(|name| event_type(name)).collect(),
        container: text("container"),
        subcontainers: flag("subcontainers"),
        max: Some(
            matches
                .get_one("max")
                .copied()
                .unwrap_or(DEFAULT_MAX_EVENTS),
        )
        .filter(|max| *max > 0),
        json: flag("json"),
        server: text("server"),
    }
}

/// The settings given on the command line, with their texts.
pub fn given(matches: &ArgMatches) -> Vec<(&'static Setting, String)> {
    let text = |name| {
        let values = matches.get_many::<String>(name)?;
        Some(values.cloned().collect::<Vec<_>>().join(","))
    };
    SETTINGS
        .iter()
        .filter_map(|setting| Some((setting, text(setting.name)?)))
        .collect()
}

/// The flags given that have no effect, with their texts.
pub fn given_compat(matches: &ArgMatches) -> Vec<(&'static CompatFlag, String)> {
    let text = |name| matches.get_one::<String>(name).cloned();
    COMPAT_FLAGS
        .iter()
        .filter_map(|flag| Some((flag, text(flag.name)?)))
        .collect()
}
