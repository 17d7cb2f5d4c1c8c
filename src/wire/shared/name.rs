//! Names of containers.

use serde::{Serialize, Serializer};

use crate::cgroup::ContainerName;

/// A cgroup path; bytes that are not UTF-8 appear as `\xNN`.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a>(pub &'a ContainerName);

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}
