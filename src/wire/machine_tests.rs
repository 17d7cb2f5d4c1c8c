#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::node::cloud::Cloud;
use crate::node::cpu_cache::Cache as NodeCache;
use crate::node::disks::Disk as NodeDisk;
use crate::node::ids::Ids;
use crate::node::machine::MachineFilesystem;
use crate::node::memory::{HugePages as Pool, MemoryOfType, MemoryTotals};
use crate::node::nics::Nic as NodeNic;
use crate::node::topology::{Core as NodeCore, NumaNode, Topology};
use crate::node::{Node as LiveNode, Roots};
use serde_json::{Value, json};

fn cache(id: u32, level: u32, kind: &str) -> NodeCache {
    NodeCache {
        id,
        size_bytes: 32_768,
        kind: kind.to_owned(),
        level,
    }
}

pub(in crate::wire) fn machine() -> node::MachineInfo {
    let pool = Pool {
        page_size_bytes: 2 << 20,
        pages: 5,
    };
    node::MachineInfo {
        timestamp: Timestamp(1_795_322_894_500_000_000),
        cpu_vendor: Some("AuthenticAMD".into()),
        cpu_frequency_khz: Some(2_445_424),
        topology: Topology {
            cpus: Some(1),
            physical_cores: Some(1),
            sockets: Some(1),
            books: Some(1),
            drawers: None,
            nodes: vec![NumaNode {
                id: 0,
                memory_bytes: Some(100),
                hugepages: vec![pool],
                cores: vec![NodeCore {
                    id: 0,
                    threads: vec![0],
                    caches: vec![cache(0, 1, "Data")],
                    uncore_caches: vec![],
                    socket: 0,
                    book: Some(0),
                    drawer: None,
                }],
                caches: vec![cache(0, 3, "Unified")],
                distances: vec![10],
            }],
        },
        memory: MemoryTotals {
            memory_bytes: Some(1000),
            swap_bytes: Some(0),
        },
        memory_by_type: [(
            "DDR4".to_owned(),
            MemoryOfType {
                capacity_bytes: 7,
                dimms: 2,
            },
        )]
        .into(),
        hugepages: vec![pool],
        ids: Ids {
            machine_id: Some("m".into()),
            system_uuid: Some("s".into()),
            boot_id: None,
        },
        filesystems: vec![MachineFilesystem {
            device: "/dev/vda".into(),
            fs_type: "ext4".into(),
            major: 254,
            minor: 0,
            capacity_bytes: 9,
            inodes: Some(3),
        }],
        disks: vec![NodeDisk {
            name: "vda".into(),
            major: 254,
            minor: 0,
            size_bytes: 8,
            scheduler: None,
        }],
        nics: vec![NodeNic {
            name: "eth0".into(),
            mac: None,
            speed_mbit: None,
            mtu_bytes: Some(1400),
        }],
        cloud: Cloud::default(),
    }
}

#[test]
fn a_machine_is_exactly_this_text() {
    let expected = concat!(
        r#"{"timestamp":"2026-11-22T04:48:14.5Z","vendor_id":"AuthenticAMD","num_cores":1,"#,
        r#""num_physical_cores":1,"num_sockets":1,"num_books":1,"cpu_frequency_khz":2445424,"#,
        r#""memory_capacity":1000,"swap_capacity":0,"#,
        r#""memory_by_type":{"DDR4":{"capacity":7,"dimm_count":2}},"#,
        r#""nvm":{"memory_mode_capacity":0,"app direct_mode_capacity":0,"avg_power_budget":0},"#,
        r#""hugepages":[{"page_size":2048,"num_pages":5}],"machine_id":"m","system_uuid":"s","#,
        r#""boot_id":"","filesystems":[{"device":"/dev/vda","capacity":9,"type":"vfs","inodes":3,"#,
        r#""has_inodes":true}],"disk_map":{"254:0":{"name":"vda","major":254,"minor":0,"size":8,"#,
        r#""scheduler":"none"}},"network_devices":[{"name":"eth0","mac_address":"","speed":0,"#,
        r#""mtu":1400}],"topology":[{"node_id":0,"memory":100,"#,
        r#""hugepages":[{"page_size":2048,"num_pages":5}],"cores":[{"core_id":0,"thread_ids":[0],"#,
        r#""caches":[{"id":0,"size":32768,"type":"Data","level":1}],"uncore_caches":null,"#,
        r#""socket_id":0,"book_id":"0"}],"#,
        r#""caches":[{"id":0,"size":32768,"type":"Unified","level":3}],"distances":[10]}],"#,
        r#""cloud_provider":"Unknown","instance_type":"Unknown","instance_id":""}"#,
    );
    assert_eq!(
        serde_json::to_string(&MachineInfo::from(&machine())).unwrap(),
        expected
    );
}

