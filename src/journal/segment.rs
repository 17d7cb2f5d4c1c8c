//! The files of a journal: their names, which there are, how one is begun.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame::{Header, VERSION};

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".log";
/// As many digits as a `u64` may have, so that names sort as numbers do.
const DIGITS: usize = 20;

/// Only cgauge's own user may read what containers and their processes are called.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A segment on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Sequence of its first record, as its name says.
    pub first_sequence: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The path of the segment that begins with this record.
pub fn path(directory: &Path, first_sequence: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{first_sequence:0DIGITS$}{SUFFIX}"))
}

/// The segments in a directory, oldest first.
///
/// # Errors
/// If the directory cannot be read.
pub fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        // A link or a directory of that name is none of ours.
        let metadata = entry.metadata()?;
        if let Some(first_sequence) = number
            && metadata.is_file()
        {
            found.push(Segment {
                first_sequence,
                path: entry.path(),
                bytes: metadata.len(),
            });
        }
    }
    found.sort_by_key(|segment| segment.first_sequence);
    Ok(found)
}

/// Makes the directory, with all that lead to it. One that is there is left as it is.
///
/// # Errors
/// Those of `mkdir(2)`.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
}

/// Begins a segment that is not there yet.
///
/// # Errors
/// Those of `open(2)` and `write(2)`. What could not be written whole is removed again.
pub fn create(directory: &Path, epoch: u64, first_sequence: u64) -> io::Result<(File, Segment)> {
    let path = path(directory, first_sequence);
    let mut file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&path)?;
    let header = Header {
        version: VERSION,
        epoch,
        first_sequence,
    };
    let bytes = header.encode();
    if let Err(error) = file.write_all(&bytes) {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    let segment = Segment {
        first_sequence,
        path,
        bytes: bytes.len() as u64,
    };
    Ok((file, segment))
}

/// Opens a segment to go on behind its last record.
///
/// # Errors
/// Those of `open(2)`.
pub fn reopen(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

/// Opens the file that is locked, making it if need be.
///
/// # Errors
/// Those of `open(2)`.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(FILE_MODE);
    match options.open(path) {
        // On a read-only disk it can be locked all the same, if it is there.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn segments_are_listed_by_number_and_others_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for first in [300, 20, 1, u64::MAX] {
            let (_, segment) = create(directory.path(), 1, first).unwrap();
            assert_eq!(segment.bytes, fs::metadata(&segment.path).unwrap().len());
        }
        for other in [
            "lock",
            "journal-1.log",
            "journal-00000000000000000001.log.aside",
            "journal-+0000000000000000001.log",
            "journal-99999999999999999999.log",
        ] {
            fs::write(at(other), "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", path(directory.path(), 5)).unwrap();
        let listed: Vec<u64> = list(directory.path())
            .unwrap()
            .iter()
            .map(|segment| segment.first_sequence)
            .collect();
        assert_eq!(listed, [1, 20, 300, u64::MAX]);
        assert!(
            create(directory.path(), 1, 20).is_err(),
            "never over another"
        );
    }
}
