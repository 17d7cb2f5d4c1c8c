#![allow(clippy::unwrap_used)]

use super::*;
use crate::node::cpuinfo;
use crate::node::test_tree::TestTree;

fn read_tree(tree: &TestTree) -> Topology {
    let text = std::fs::read_to_string(tree.roots.procfs.join("cpuinfo")).unwrap_or_default();
    read(&tree.roots, &cpuinfo::parse(&text), &mut Reader::default())
}

/// Two sockets of two cores with two threads each; both sockets number their cores 0 and 1.
fn two_sockets() -> TestTree {
    let tree = TestTree::new();
    tree.file("sys/devices/system/cpu/online", "0-7\n");
    for cpu in 0..8 {
        let (package, core) = (cpu / 4, cpu % 2);
        let first = package * 4 + core;
        tree.cpu(cpu, package, core, &format!("{first},{}", first + 2));
        tree.cache(
            cpu,
            0,
            (
                Some(first),
                1,
                "Data",
                "32K",
                &format!("{first},{}", first + 2),
            ),
        );
        let all = format!("{}-{}", package * 4, package * 4 + 3);
        tree.cache(cpu, 1, (Some(package), 3, "Unified", "16384K", &all));
    }
    for node in 0..2 {
        let dir = format!("sys/devices/system/node/node{node}");
        tree.file(
            &format!("{dir}/cpulist"),
            &format!("{}-{}\n", node * 4, node * 4 + 3),
        )
        .file(
            &format!("{dir}/meminfo"),
            &format!("Node {node} MemTotal: 1024 kB\n"),
        )
        .file(
            &format!("{dir}/distance"),
            if node == 0 { "10 21\n" } else { "21 10\n" },
        )
        .file(
            &format!("{dir}/hugepages/hugepages-2048kB/nr_hugepages"),
            "3\n",
        );
    }
    tree
}

#[test]
fn cores_of_two_sockets_with_the_same_ids_are_counted_apart() {
    let topology = read_tree(&two_sockets());
    assert_eq!(topology.cpus, Some(8));
    assert_eq!(topology.physical_cores, Some(4));
    assert_eq!(topology.sockets, Some(2));
    assert_eq!((topology.books, topology.drawers), (None, None));
    let node = &topology.nodes[1];
    assert_eq!(node.id, 1);
    assert_eq!(node.memory_bytes, Some(1 << 20));
    assert_eq!(
        node.hugepages,
        [HugePages {
            page_size_bytes: 2 << 20,
            pages: 3
        }]
    );
    assert_eq!(node.distances, [21, 10]);
    let threads: Vec<_> = node
        .cores
        .iter()
        .map(|core| (core.id, core.threads.clone()))
        .collect();
    assert_eq!(threads, [(0, vec![4, 6]), (1, vec![5, 7])]);
    assert!(
        node.cores
            .iter()
            .all(|core| core.socket == 1 && core.uncore_caches.is_empty())
    );
    assert_eq!(node.cores[0].caches[0].size_bytes, 32 << 10);
    assert_eq!(
        node.caches,
        [Cache {
            id: 1,
            size_bytes: 16 << 20,
            kind: "Unified".into(),
            level: 3
        }]
    );
}

#[test]
fn offline_cpus_are_left_out() {
    let tree = two_sockets();
    tree.file("sys/devices/system/cpu/online", "0-5\n");
    let topology = read_tree(&tree);
    assert_eq!((topology.cpus, topology.physical_cores), (Some(6), Some(4)));
    assert_eq!(topology.nodes[1].cores[0].threads, [4]);
    // The private cache is still seen as private though its other thread is off.
    assert_eq!(topology.nodes[1].cores[0].caches.len(), 1);
    assert_eq!(topology.nodes[1].caches.len(), 1);
}

