//! Pure: the texts of `/proc/PID/{stat,status,cgroup}` and `/etc/passwd`.

use std::collections::HashMap;

use crate::units::{BYTES_PER_KB, NS_PER_TICK};

/// What `/proc/PID/stat` says; field numbers are those of proc(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stat {
    /// Name of the program, at most 15 bytes (2). It may hold any character, `)` too.
    pub command: String,
    /// `R`, `S`, `D`, `Z` … (3).
    pub state: char,
    /// The parent; 0 of init and of kernel threads' parent (4).
    pub parent: u32,
    /// Process group (5).
    pub group: i64,
    /// Session (6).
    pub session: i64,
    /// The group in the foreground of its terminal; -1 without (8).
    pub foreground: i64,
    /// CPU time used, in user mode and in the kernel, nanoseconds (14, 15).
    pub cpu_ns: u64,
    /// Niceness (19).
    pub nice: i64,
    /// Threads (20).
    pub threads: i64,
    /// When it started, nanoseconds after boot (22).
    pub started_ns: u64,
    /// Virtual memory, bytes (23).
    pub virtual_bytes: u64,
    /// The CPU that it was on last (39).
    pub cpu: u32,
}

/// Reads `/proc/PID/stat`; `None` if it is cut off.
pub fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.split_once('(')?;
    let (command, rest) = rest.rsplit_once(')')?;
    // The first word is field 3.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
    let signed = |number: usize| field(number)?.parse::<i64>().ok();
    let unsigned = |number: usize| field(number)?.parse::<u64>().ok();
    let ticks = |number: usize| Some(unsigned(number)?.saturating_mul(NS_PER_TICK));
    Some(Stat {
        command: command.to_owned(),
        state: field(3)?.chars().next()?,
        parent: field(4)?.parse().ok()?,
        group: signed(5)?,
        session: signed(6)?,
        foreground: signed(8)?,
        cpu_ns: ticks(14)?.saturating_add(ticks(15)?),
        nice: signed(19)?,
        threads: signed(20)?,
        started_ns: ticks(22)?,
        virtual_bytes: unsigned(23)?,
        cpu: field(39)?.parse().ok()?,
    })
}

impl Stat {
    /// State and flags as process lists show them: `Ss+`, `R<l` …; `locked` if it has locked memory.
    pub fn flags(&self, pid: u32, locked: bool) -> String {
        let mut flags = String::from(self.state);
        match self.nice {
            ..0 => flags.push('<'),
            1.. => flags.push('N'),
            0 => {}
        }
        let leader = self.session == i64::from(pid);
        let foreground = self.group == self.foreground;
        for (set, flag) in [
            (locked, 'L'),
            (leader, 's'),
            (self.threads > 1, 'l'),
            (foreground, '+'),
        ] {
            if set {
                flags.push(flag);
            }
        }
        flags
    }
}

/// What `/proc/PID/status` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The effective user.
    pub uid: Option<u32>,
    /// Memory in RAM, bytes; absent of kernel threads.
    pub resident_bytes: Option<u64>,
    /// Whether memory is locked into RAM.
    pub locked: bool,
}

/// Reads `/proc/PID/status`.
pub fn status(text: &str) -> Status {
    let mut status = Status::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let mut words = value.split_ascii_whitespace();
        match key {
            "Uid" => status.uid = words.nth(1).and_then(|word| word.parse().ok()),
            "VmRSS" => {
                let kb = words.next().and_then(|word| word.parse::<u64>().ok());
                status.resident_bytes = kb.map(|kb| kb.saturating_mul(BYTES_PER_KB));
            }
            "VmLck" => status.locked = words.next().is_some_and(|word| word != "0"),
            _ => {}
        }
    }
    status
}

