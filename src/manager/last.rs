//! Pure: the final figures of a container, from its last sample and from what its processes had used
//! when they exited.

use std::time::Duration;

use crate::handler::Handler;
use crate::ledger::life::EXIT_BY_SIGNAL;
use crate::ledger::{Exit, Figures, Finality, LastRead};
use crate::source::exits::Tally;
use crate::units::Timestamp;

/// By how much the records of exits may be below what a poll saw and still be whole: the kernel rounds.
const ROUNDING_NS: u64 = 1_000_000;

/// What a container that ended had used, as far as it was read.
pub(super) fn figures(handler: &Handler, ended: Timestamp) -> Option<(Figures, Finality)> {
    let (figures, sample) = handler.figures()?;
    // One that was empty may have been so because nobody was there yet, or may have had processes since:
    // then somebody has moved them there.
    let was_used = figures.cpu_ns.is_some_and(|used| used > 0);
    let is_over = was_used && !handler.members_changed_since(sample.timestamp);
    let finality = Finality {
        last_read: match sample.pids.current {
            Some(0) if is_over => LastRead::Empty,
            _ => LastRead::Poll,
        },
        age: Some(ended.since(sample.timestamp)),
    };
    Some((figures, finality))
}

/// Adds what the records of exits say. They know of CPU time alone as the cgroup counts it; memory
/// and I/O by process stand in only where no poll saw the cgroup's.
pub(super) fn add_exits(tally: &Tally, figures: &mut Figures, finality: &mut Finality) {
    let polled = figures.cpu_ns.unwrap_or(0);
    // Where the counter was read last, it is right. Else what is known of the processes may be more.
    let known = match tally.cgroup_ns {
        Some(counted) if tally.read_last => counted,
        counted => tally.cpu_ns.max(counted.unwrap_or(0)),
    };
    let more = known > polled.saturating_add(ROUNDING_NS);
    if known > 0 {
        figures.cpu_ns = figures.cpu_ns.max(Some(known));
    }
    let is_whole = tally.complete && tally.ended >= tally.begun;
    let last_read = match finality.last_read {
        // A cgroup that was empty when it was read may have had processes since.
        LastRead::Empty if !more => LastRead::Empty,
        _ if tally.read_last => LastRead::Exit,
        _ if is_whole && known.saturating_add(ROUNDING_NS) >= polled => LastRead::ExitRecords,
        LastRead::Never => LastRead::Never,
        _ => LastRead::Poll,
    };
    if matches!(last_read, LastRead::Exit | LastRead::ExitRecords) {
        finality.age = Some(Duration::ZERO);
    }
    finality.last_read = last_read;
    for (figure, stand_in) in [
        (&mut figures.memory_peak_bytes, tally.peak_rss_bytes),
        (&mut figures.io_read_bytes, tally.read_bytes),
        (&mut figures.io_write_bytes, tally.write_bytes),
    ] {
        if figure.is_none() && polled == 0 && tally.ended > 0 {
            *figure = Some(stand_in);
        }
    }
}

/// How a process ended, from what `wait` says of it.
pub(super) fn exit(status: u32) -> Exit {
    let signal = u8::try_from(status & 0x7f)
        .ok()
        .filter(|&signal| signal != 0);
    let code = match signal {
        Some(signal) => EXIT_BY_SIGNAL + i32::from(signal),
        None => i32::from(u8::try_from((status >> 8) & 0xff).unwrap_or(0)),
    };
    Exit {
        code: Some(code),
        signal,
        reason: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(cpu_ns: u64) -> Tally {
        let mut tally = Tally::default();
        (tally.cpu_ns, tally.peak_rss_bytes) = (cpu_ns, 7);
        (tally.begun, tally.ended, tally.complete) = (1, 1, true);
        tally
    }

    #[test]
    fn exits_say_what_no_poll_saw() {
        let (mut figures, mut finality) = <(Figures, Finality)>::default();
        add_exits(&tally(5), &mut figures, &mut finality);
        assert_eq!(
            (figures.cpu_ns, figures.memory_peak_bytes),
            (Some(5), Some(7))
        );
        assert_eq!(finality.last_read, LastRead::ExitRecords);

        let polled = Figures {
            cpu_ns: Some(50_000_000),
            memory_peak_bytes: Some(100),
            ..Figures::default()
        };
        let (mut figures, mut finality) = (polled, Finality::default());
        add_exits(&tally(5), &mut figures, &mut finality);
        assert_eq!(figures, polled, "more was seen than the records know of");
        assert_eq!(finality.last_read, LastRead::Never);

        let empty = Finality {
            last_read: LastRead::Empty,
            age: None,
        };
        let (mut figures, mut finality) = (polled, empty);
        add_exits(&tally(49_999_999), &mut figures, &mut finality);
        assert_eq!((figures, finality), (polled, empty), "nothing more");
        add_exits(&tally(60_000_000), &mut figures, &mut finality);
        assert_eq!(figures.cpu_ns, Some(60_000_000), "processes came later");
        assert_eq!(finality.last_read, LastRead::ExitRecords);

        let mut read = tally(90_000_000);
        (read.cgroup_ns, read.read_last, read.complete) = (Some(70_000_000), true, false);
        add_exits(&read, &mut figures, &mut finality);
        assert_eq!(figures.cpu_ns, Some(70_000_000));
        assert_eq!(finality.last_read, LastRead::Exit);
    }

    #[test]
    fn wait_statuses() {
        assert_eq!((exit(3 << 8).code, exit(3 << 8).signal), (Some(3), None));
        assert_eq!((exit(9).code, exit(9).signal), (Some(137), Some(9)));
        assert_eq!(exit(0x80 | 11).signal, Some(11), "with a core");
    }
}
