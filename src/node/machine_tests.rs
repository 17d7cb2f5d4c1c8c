#![allow(clippy::unwrap_used)]

use super::*;
use crate::node::filesystem::Filesystems;
use crate::node::test_tree::TestTree;
use std::process::Command;

fn read_machine(roots: &Roots) -> (MachineInfo, Vec<crate::node::Problem>) {
    let table = Filesystems::new(roots.clone()).table();
    let mut reader = Reader::default();
    (read(roots, &table, &mut reader), reader.into_problems())
}

#[test]
fn an_empty_tree_is_all_absent_and_never_fatal() {
    let tree = TestTree::new();
    let (machine, problems) = read_machine(&tree.roots);
    assert_eq!(
        machine,
        MachineInfo {
            timestamp: machine.timestamp,
            ..MachineInfo::default()
        }
    );
    let missing: Vec<_> = problems
        .iter()
        .filter_map(|p| p.path.file_name()?.to_str())
        .collect();
    assert_eq!(missing, ["cpuinfo", "online", "meminfo"]);
}

#[test]
fn garbage_in_every_file_is_absent_and_never_a_panic() {
    let tree = TestTree::new();
    let garbage = "\u{0}-1 99999999999999999999 : [ ] , - K\n\u{fffd}";
    for path in [
        "proc/cpuinfo",
        "proc/meminfo",
        "proc/self/mountinfo",
        "proc/diskstats",
        "sys/devices/system/cpu/online",
        "sys/devices/system/cpu/cpu0/topology/core_id",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        "sys/devices/system/cpu/cpu0/cache/index0/size",
        "sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
        "sys/devices/system/node/node0/cpulist",
        "sys/devices/system/node/node0/meminfo",
        "sys/devices/system/node/node0/distance",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
        "sys/devices/system/edac/mc/mc0/dimm0/size",
        "sys/block/sda/dev",
        "sys/class/net/eth0/mtu",
    ] {
        tree.file(path, garbage);
    }
    let (machine, problems) = read_machine(&tree.roots);
    assert_eq!(machine.memory, MemoryTotals::default());
    assert_eq!(machine.cpu_frequency_khz, None);
    assert!(machine.disks.is_empty() && machine.hugepages.is_empty());
    assert_eq!(machine.topology.cpus, Some(1));
    assert!(problems.len() >= 5, "{problems:?}");
}

#[test]
fn the_highest_clock_rate_wins_over_the_present_one() {
    let tree = TestTree::new();
    tree.file("proc/cpuinfo", "processor : 0\ncpu MHz : 800.000\n")
        .file("sys/devices/system/cpu/online", "1\n");
    assert_eq!(read_machine(&tree.roots).0.cpu_frequency_khz, Some(800_000));
    tree.file(
        "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq",
        "3600000\n",
    );
    assert_eq!(
        read_machine(&tree.roots).0.cpu_frequency_khz,
        Some(3_600_000)
    );
}

/// What a tool of this host prints; `None` and a line if it is not there.
fn output(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).env("LC_ALL", "C").output() {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        _ => {
            eprintln!("skipped: {program} is not here to compare with");
            let must = std::env::var("CGAUGE_TEST_ALL").is_ok_and(|all| all == "1");
            assert!(!must, "{program} is needed with CGAUGE_TEST_ALL=1");
            None
        }
    }
}

