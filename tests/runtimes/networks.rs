//! Networks of a real Docker: bridges, several at once, shared with another container, and none.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::dockerd::{Dockerd, PROGRAMS};
use super::place::{FOREVER, missing, needs_runtime};
use super::watched::RUNTIME_SOON;
use crate::support::{Agent, shared, skip, wait_until};

/// What is sent through a cable.
const SENT: u64 = 3 << 20;

/// What else goes over it: acknowledgements, headers, neighbours that look for each other.
const LITTLE: u64 = 1 << 20;

/// The figures of an interface that are compared.
const FAMILIES: [(&str, &str); 4] = [
    ("container_network_receive_bytes_total", "rx_bytes"),
    ("container_network_transmit_bytes_total", "tx_bytes"),
    ("container_network_receive_packets_total", "rx_packets"),
    ("container_network_transmit_packets_total", "tx_packets"),
];

/// By key, as in the API: bytes and packets of an interface.
type Figures = BTreeMap<&'static str, u64>;

/// What the kernel says of a container's interfaces.
fn kernel(dockerd: &Dockerd, name: &str) -> BTreeMap<String, Figures> {
    let pid = dockerd.docker(&["inspect", "--format={{.State.Pid}}", name]);
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    let lines = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    lines
        .map(|(interface, columns)| {
            let columns: Vec<u64> = columns
                .split_ascii_whitespace()
                .map(|column| column.parse().unwrap())
                .collect();
            let figures = [
                ("rx_bytes", columns[0]),
                ("rx_packets", columns[1]),
                ("tx_bytes", columns[8]),
                ("tx_packets", columns[9]),
            ];
            (interface.trim().to_owned(), Figures::from(figures))
        })
        .filter(|(interface, _)| interface != "lo")
        .collect()
}

/// What `/metrics` says of the interfaces of the container of this name.
fn in_metrics(agent: &Agent, name: &str) -> BTreeMap<String, Figures> {
    let page = agent.http().get("/metrics").unwrap().text();
    let label = format!("name=\"{name}\"");
    let mut found: BTreeMap<String, Figures> = BTreeMap::new();
    for (family, key) in FAMILIES {
        let begin = format!("{family}{{");
        for line in page.lines().filter(|line| line.starts_with(&begin)) {
            if !line.contains(&label) {
                continue;
            }
            let (labels, value) = line.rsplit_once(' ').unwrap();
            let interface = labels.split("interface=\"").nth(1).unwrap();
            let interface = interface.split('"').next().unwrap().to_owned();
            let figures = found.entry(interface).or_default();
            let before = figures.insert(key, value.parse::<f64>().unwrap() as u64);
            assert_eq!(before, None, "{family} of {name} twice: {line}");
        }
    }
    found
}

/// What the API says of them, in the newest sample.
fn in_api(agent: &Agent, name: &str) -> BTreeMap<String, Figures> {
    let answer = agent.json(&format!("/api/v1.3/docker/{name}"));
    let container = answer.as_object().unwrap().values().next().unwrap();
    let newest = container["stats"].as_array().unwrap().last().unwrap();
    let interfaces = newest["network"]["interfaces"].as_array();
    let figures = |interface: &Value| {
        let keys = FAMILIES.iter().map(|(_, key)| *key);
        keys.map(|key| (key, interface[key].as_u64().unwrap()))
            .collect()
    };
    let name = |interface: &Value| interface["name"].as_str().unwrap().to_owned();
    let all = interfaces.into_iter().flatten();
    all.map(|interface| (name(interface), figures(interface)))
        .collect()
}

#[test]
fn networks_are_right_and_counted_once() {
    needs_runtime!(missing(&PROGRAMS));
    let _machine = shared();
    let dockerd = match Dockerd::with_networks() {
        Ok(dockerd) => dockerd,
        Err(reason) => skip!("no bridge can be made: {reason}"),
    };
    dockerd.docker(&["network", "create", "shop"]);
    // Ids are random: whichever comes first by name, it is its owner that has the network.
    dockerd.run("owner", &[], &FOREVER);
    for name in ["guest-1", "guest-2", "guest-3"] {
        dockerd.run(name, &["--network=container:owner"], &FOREVER);
    }
    dockerd.run("both", &["--network=shop"], &FOREVER);
    dockerd.docker(&["network", "connect", "bridge", "both"]);
    dockerd.run("host", &["--network=host"], &FOREVER);
    dockerd.run("none", &["--network=none"], &FOREVER);
    let agent = dockerd.agent().start();

    // From a guest, through the owner's cable, to the other.
    let address = "{{(index .NetworkSettings.Networks \"bridge\").IPAddress}}";
    let address = dockerd.docker(&["inspect", "--format", address, "both"]);
    // It ends with its input.
    let serve = "sleep 100 | busybox nc -l -p 7007 > /tmp/got";
    dockerd.docker(&["exec", "--detach", "both", "sh", "-c", serve]);
    let listens = [
        "exec",
        "both",
        "sh",
        "-c",
        "busybox netstat -ltn | busybox grep -q :7007",
    ];
    wait_until(RUNTIME_SOON, "somebody listens", || {
        dockerd.client().try_run(&listens).then_some(())
    });
    let send = format!("busybox head -c {SENT} /dev/zero | busybox nc -w 5 {address} 7007");
    dockerd.docker(&["exec", "guest-1", "sh", "-c", &send]);
    let got = ["exec", "both", "busybox", "stat", "-c", "%s", "/tmp/got"];
    wait_until(RUNTIME_SOON, "all of it came", || {
        (dockerd.docker(&got) == SENT.to_string()).then_some(())
    });

    for name in ["owner", "both"] {
        wait_until(RUNTIME_SOON, "the kernel's figures", || {
            // Between two equal looks nothing has come in.
            let before = kernel(&dockerd, name);
            let shown = (in_metrics(&agent, name), in_api(&agent, name));
            let quiet = kernel(&dockerd, name) == before;
            (quiet && shown == (before.clone(), before)).then_some(())
        });
    }
    let (owner, both) = (kernel(&dockerd, "owner"), kernel(&dockerd, "both"));
    assert_eq!(owner.keys().collect::<Vec<_>>(), ["eth0"]);
    assert_eq!(both.keys().collect::<Vec<_>>(), ["eth0", "eth1"]);
    let is_it = |bytes: u64| (SENT..SENT + LITTLE).contains(&bytes);
    assert!(is_it(owner["eth0"]["tx_bytes"]), "{owner:?}");
    assert!(is_it(both["eth1"]["rx_bytes"]), "{both:?}");
    assert!(both["eth0"]["rx_bytes"] < LITTLE, "{both:?}");

    // Once in metrics, and each in the API, where nobody adds up.
    for name in ["guest-1", "guest-2", "guest-3", "host", "none"] {
        assert_eq!(in_metrics(&agent, name), BTreeMap::new(), "{name}");
    }
    let guest = in_api(&agent, "guest-2");
    assert!(is_it(guest["eth0"]["tx_bytes"]), "{guest:?}");
    for name in ["host", "none"] {
        assert_eq!(in_api(&agent, name), BTreeMap::new(), "{name}");
    }
}