#[test]
fn a_machine_about_which_nothing_is_known_still_has_every_key() {
    let json = serde_json::to_value(MachineInfo::from(&node::MachineInfo::default())).unwrap();
    let list = |key: &str| json.get(key).cloned().unwrap();
    assert_eq!(list("hugepages"), Value::Null);
    assert_eq!(list("filesystems"), Value::Null);
    assert_eq!(list("network_devices"), json!([]));
    assert_eq!(list("topology"), json!([]));
    assert_eq!(list("memory_by_type"), json!({}));
    assert_eq!(json.as_object().unwrap().len(), 21);
}

/// The shape of a real answer of the older monitor: keys, and of each value its type. One element
/// stands for a list, the key `*` for any.
fn machine_shape() -> Value {
    let pages = json!([{"page_size": 0, "num_pages": 0}]);
    let caches = json!([{"id": 0, "size": 0, "type": "", "level": 0}]);
    json!({
        "timestamp": "", "vendor_id": "", "num_cores": 0, "num_physical_cores": 0,
        "num_sockets": 0, "cpu_frequency_khz": 0, "memory_capacity": 0, "swap_capacity": 0,
        "memory_by_type": {"*": {"capacity": 0, "dimm_count": 0}},
        "nvm": {"memory_mode_capacity": 0, "app direct_mode_capacity": 0, "avg_power_budget": 0},
        "hugepages": pages, "machine_id": "", "system_uuid": "", "boot_id": "",
        "filesystems": [
            {"device": "", "capacity": 0, "type": "", "inodes": 0, "has_inodes": true}
        ],
        "disk_map": {"*": {"name": "", "major": 0, "minor": 0, "size": 0, "scheduler": ""}},
        "network_devices": [{"name": "", "mac_address": "", "speed": 0, "mtu": 0}],
        "topology": [{
            "node_id": 0, "memory": 0, "hugepages": pages,
            "cores": [{
                "core_id": 0, "thread_ids": [0], "caches": caches, "uncore_caches": caches,
                "socket_id": 0
            }],
            "caches": caches, "distances": [0]
        }],
        "cloud_provider": "", "instance_type": "", "instance_id": ""
    })
}

fn attributes_shape() -> Value {
    let mut shape = machine_shape();
    let keys = shape.as_object_mut().unwrap();
    for key in [
        "timestamp",
        "vendor_id",
        "num_physical_cores",
        "num_sockets",
        "swap_capacity",
        "memory_by_type",
        "nvm",
        "boot_id",
        "instance_id",
    ] {
        keys.remove(key).unwrap();
    }
    for key in [
        "kernel_version",
        "container_os_version",
        "docker_version",
        "docker_api_version",
        "cadvisor_version",
    ] {
        keys.insert(key.to_owned(), json!(""));
    }
    shape
}

fn assert_shape(at: &str, value: &Value, shape: &Value) {
    match (value, shape) {
        (Value::Object(value), Value::Object(shape)) if shape.contains_key("*") => {
            value
                .iter()
                .for_each(|(key, value)| assert_shape(key, value, &shape["*"]));
        }
        (Value::Object(value), Value::Object(shape)) => {
            let keys = |object: &serde_json::Map<String, Value>| {
                let mut keys: Vec<String> = object.keys().cloned().collect();
                keys.retain(|key| {
                    !["num_books", "num_drawers", "book_id", "drawer_id"].contains(&&**key)
                });
                keys.sort();
                keys
            };
            assert_eq!(keys(value), keys(shape), "keys of {at}");
            value.iter().for_each(|(key, value)| {
                if let Some(shape) = shape.get(key) {
                    assert_shape(&format!("{at}.{key}"), value, shape);
                }
            });
        }
        (Value::Array(value), Value::Array(shape)) => {
            value
                .iter()
                .for_each(|value| assert_shape(at, value, &shape[0]));
        }
        // Lists may be null in the older monitor's answers too.
        (Value::Null, Value::Array(_)) => {}
        (Value::Number(number), Value::Number(_)) => assert!(number.is_u64(), "{at}: {number}"),
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {}
        (value, shape) => panic!("{at}: {value} is not of the type of {shape}"),
    }
}

#[test]
fn this_host_has_the_shape_that_clients_know() {
    let node = LiveNode::read(Roots::default());
    let snapshot = node.latest();
    let machine = serde_json::to_value(MachineInfo::from(&*snapshot.machine)).unwrap();
    assert_shape("machine", &machine, &machine_shape());
    let attributes = Attributes::new(&snapshot.machine, &snapshot.version);
    assert_shape(
        "attributes",
        &serde_json::to_value(attributes).unwrap(),
        &attributes_shape(),
    );
    assert!(machine["num_cores"].as_u64().unwrap() > 0);
    assert!(machine["memory_capacity"].as_u64().unwrap() > 0);
}
