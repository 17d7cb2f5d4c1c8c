//! The ids of the node: of its installation, its hardware, and its present boot.

use std::path::{Path, PathBuf};

use super::Roots;
use super::reader::Reader;

/// Where the id of the hardware may be: DMI (x86, arm64 servers), then the device tree, where
/// powerpc and KVM guests on it have it.
const SYSTEM_UUID_FILES: [&str; 4] = [
    "/sys/class/dmi/id/product_uuid",
    "/proc/device-tree/system-id",
    "/proc/device-tree/vm,uuid",
    "/etc/machine-id",
];

/// The ids of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// Of the installation: `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// Of the hardware. `product_uuid` is readable by root only: an unprivileged monitor shows the
    /// machine id instead.
    pub system_uuid: Option<String>,
    /// Of the present boot: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
}

/// Reads the ids; the first file that holds anything wins.
pub fn read(roots: &Roots, reader: &mut Reader) -> Ids {
    let system: Vec<PathBuf> = SYSTEM_UUID_FILES.iter().map(PathBuf::from).collect();
    Ids {
        machine_id: first(roots, &roots.machine_id_files, reader),
        system_uuid: first(roots, &system, reader),
        boot_id: first(roots, &roots.boot_id_files, reader),
    }
}

fn first(roots: &Roots, files: &[impl AsRef<Path>], reader: &mut Reader) -> Option<String> {
    files.iter().find_map(|file| {
        reader
            .text(&roots.resolve(file.as_ref()))
            .filter(|id| !id.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn the_first_file_that_holds_anything_wins() {
        let tree = TestTree::new();
        tree.file("root/etc/machine-id", "\n")
            .file("root/var/lib/dbus/machine-id", "abc\n")
            .file("proc/device-tree/vm,uuid", "1234-5678\0")
            .file("proc/sys/kernel/random/boot_id", "b00t\n");
        let ids = read(&tree.roots, &mut Reader::default());
        assert_eq!(ids.machine_id.as_deref(), Some("abc"));
        assert_eq!(ids.system_uuid.as_deref(), Some("1234-5678"));
        assert_eq!(ids.boot_id.as_deref(), Some("b00t"));
    }

    #[test]
    fn no_file_is_no_id() {
        assert_eq!(
            read(&TestTree::new().roots, &mut Reader::default()),
            Ids::default()
        );
    }
}
