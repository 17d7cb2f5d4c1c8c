//! The TOML file: flat, `name = value`, the names those of the flags with underscores.

use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::settings::{self, SETTINGS, Setting};
use super::suggest::nearest;

/// A configuration file larger than this is not one.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A setting, its value as a flag would spell it, and where it stands.
pub type Entry = (&'static Setting, String, Origin);

/// Reads the settings of a file.
///
/// # Errors
/// When the file cannot be read, is not TOML, or has a key or value that no setting takes; each
/// names the file and, where there is one, the line.
pub fn read(path: &Path) -> Result<Vec<Entry>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(std::io::Error::other("it is larger than 1 MiB")));
    }
    parse(path, &text)
}

/// Reads the settings of a text that came from `path`.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line(error.span().map_or(0, |span| span.start)),
        message: error
            .message()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let (line, name) = (line(key.span().start), key.get_ref().as_ref());
        let setting =
            settings::find(&name.replace('-', "_")).ok_or_else(|| ConfigError::UnknownKey {
                path: path.to_owned(),
                line,
                key: name.to_owned(),
                nearest: nearest(name, SETTINGS.iter().map(|s| s.name)).map(str::to_owned),
            })?;
        let origin = Origin::File {
            path: path.to_owned(),
            line,
            key: name.to_owned(),
        };
        let Some(text) = plain(value.get_ref()) else {
            let value = text
                .get(value.span())
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            let want = "a text, a number, true, false, or a list of these".to_owned();
            return Err(ConfigError::BadValue {
                origin,
                value,
                want,
            });
        };
        entries.push((setting, text, origin));
    }
    Ok(entries)
}

/// A value as a flag would spell it; `None` for a table or a date.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.as_ref().to_owned()),
        // A number keeps its digits; one in hexadecimal is handed on without its prefix, so only
        // decimal ones can be meant.
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> =
                items.iter().map(|item| plain(item.get_ref())).collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn values(text: &str) -> Result<Vec<(&'static str, String)>, String> {
        match parse(Path::new("c.toml"), text) {
            Ok(entries) => Ok(entries
                .into_iter()
                .map(|(setting, value, _)| (setting.name, value))
                .collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn each_type_of_value() {
        let text = "# a comment\nlisten = [\"127.0.0.1:1\", \"unix:/x\"]\nport = 80\ndocker-only = true\njitter_factor = 0.5\n";
        let mut got = values(text).unwrap();
        got.sort();
        let want = [
            ("docker_only", "true"),
            ("jitter_factor", "0.5"),
            ("listen", "127.0.0.1:1,unix:/x"),
            ("port", "80"),
        ];
        assert_eq!(got, want.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn mistakes_name_file_line_and_what_was_meant() {
        for (text, want) in [
            (
                "\n\nhousekeping_interval = \"1s\"",
                "c.toml:3: unknown key \"housekeping_interval\"; did you mean housekeeping_interval?",
            ),
            (
                "zzz = 1",
                "c.toml:1: unknown key \"zzz\"; a key is the name of a flag without its dashes: `cgauge --help` lists them",
            ),
            (
                "port = { a = 1 }",
                "c.toml:1: port: \"{ a = 1 }\" is not a text, a number, true, false, or a list of these",
            ),
            (
                "[server]\nport = 1",
                "c.toml:1: unknown key \"server\"; a key is the name of a flag without its dashes: `cgauge --help` lists them",
            ),
        ] {
            assert_eq!(values(text).unwrap_err(), want, "{text}");
        }
        let error = values("port = 1\nlisten = \n").unwrap_err();
        assert!(
            error.starts_with("c.toml:2: ") && !error.contains('\n'),
            "{error}"
        );
        let error = values("port = 1\nport = 2\n").unwrap_err();
        assert!(error.starts_with("c.toml:2: "), "{error}");
    }

    #[test]
    fn a_missing_file_is_one_line() {
        let error = read(Path::new("/nonexistent/cgauge.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read the configuration file /nonexistent/cgauge.toml: "),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }
}
