//! Where a reader is in the series of events: what it asks to go on behind.

use std::fmt;
use std::str::FromStr;

use crate::journal::Epoch;

/// The place behind an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The series that the number belongs to; `None` is taken for the one that there is.
    pub epoch: Option<Epoch>,
    /// The number of the event; 0 is before all of them.
    pub id: u64,
}

impl Position {
    /// Before all events that are remembered.
    pub const START: Self = Self { epoch: None, id: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            Some(epoch) => write!(f, "{epoch}-{}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no position in the events: give the number of an event, or the text that came with it as its position"
)]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (epoch, id) = match text.split_once('-') {
            Some((epoch, id)) => (Some(Epoch::parse(epoch).ok_or(NoPosition)?), id),
            None => (None, text),
        };
        let digits = id.bytes().all(|b| b.is_ascii_digit());
        let id = id.parse().ok().filter(|_| digits).ok_or(NoPosition)?;
        Ok(Self { epoch, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        for position in [
            Position::START,
            Position {
                epoch: Some(Epoch(0xfe)),
                id: u64::MAX,
            },
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for bad in [
            "",
            "-",
            "x",
            "+1",
            "-1",
            "1-1",
            "00000000000000fe-",
            "00000000000000fe-1-1",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(NoPosition), "{bad}");
        }
    }
}
