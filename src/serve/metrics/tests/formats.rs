//! The formats other than plain text, and what the switches change.

use super::*;

/// One metric of a family: labels, value, type, time since which it counts, time stamp.
#[derive(Debug, Default, PartialEq)]
struct Metric {
    labels: BTreeMap<String, String>,
    counter: Option<f64>,
    gauge: Option<f64>,
    created: Option<(u64, u64)>,
    timestamp_ms: Option<u64>,
}

/// A field of a message: its number, and its content.
enum Field<'a> {
    Number(u64),
    Float(f64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// The fields of a message, by the rules of the encoding and not by those of the writer.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (eight, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Float(f64::from_le_bytes(eight.try_into().unwrap()))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (inside, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(inside)
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn value(bytes: &[u8], metric: &mut Metric) -> f64 {
    let mut found = None;
    for field in fields(bytes) {
        match field {
            (1, Field::Float(value)) => found = Some(value),
            (3, Field::Bytes(time)) => {
                let mut numbers = fields(time).into_iter().map(|field| match field {
                    (_, Field::Number(number)) => number,
                    _ => panic!("a time has numbers"),
                });
                metric.created = Some((numbers.next().unwrap(), numbers.next().unwrap()));
            }
            (number, _) => panic!("field {number} of a value"),
        }
    }
    found.unwrap()
}

/// A page of protobuf: families by name, with their type and metrics.
fn decode(mut page: &[u8]) -> BTreeMap<String, (u64, Vec<Metric>)> {
    let mut families = BTreeMap::new();
    while !page.is_empty() {
        let length = usize::try_from(varint(&mut page)).unwrap();
        let (family, rest) = page.split_at(length);
        page = rest;
        let (mut name, mut kind, mut metrics) = (String::new(), 0, Vec::new());
        for field in fields(family) {
            match field {
                (1, Field::Bytes(bytes)) => name = text(bytes),
                (2, Field::Bytes(help)) => assert!(text(help).ends_with('.')),
                (3, Field::Number(number)) => kind = number,
                (4, Field::Bytes(bytes)) => metrics.push(metric(bytes)),
                (number, _) => panic!("field {number} of a family"),
            }
        }
        assert!(families.insert(name, (kind, metrics)).is_none());
    }
    families
}

fn metric(bytes: &[u8]) -> Metric {
    let mut metric = Metric::default();
    for field in fields(bytes) {
        match field {
            (1, Field::Bytes(label)) => {
                let mut parts = fields(label).into_iter().map(|field| match field {
                    (_, Field::Bytes(bytes)) => text(bytes),
                    _ => panic!("a label has texts"),
                });
                let name = parts.next().unwrap();
                let value = parts.next().unwrap();
                assert!(metric.labels.insert(name, value).is_none());
            }
            (2, Field::Bytes(bytes)) => metric.gauge = Some(value(bytes, &mut metric)),
            (3, Field::Bytes(bytes)) => metric.counter = Some(value(bytes, &mut metric)),
            (6, Field::Number(ms)) => metric.timestamp_ms = Some(ms),
            (number, _) => panic!("field {number} of a metric"),
        }
    }
    metric
}

fn hostile() -> Vec<Container> {
    vec![
        container("/", spec(), full(2)),
        container("/a\n\"\\x2d{}, \u{e9}", spec(), full(300)),
        container(
            &format!("/{}", "long".repeat(50)),
            spec(),
            full(u64::MAX - 1),
        ),
    ]
}

/// Families of cgauge itself and its process: they differ from page to page.
fn is_own(name: &str) -> bool {
    (name.starts_with("cgauge_") && name != "cgauge_container_info") || name.starts_with("process_")
}

#[test]
fn protobuf_says_what_text_says() {
    let options = everything();
    let as_text = read(&page_with(hostile(), &options));
    let families = decode(&bytes_with(hostile(), &options, Format::Protobuf));
    let mut compared = 0;
    for (name, labels, value) in as_text.iter().filter(|sample| !is_own(&sample.0)) {
        let (kind, metrics) = &families[name];
        let metric = metrics
            .iter()
            .find(|metric| metric.labels == *labels)
            .unwrap();
        let expected = Some(value.parse::<f64>().unwrap());
        match kind {
            0 => assert_eq!((metric.counter, metric.gauge), (expected, None), "{name}"),
            1 => assert_eq!((metric.counter, metric.gauge), (None, expected), "{name}"),
            _ => panic!("type {kind}"),
        }
        let created = (*kind == 0).then_some((1_795_322_901, 152_095_492));
        assert_eq!(
            metric.created,
            created.filter(|_| labels.contains_key("id"))
        );
        assert_eq!(metric.timestamp_ms, None);
        compared += 1;
    }
    assert!(compared > 400, "only {compared} samples");
    let written: usize = families
        .iter()
        .filter(|(name, _)| !is_own(name))
        .map(|(_, (_, metrics))| metrics.len())
        .sum();
    assert_eq!(written, compared);
}

#[test]
fn open_metrics_keeps_its_rules() {
    let options = Options {
        created: true,
        ..everything()
    };
    let page = String::from_utf8(bytes_with(hostile(), &options, Format::OpenMetrics)).unwrap();
    let page = page.strip_suffix("# EOF\n").unwrap();
    assert!(!page.contains("# EOF"));
    let types = types(page);
    let plain = types_of_text(&page_with(hostile(), &options));
    let (mut created, mut counters) = (0, 0);
    let samples = read(page);
    for pair in samples.windows(2) {
        let [(name, labels, value), (next, next_labels, next_value)] = pair else {
            unreachable!()
        };
        let family = name.strip_suffix("_total").unwrap_or(name);
        if types.get(family) == Some(&"counter") {
            assert!(name.ends_with("_total"), "{name}");
            assert!(value.parse::<f64>().unwrap() >= 0.0);
            counters += 1;
            if labels.contains_key("id") {
                assert_eq!(*next, format!("{family}_created"));
                assert_eq!(
                    (labels, &**next_value),
                    (next_labels, "1795322901.152095492")
                );
                created += 1;
            }
        }
    }
    assert!(created > 100 && counters > created);
    // A counter is one under its name without the suffix; where there is none to take off, the
    // format knows no counter.
    for (name, kind) in plain {
        let family = name.strip_suffix("_total").unwrap_or(&name);
        let expected = match (&*kind, name.ends_with("_total")) {
            ("counter", true) => "counter",
            ("counter", false) => "unknown",
            _ => {
                assert_eq!(types.get(&*name), Some(&"gauge"), "{name}");
                continue;
            }
        };
        assert_eq!(types.get(family), Some(&expected), "{name}");
    }
    // No family may be named as a sample of another.
    for name in types.keys() {
        for suffix in ["_total", "_created"] {
            if let Some(other) = name.strip_suffix(suffix) {
                assert_ne!(types.get(other), Some(&"counter"), "{name}");
            }
        }
    }
    let without = bytes_with(hostile(), &everything(), Format::OpenMetrics);
    assert!(!String::from_utf8(without).unwrap().contains("_created{"));
}

fn types_of_text(page: &str) -> BTreeMap<String, String> {
    types(page)
        .into_iter()
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn time_stamps_only_when_asked_for_and_only_on_what_was_sampled() {
    let options = Options {
        timestamps: true,
        ..everything()
    };
    let page = page_with(vec![container("/a", spec(), full(1))], &options);
    let with_time: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.ends_with(" 1795322901152"))
        .filter_map(|line| line.split('{').next())
        .collect();
    assert!(with_time.contains("container_cpu_usage_seconds_total"));
    assert!(with_time.contains("container_network_receive_bytes_total"));
    for without in [
        "container_spec_cpu_shares",
        "container_last_seen",
        "machine_cpu_cores",
    ] {
        assert!(!with_time.contains(without), "{without}");
    }
    let metric = &decode(&bytes_with(
        vec![container("/a", spec(), full(1))],
        &options,
        Format::Protobuf,
    ))["container_memory_rss"]
        .1[0];
    assert_eq!(metric.timestamp_ms, Some(1_795_322_901_152));
    let open = bytes_with(
        vec![container("/a", spec(), full(1))],
        &options,
        Format::OpenMetrics,
    );
    let open = String::from_utf8(open).unwrap();
    assert!(open.contains("container_memory_rss{id=\"/a\"} 1 1795322901.152095492\n"));
}

#[test]
fn kinds_switch_families() {
    let page = |kinds: &[MetricKind]| {
        let options = Options {
            kinds: KindSet::of(kinds),
            ..Options::default()
        };
        let named = known(&its_cgroup(), spec(), full(1), Some(identity()));
        page_with(vec![container("/", spec(), full(1)), named], &options)
    };
    for kind in MetricKind::ALL {
        let with = page(&[kind]);
        let families: BTreeSet<&str> = types(&with).into_keys().collect();
        for family in TABLE.iter() {
            // What a made-up page has no figures of.
            if family.name.starts_with("cgauge_kind_read")
                || family.name == "process_virtual_memory_max_bytes"
            {
                continue;
            }
            // Figures of the disks below file systems are shown if these are shown, too.
            let of_disks = [
                "sector_",
                "_merged_",
                "_read_seconds",
                "_write_seconds",
                "io_current",
                "io_time_",
            ];
            let of_disks = family.name.starts_with("container_fs_")
                && of_disks.iter().any(|part| family.name.contains(part));
            let shown = family.kind.is_none_or(|of| of == kind) && !of_disks;
            assert_eq!(
                families.contains(family.name),
                shown,
                "{} under {kind:?}",
                family.name
            );
        }
    }
    let without_cpus = page(&[MetricKind::Cpu]);
    assert!(without_cpus.contains(r#"container_cpu_usage_seconds_total{cpu="total",id="/"} "#));
    assert!(!page(&[MetricKind::DiskIo]).contains("container_fs_sector_reads_total"));
}

#[test]
fn the_lean_profile_is_small_and_about_leaves() {
    let options = Options {
        profile: Profile::Lean,
        ..everything()
    };
    let mut wide = full(1);
    for minor in 1..40 {
        *wide.io_mut(DeviceNumber { major: 8, minor }) = wide.io[0];
        wide.io.last_mut().unwrap().device = DeviceNumber { major: 8, minor };
    }
    wide.per_cpu_ns = vec![1; 64];
    let network = wide.network.as_mut().unwrap();
    network.interfaces = (0..30)
        .map(|n| (format!("eth{n}").into(), network.interfaces[0].1))
        .collect();
    let page = page_with(
        vec![
            container("/", spec(), full(1)),
            container("/a", spec(), full(1)),
            container("/a-b", spec(), full(1)),
            container("/a/c", spec(), wide),
        ],
        &options,
    );
    let mut by_id: BTreeMap<String, usize> = BTreeMap::new();
    for id in read(&page)
        .into_iter()
        .filter_map(|mut sample| sample.1.remove("id"))
    {
        *by_id.entry(id).or_default() += 1;
    }
    assert_eq!(by_id.keys().collect::<Vec<_>>(), ["/a-b", "/a/c"]);
    assert!(
        by_id.values().all(|&series| series <= LEAN_SERIES),
        "{by_id:?}"
    );
    assert!(page.contains(r#"container_fs_reads_bytes_total{device="all",id="/a/c"} 40"#));
    assert!(
        page.contains(r#"container_network_receive_bytes_total{id="/a/c",interface="all"} 30"#)
            || page
                .contains(r#"container_network_receive_bytes_total{id="/a-b",interface="all"} 1"#)
    );
}

#[test]
fn whole_containers_are_dropped_deepest_first_until_the_page_fits() {
    let all = ["/", "/a", "/a/b", "/a/b/c", "/b", "/c/d"];
    let containers = || all.map(|name| container(name, spec(), full(1))).into();
    let ids = |page: &str| -> BTreeSet<String> {
        read(page)
            .into_iter()
            .filter_map(|mut sample| sample.1.remove("id"))
            .collect()
    };
    let whole = read(&page_of(containers())).len() as u64;
    let each = read(&page_of(containers()))
        .iter()
        .filter(|sample| sample.1.get("id").is_some_and(|id| id == "/a/b/c"))
        .count() as u64;
    for (most, kept) in [
        (whole, &all[..]),
        (whole - 1, &["/", "/a", "/a/b", "/b", "/c/d"]),
        (whole - each - 1, &["/", "/a", "/a/b", "/b"]),
        (0, &[]),
    ] {
        let options = Options {
            max_series: Some(most),
            ..everything()
        };
        let page = page_with(containers(), &options);
        assert_eq!(ids(&page).iter().collect::<Vec<_>>(), kept);
        let dropped = format!(
            "cgauge_scrape_dropped_containers {}\n",
            all.len() - kept.len()
        );
        assert!(page.contains(&dropped), "{dropped}");
        if most > 0 {
            assert!(read(&page).len() as u64 <= most);
        }
    }
}

#[test]
fn the_old_way_with_networks_can_be_had() {
    let with = |name: &str, namespace: u64, host: bool| {
        let figures = InterfaceStats {
            rx_bytes: Some(namespace),
            ..InterfaceStats::default()
        };
        let interfaces = match host && name != "/" {
            true => Vec::new(),
            false => vec![("eth0".into(), figures)],
        };
        let network = Some(NetworkStats {
            namespace,
            host,
            interfaces,
        });
        container(
            name,
            Spec::default(),
            Sample {
                network,
                ..Sample::default()
            },
        )
    };
    let options = Options {
        network_per_container: true,
        ..everything()
    };
    let page = page_with(
        vec![
            with("/", 1, true),
            with("/host", 1, true),
            with("/pod", 7, false),
            with("/pod/a", 7, false),
        ],
        &options,
    );
    assert_eq!(
        lines(&page, &["container_network_receive_bytes_total"]),
        [
            r#"container_network_receive_bytes_total{id="/",interface="eth0"} 1"#,
            r#"container_network_receive_bytes_total{id="/host",interface="eth0"} 1"#,
            r#"container_network_receive_bytes_total{id="/pod",interface="eth0"} 7"#,
            r#"container_network_receive_bytes_total{id="/pod/a",interface="eth0"} 7"#,
        ]
    );
}

#[test]
fn disks_of_file_systems_are_shown_under_the_root_and_not_twice() {
    let mut sample = Sample::default();
    sample
        .io_mut(DeviceNumber {
            major: 254,
            minor: 0,
        })
        .ops
        .read = Some(77);
    let page = page_of(vec![
        container("/", Spec::default(), sample.clone()),
        container("/a", Spec::default(), sample),
    ]);
    let wanted = [
        "container_fs_io_time_seconds_total",
        "container_fs_reads_total",
        "container_fs_writes_total",
    ];
    assert_eq!(
        lines(&page, &wanted),
        [
            r#"container_fs_io_time_seconds_total{device="/dev/vda",id="/"} 0.01"#,
            r#"container_fs_reads_total{device="/dev/vda",id="/"} 77"#,
            r#"container_fs_reads_total{device="/dev/vda",id="/a"} 77"#,
            r#"container_fs_writes_total{device="/dev/vda",id="/"} 5"#,
        ],
        "the cgroup's own figures win over those of the disk"
    );
}