#[test]
fn without_sibling_lists_socket_and_core_tell_cores_apart() {
    let tree = TestTree::new();
    tree.file("sys/devices/system/cpu/online", "0-3\n");
    for cpu in 0..4 {
        tree.cpu(cpu, cpu / 2, cpu % 2, "");
    }
    assert_eq!(read_tree(&tree).physical_cores, Some(4));
}

#[test]
fn node_ten_comes_after_node_two() {
    let tree = TestTree::new();
    tree.file("sys/devices/system/cpu/online", "0-2\n");
    for (cpu, node) in [(0, 0), (1, 10), (2, 2)] {
        tree.cpu(cpu, 0, cpu, &cpu.to_string());
        tree.dir(&format!("sys/devices/system/node/node{node}/cpu{cpu}"));
    }
    let nodes = read_tree(&tree).nodes;
    let ids: Vec<_> = nodes
        .iter()
        .map(|node| (node.id, node.cores[0].threads[0]))
        .collect();
    assert_eq!(ids, [(0, 0), (2, 2), (10, 1)]);
}

#[test]
fn a_kernel_without_numa_has_one_entry_per_socket() {
    let tree = two_sockets();
    std::fs::remove_dir_all(tree.roots.sysfs.join("devices/system/node")).unwrap();
    let nodes = read_tree(&tree).nodes;
    assert_eq!(nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(nodes[1].cores.len(), 2);
    assert_eq!(nodes[1].memory_bytes, None);
    assert!(nodes[1].distances.is_empty() && nodes[1].hugepages.is_empty());
    assert_eq!(nodes[1].caches.len(), 1);
}

#[test]
fn arm64_caches_without_ids_are_kept_and_cluster_caches_are_uncore() {
    let tree = TestTree::new();
    tree.file("sys/devices/system/cpu/online", "0-3\n")
        .dir("sys/devices/system/node/node0");
    tree.file("sys/devices/system/node/node0/cpulist", "0-3\n");
    for cpu in 0..4 {
        tree.cpu(cpu, 0, cpu, &cpu.to_string());
        tree.cache(cpu, 0, (None, 1, "Data", "64K", &cpu.to_string()));
        let cluster = if cpu < 2 { "0-1" } else { "2-3" };
        tree.cache(cpu, 2, (None, 2, "Unified", "1024K", cluster));
    }
    let nodes = read_tree(&tree).nodes;
    assert_eq!(nodes[0].cores[3].caches[0].id, 3);
    assert_eq!(nodes[0].cores[3].uncore_caches[0].id, 2);
    assert!(nodes[0].caches.is_empty());
}

#[test]
fn s390x_books_and_drawers() {
    let tree = TestTree::new();
    tree.file("sys/devices/system/cpu/online", "0-1\n");
    for cpu in 0..2 {
        tree.cpu(cpu, 0, cpu, &cpu.to_string());
        let dir = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        tree.file(&format!("{dir}/book_id"), &format!("{cpu}\n"));
        tree.file(&format!("{dir}/drawer_id"), "0\n");
    }
    let topology = read_tree(&tree);
    assert_eq!((topology.books, topology.drawers), (Some(2), Some(1)));
    assert_eq!(topology.nodes[0].cores[1].book, Some(1));
}

#[test]
fn cpuinfo_stands_in_where_sysfs_is_empty() {
    let tree = TestTree::new();
    tree.file(
        "proc/cpuinfo",
        "processor : 0\nphysical id : 0\ncore id : 0\n\nprocessor : 1\nphysical id : 1\ncore id : 0\n",
    );
    let topology = read_tree(&tree);
    assert_eq!((topology.cpus, topology.physical_cores), (Some(2), Some(2)));
    assert_eq!(topology.sockets, Some(2));
}

#[test]
fn nothing_known_is_absent_and_a_problem() {
    let tree = TestTree::new();
    let mut reader = Reader::default();
    assert_eq!(
        read(&tree.roots, &CpuInfo::default(), &mut reader),
        Topology::default()
    );
    assert_eq!(reader.into_problems().len(), 1);
}