#[test]
fn this_host_is_as_other_tools_see_it() {
    let (machine, _) = read_machine(&Roots::default());
    if let Some(text) = output("lscpu", &["-p=CPU,CORE,SOCKET,NODE"]) {
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(',').collect())
            .collect();
        let distinct = |column: usize| {
            let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| row[column]).collect();
            Some(ids.len() as u64)
        };
        assert_eq!(machine.topology.cpus, Some(rows.len() as u64));
        assert_eq!(machine.topology.physical_cores, distinct(1));
        assert_eq!(machine.topology.sockets, distinct(2));
        let threads: usize = machine
            .topology
            .nodes
            .iter()
            .flat_map(|node| &node.cores)
            .map(|core| core.threads.len())
            .sum();
        assert_eq!(threads, rows.len());
    }
    if let Some(text) = output("free", &["-b"]) {
        let total = |row: &str| -> Option<u64> {
            text.lines().find_map(|line| {
                line.strip_prefix(row)?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
        };
        assert_eq!(machine.memory.memory_bytes, total("Mem:"));
        assert_eq!(machine.memory.swap_bytes, total("Swap:"));
    }
    if let Some(text) = output("lsblk", &["-b", "-d", "-n", "-o", "NAME,MAJ:MIN,SIZE"]) {
        for disk in &machine.disks {
            let row = text
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            let Some(row) = row
                .into_iter()
                .find(|row| row.first() == Some(&disk.name.as_str()))
            else {
                continue;
            };
            assert_eq!(row[1], format!("{}:{}", disk.major, disk.minor));
            assert_eq!(row[2], disk.size_bytes.to_string());
        }
    }
}

#[test]
fn the_interfaces_of_this_host_are_as_ip_sees_them() {
    let Some(_) = output("ip", &["-j", "link"]) else {
        return;
    };
    // Others may make interfaces at any time: two equal readings with the tool's between them count.
    for _ in 0..20 {
        let before = read_machine(&Roots::default()).0.nics;
        let Some(text) = output("ip", &["-j", "link"]) else {
            return;
        };
        if before != read_machine(&Roots::default()).0.nics {
            continue;
        }
        let links: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let of_containers = ["veth", "docker", "nerdctl"];
        let mut shown: Vec<_> = links
            .iter()
            .filter(|link| {
                let name = link["ifname"].as_str().unwrap();
                name != "lo" && !of_containers.iter().any(|prefix| name.starts_with(prefix))
            })
            .map(|link| {
                let ether = link["link_type"] == "ether";
                let mac = link["address"].as_str().filter(|_| ether);
                let name = link["ifname"].as_str().unwrap();
                (name, link["mtu"].as_u64(), mac)
            })
            .collect();
        shown.sort_unstable();
        let ours: Vec<_> = before
            .iter()
            .zip(&shown)
            .map(|(nic, (_, _, mac))| {
                let mac = nic.mac.as_deref().filter(|_| mac.is_some());
                (nic.name.as_str(), nic.mtu_bytes, mac)
            })
            .collect();
        assert_eq!((before.len(), ours), (shown.len(), shown));
        return;
    }
    eprintln!("skipped: the interfaces of this host changed all the time");
}

#[test]
fn the_file_systems_of_this_host_are_as_df_sees_them() {
    let Some(_) = output("df", &["--version"]) else {
        return;
    };
    let table = Filesystems::new(Roots::default()).table();
    let columns = "--output=target,size,used,avail,itotal";
    let mut compared = 0;
    for fs in &table.filesystems {
        let point = fs.mount_point.to_str().unwrap();
        let text = Command::new("df").args(["-B1", columns, point]).output();
        let text = String::from_utf8(text.unwrap().stdout).unwrap();
        // One that has gone meanwhile has no row.
        let Some(row) = text.lines().nth(1) else {
            continue;
        };
        let row: Vec<&str> = row.split_whitespace().collect();
        let number = |at: usize| row[at].parse::<u64>().unwrap_or(0);
        if row[0] != point || number(1) != fs.capacity_bytes {
            // Mounted over, or resized, or gone meanwhile: not the one that was measured.
            let again = Filesystems::new(Roots::default()).table();
            let same = again.filesystems.iter().any(|now| {
                now.mount_point == fs.mount_point && now.capacity_bytes == fs.capacity_bytes
            });
            assert!(!same, "{fs:?}: {text}");
            continue;
        }
        // Others write while we look.
        let near = |ours: u64, theirs: u64| ours.abs_diff(theirs) <= fs.capacity_bytes / 50;
        assert!(near(fs.usage_bytes, number(2)), "{fs:?}: {text}");
        assert!(near(fs.available_bytes, number(3)), "{fs:?}: {text}");
        let inodes = fs.inodes.unwrap_or(0);
        // Some file systems make them of free space.
        assert!(inodes.abs_diff(number(4)) <= inodes / 50, "{fs:?}: {text}");
        compared += 1;
    }
    assert!(
        compared > 0 || table.filesystems.is_empty(),
        "none was compared"
    );
}
