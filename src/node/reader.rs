//! Reads small kernel files and remembers which of them could not be read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes taken from one file: `/proc/cpuinfo` of 8,192 CPUs stays below it.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// Most problems that are kept of one reading.
pub const MAX_PROBLEMS: usize = 256;

/// Most entries taken from one directory.
pub const MAX_DIR_ENTRIES: usize = 65_536;

/// Something about the node that could not be found out. Never fatal: the value is absent.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct Problem {
    /// The file, directory or mount point concerned.
    pub path: PathBuf,
    /// What was wrong with it.
    #[source]
    pub cause: Cause,
}

/// Why a fact is absent.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It could not be read.
    #[error("cannot be read; check that it is mounted and readable ({0})")]
    Io(#[source] io::Error),
    /// It could be read, but does not hold what the kernel documents.
    #[error("does not hold {0}; the value is left out")]
    Unexpected(&'static str),
    /// A file system did not answer within the deadline.
    #[error(
        "did not answer in time; a server or disk behind it may be down, it is asked again later"
    )]
    Hung,
}

/// A reader with a list of what went wrong.
#[derive(Debug, Default)]
pub struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    /// The text of a file that may be missing, trimmed. Not UTF-8 is replaced, not refused.
    pub fn text(&mut self, path: &Path) -> Option<String> {
        match read_bounded(path) {
            Ok(text) => Some(text),
            // ENODEV, EINVAL, EOPNOTSUPP: how sysfs says that this device has no such value.
            Err(error) if is_absent(&error) => None,
            Err(error) => {
                self.problem(path, Cause::Io(error));
                None
            }
        }
    }

    /// The text of a file that every Linux has: missing is a problem too.
    pub fn required(&mut self, path: &Path) -> Option<String> {
        match read_bounded(path) {
            Ok(text) => Some(text),
            Err(error) => {
                self.problem(path, Cause::Io(error));
                None
            }
        }
    }

    /// A file that may be missing and holds one number.
    pub fn number<T: std::str::FromStr>(&mut self, path: &Path) -> Option<T> {
        let text = self.text(path)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.problem(path, Cause::Unexpected("a number in range"));
        }
        number
    }

    /// The names in a directory that may be missing, sorted. Names that are not UTF-8 are left
    /// out: no kernel directory read here has any.
    pub fn names(&mut self, path: &Path) -> Vec<String> {
        match fs::read_dir(path) {
            Ok(entries) => {
                let mut names: Vec<String> = entries
                    .take(MAX_DIR_ENTRIES)
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .collect();
                names.sort_unstable();
                names
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.problem(path, Cause::Io(error));
                }
                Vec::new()
            }
        }
    }

    /// The numbers `N` of the entries `<prefix>N` of a directory, ascending: `cpu` and `cpu10`
    /// give 10.
    pub fn numbered(&mut self, path: &Path, prefix: &str) -> Vec<u32> {
        let mut numbers: Vec<u32> = self
            .names(path)
            .iter()
            .filter_map(|name| name.strip_prefix(prefix)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// Notes a problem.
    pub fn problem(&mut self, path: &Path, cause: Cause) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem {
                path: path.to_path_buf(),
                cause,
            });
        }
    }

    /// What went wrong, in the order of reading; at most [`MAX_PROBLEMS`].
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// Up to [`MAX_FILE_BYTES`] of a file, as bytes.
///
/// # Errors
///
/// What opening or reading it gave.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let bytes = read_bytes(path)?;
    // Device tree properties end with a NUL.
    Ok(String::from_utf8_lossy(&bytes)
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .to_owned())
}

fn is_absent(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::ENODEV
                | Errno::ENXIO
                | Errno::EINVAL
                | Errno::EOPNOTSUPP
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn a_missing_file_is_absent_and_only_a_problem_where_it_is_required() {
        let tree = TestTree::new();
        let mut reader = Reader::default();
        assert_eq!(reader.text(&tree.roots.procfs.join("none")), None);
        assert_eq!(reader.required(&tree.roots.procfs.join("none")), None);
        let problems = reader.into_problems();
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0]
                .to_string()
                .contains("proc/none: cannot be read")
        );
    }

    #[test]
    fn a_number_is_read_trimmed_and_nonsense_is_a_problem() {
        let tree = TestTree::new();
        tree.file("sys/good", " 17\n")
            .file("sys/bad", "seventeen\n")
            .file("sys/uuid", "ab\0\0");
        let mut reader = Reader::default();
        assert_eq!(reader.number(&tree.roots.sysfs.join("good")), Some(17_u32));
        assert_eq!(reader.number::<u32>(&tree.roots.sysfs.join("bad")), None);
        assert_eq!(
            reader.text(&tree.roots.sysfs.join("uuid")).as_deref(),
            Some("ab")
        );
        assert_eq!(reader.into_problems().len(), 1);
    }

    #[test]
    fn numbered_entries_come_in_numeric_order() {
        let tree = TestTree::new();
        for name in ["node10", "node2", "node0", "node", "nodex", "has_cpu"] {
            tree.dir(&format!("sys/{name}"));
        }
        assert_eq!(
            Reader::default().numbered(&tree.roots.sysfs, "node"),
            [0, 2, 10]
        );
    }
}