/// The container in `/proc/PID/cgroup`: its cgroup of the v1 memory controller, else of the v1 cpu
/// controller, else of v2. The root if there is none.
pub fn cgroup(text: &[u8]) -> &[u8] {
    let of = |wanted: &[u8]| {
        text.split(|&byte| byte == b'\n').find_map(|line| {
            let mut parts = line.splitn(3, |&byte| byte == b':');
            let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let found = match wanted {
                b"" => id == b"0" && controllers.is_empty(),
                _ => controllers.split(|&byte| byte == b',').any(|c| c == wanted),
            };
            found.then_some(path)
        })
    };
    of(b"memory")
        .or_else(|| of(b"cpu"))
        .or_else(|| of(b""))
        .filter(|path| path.starts_with(b"/"))
        .unwrap_or(b"/")
}

/// The names of users by number, from `passwd(5)`.
pub fn users(passwd: &str) -> HashMap<u32, String> {
    let mut users = HashMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1))
            && let Ok(uid) = uid.parse()
        {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

/// When the kernel booted, seconds since the epoch: `btime` of `/proc/stat`.
pub fn boot_time(stat: &str) -> Option<i64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "42 (a) b (c)) S 1 42 42 34816 42 4194560 100 0 0 0 150 50 0 0 20 0 3 0 12345 10000000 300 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 5 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_stat_line_may_have_any_name_in_it() {
        let stat = stat(LINE).unwrap();
        assert_eq!(stat.command, "a) b (c)");
        assert_eq!(
            (stat.state, stat.parent, stat.threads, stat.cpu),
            ('S', 1, 3, 5)
        );
        assert_eq!(stat.cpu_ns, 2_000_000_000);
        assert_eq!(stat.started_ns, 123_450_000_000);
        assert_eq!(stat.virtual_bytes, 10_000_000);
        assert_eq!(stat.flags(42, true), "SLsl+");
        assert_eq!(stat.flags(43, false), "Sl+");
        let renice = |nice| {
            Stat {
                nice,
                ..stat.clone()
            }
            .flags(1, false)
        };
        assert_eq!((renice(-1).as_str(), renice(19).as_str()), ("S<l+", "SNl+"));
    }

    #[test]
    fn a_stat_line_that_is_cut_off_is_none() {
        for text in ["", "42", "42 (a", "42 (a)", "42 (a) S 1 2 3"] {
            assert_eq!(stat(text), None, "{text}");
        }
    }

    #[test]
    fn status_tells_the_effective_user_and_memory() {
        assert_eq!(
            status("Name:\tx\nUid:\t1000\t33\t0\t0\nVmLck:\t 4 kB\nVmRSS:\t    1580 kB\n"),
            Status {
                uid: Some(33),
                resident_bytes: Some(1_617_920),
                locked: true,
            }
        );
        assert_eq!(status("VmLck:\t 0 kB\nnonsense"), Status::default());
    }

    #[test]
    fn the_memory_hierarchy_tells_the_container() {
        let of = |text: &str| String::from_utf8(cgroup(text.as_bytes()).to_vec()).unwrap();
        assert_eq!(of("0::/a:b/c\n"), "/a:b/c");
        assert_eq!(of("4:cpu,cpuacct:/c\n3:memory:/m\n0::/u\n"), "/m");
        assert_eq!(of("4:cpu,cpuacct:/c\n1:name=systemd:/s\n0::/u\n"), "/c");
        assert_eq!(of("1:name=systemd:/s\n0::/u\n"), "/u");
        assert_eq!((of(""), of("nonsense")), ("/".into(), "/".into()));
    }

    #[test]
    fn users_and_boot_time() {
        let users = users("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0\nbad\nx:y:z\n");
        assert_eq!(users.get(&0).map(String::as_str), Some("root"));
        assert_eq!(users.len(), 1);
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), cut in 0..LINE.len()) {
            let _ = (stat(&text), status(&text), cgroup(text.as_bytes()), users(&text), boot_time(&text));
            let _ = stat(LINE.get(..cut).unwrap_or_default());
        }
    }
}
