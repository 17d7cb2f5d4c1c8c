//! How the command ends: one line on stderr, and an exit code.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use cgauge::config::ConfigError;

use super::event_line::printable;

/// Exit code for a command line that cannot be understood is 2 (see
/// [`ConfigError::exit_code`]), for everything else that fails this one.
const FAILURE: u8 = 1;

/// Writes the one line `cgauge: <what failed>: <why>` and gives the exit code.
pub fn report(error: &anyhow::Error, out: &mut impl Write) -> ExitCode {
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(out, "cgauge: {}", message(error));
    ExitCode::from(exit_code(error))
}

/// The exit code that goes with an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error
        .downcast_ref::<ConfigError>()
        .map_or(FAILURE, ConfigError::exit_code)
}

/// The error and its causes in one line. A cause that the text before it already tells is left
/// out, so that nothing is said twice.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    let lines = text.split(['\n', '\r']).map(str::trim);
    // What was typed, or what a server sent, must not drive the terminal.
    printable(
        &lines
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
    )
}

/// A reader that went away (`cgauge events | head`) is no failure.
pub fn quiet_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn one_line_with_every_cause_once() {
        let error = anyhow!("address in use\n").context("cannot listen on 127.0.0.1:8080");
        let mut out = Vec::new();
        report(&error, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "cgauge: cannot listen on 127.0.0.1:8080: address in use\n"
        );
        assert_eq!(
            message(&anyhow!("unknown flag --\u{1b}[31m")),
            "unknown flag --\\u{1b}[31m"
        );
        let told = anyhow!("no such file").context("cannot open /x: no such file");
        assert_eq!(message(&told), "cannot open /x: no such file");
    }

    #[test]
    fn usage_is_2_and_the_rest_is_1() {
        assert_eq!(exit_code(&anyhow!("port taken")), 1);
        assert_eq!(exit_code(&ConfigError::Usage("x".to_owned()).into()), 2);
        let wrapped = Err::<(), _>(ConfigError::Usage("x".to_owned())).context("more");
        assert_eq!(wrapped.map_err(|error| exit_code(&error)), Err(2));
    }

    #[test]
    fn a_broken_pipe_is_quiet() {
        assert!(quiet_pipe(Err(ErrorKind::BrokenPipe.into())).is_ok());
        assert!(quiet_pipe(Err(ErrorKind::StorageFull.into())).is_err());
    }
}
