//! Network interfaces of the node, from `/sys/class/net`.

use super::Roots;
use super::reader::Reader;

/// Prefixes of interfaces that belong to containers, not to the node.
const OF_CONTAINERS: [&str; 3] = ["veth", "docker", "nerdctl"];

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Name, such as `eth0`.
    pub name: String,
    /// Hardware address; absent if the interface has none.
    pub mac: Option<String>,
    /// Link speed in Mbit/s; absent if the link is down, or the driver does not know it (the
    /// kernel then refuses to be read, or says -1).
    pub speed_mbit: Option<u64>,
    /// Largest packet, in bytes.
    pub mtu_bytes: Option<u64>,
}

/// The interfaces, by name: without the loopback and the host ends of containers' interfaces.
pub fn read(roots: &Roots, reader: &mut Reader) -> Vec<Nic> {
    let root = roots.sysfs.join("class/net");
    reader
        .names(&root)
        .into_iter()
        .filter(|name| name != "lo" && !OF_CONTAINERS.iter().any(|prefix| name.starts_with(prefix)))
        .filter_map(|name| {
            let dir = root.join(&name);
            // Not everything there is an interface: `bonding_masters` is a file.
            dir.is_dir().then(|| Nic {
                mac: reader
                    .text(&dir.join("address"))
                    .filter(|mac| !mac.is_empty()),
                speed_mbit: reader
                    .text(&dir.join("speed"))
                    .and_then(|speed| speed.parse().ok()),
                mtu_bytes: reader.number(&dir.join("mtu")),
                name,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn unknown_speed_is_absent_and_foreign_interfaces_left_out() {
        let tree = TestTree::new();
        for (name, speed) in [
            ("eth0", "10000\n"),
            ("wlan0", "-1\n"),
            ("lowpan0", ""),
            ("veth12", "1\n"),
        ] {
            let dir = format!("sys/class/net/{name}");
            tree.file(&format!("{dir}/address"), "02:fc:00:00:00:01\n")
                .file(&format!("{dir}/mtu"), "1400\n")
                .file(&format!("{dir}/speed"), speed);
        }
        tree.dir("sys/class/net/lo").dir("sys/class/net/docker0");
        tree.file("sys/class/net/bonding_masters", "\n");
        let mut reader = Reader::default();
        let nics = read(&tree.roots, &mut reader);
        let seen: Vec<_> = nics
            .iter()
            .map(|nic| (nic.name.as_str(), nic.speed_mbit))
            .collect();
        assert_eq!(
            seen,
            [("eth0", Some(10_000)), ("lowpan0", None), ("wlan0", None)]
        );
        assert_eq!(nics[0].mac.as_deref(), Some("02:fc:00:00:00:01"));
        assert_eq!(nics[0].mtu_bytes, Some(1400));
        assert!(reader.into_problems().is_empty());
    }
}
