#![allow(clippy::unwrap_used, clippy::panic)]
use std::ffi::OsString;
use std::io::Write;

use super::*;

fn parse_with(line: &[&str], env: &[(&str, &str)]) -> Result<Invocation, ConfigError> {
    let env = env
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    parse(line.iter().map(OsString::from), env.collect::<Vec<_>>())
}

fn config(line: &[&str]) -> Config {
    config_with(line, &[])
}

fn config_with(line: &[&str], env: &[(&str, &str)]) -> Config {
    match parse_with(line, env) {
        Ok(Invocation::Run(config)) => config,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn error(line: &[&str]) -> (String, u8) {
    let error = parse_with(line, &[]).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    (error.to_string(), error.exit_code())
}

fn addresses(config: &Config) -> Vec<String> {
    config
        .server
        .addresses()
        .iter()
        .map(Listen::to_string)
        .collect()
}

/// Every flag of cAdvisor and of klog, each with a value that is not its default.
const CADVISOR_FLAGS: &[&str] = &[
    "listen_ip=127.0.0.2",
    "port=9090",
    "max_procs=4",
    "version=false",
    "http_auth_file=/a",
    "http_auth_realm=r",
    "http_digest_file=/b",
    "http_digest_realm=r",
    "prometheus_endpoint=/m",
    "profiling",
    "url_base_prefix=/x",
    "collector_cert=/c",
    "collector_key=/k",
    "store_container_labels=false",
    "whitelisted_container_labels=a,b",
    "env_metadata_whitelist=A_",
    "raw_cgroup_prefix_whitelist=/kubepods",
    "perf_events_config=/p",
    "resctrl_interval=1s",
    "disable_metrics=cpu",
    "enable_metrics=cpu,diskIO",
    "storage_driver=influxdb",
    "storage_duration=3m",
    "storage_driver_user=u",
    "storage_driver_password=p",
    "storage_driver_host=h:1",
    "storage_driver_db=d",
    "storage_driver_table=t",
    "storage_driver_secure",
    "storage_driver_buffer_duration=1s",
    "storage_driver_influxdb_retention_policy=p",
    "storage_driver_es_host=h",
    "storage_driver_es_index=i",
    "storage_driver_es_type=t",
    "storage_driver_es_enable_sniffer",
    "storage_driver_kafka_broker_list=h",
    "storage_driver_kafka_topic=t",
    "storage_driver_kafka_ssl_cert=c",
    "storage_driver_kafka_ssl_key=k",
    "storage_driver_kafka_ssl_ca=a",
    "storage_driver_kafka_ssl_verify=false",
    "bq_id=1",
    "bq_secret=2",
    "bq_project_id=3",
    "bq_account=4",
    "bq_credentials_file=5",
    "housekeeping_interval=10s",
    "max_housekeeping_interval=30s",
    "allow_dynamic_housekeeping=false",
    "initial_splay_factor=0.5",
    "jitter_factor=0",
    "global_housekeeping_interval=2m",
    "update_machine_info_interval=1m",
    "enable_load_reader",
    "log_cadvisor_usage",
    "event_storage_age_limit=default=0",
    "event_storage_event_limit=default=0",
    "application_metrics_count_limit=1",
    "machine_id_file=/m",
    "boot_id_file=/b",
    "docker=tcp://h:1",
    "docker-tls",
    "docker-tls-cert=c",
    "docker-tls-key=k",
    "docker-tls-ca=a",
    "docker_root=/r",
    "docker_env_metadata_whitelist=a",
    "docker_only",
    "disable_root_cgroup_stats",
    "container_hints=/h",
    "containerd=/c",
    "containerd-namespace=n",
    "containerd_env_metadata_whitelist=a",
    "crio_client_timeout=1s",
    "podman=unix:///p",
    "referenced_reset_interval=1",
    "v=4",
    "vmodule=a=1",
    "logtostderr=false",
    "alsologtostderr=false",
    "stderrthreshold=1",
    "log_dir=/l",
    "log_file=/f",
    "log_file_max_size=1",
    "log_backtrace_at=:1",
    "add_dir_header",
    "skip_headers",
    "one_output",
    "skip_log_headers",
];

#[test]
fn every_flag_of_cadvisor_is_honoured_or_explained() {
    assert_eq!(CADVISOR_FLAGS.len(), 76 + 13);
    let base = config(&[]);
    for flag in CADVISOR_FLAGS {
        for dashes in ["-", "--"] {
            let mut config = config(&[&format!("{dashes}{flag}")]);
            let name = flag.split('=').next().unwrap();
            if settings::find(&name.replace('-', "_")).is_some() {
                config.warnings.clear();
                assert_ne!(config, base, "{flag} is honoured");
            } else if name != "version" {
                let ignored: Vec<_> = config.ignored.iter().map(|flag| flag.name).collect();
                assert_eq!(ignored, [name], "{flag} is explained");
            }
        }
        // As a word of its own, and in kebab-case.
        if let Some((name, value)) = flag.split_once('=').filter(|(name, _)| !is_bool(name)) {
            config(&[&format!("-{name}"), value]);
            config(&[&format!("--{}", name.replace('_', "-")), value]);
        }
    }
}

fn is_bool(name: &str) -> bool {
    let compat = compat::find(&name.replace('_', "-"));
    name == "version"
        || settings::find(&name.replace('-', "_"))
            .map(settings::Setting::is_bool)
            .or(compat.map(|flag| flag.is_bool))
            .unwrap()
}

#[test]
fn all_flags_at_once() {
    let line: Vec<String> = CADVISOR_FLAGS
        .iter()
        .map(|flag| format!("-{flag}"))
        .collect();
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let config = config(&line);
    assert_eq!(addresses(&config), ["127.0.0.2:9090"]);
    assert_eq!(config.housekeeping.interval, Duration::from_secs(10));
    assert!(!config.housekeeping.dynamic && config.containers.docker_only);
    assert_eq!(
        config.metrics.kinds(),
        KindSet::of(&[MetricKind::Cpu, MetricKind::DiskIo])
    );
    assert_eq!(config.storage.event_age.of("oom"), Some(Duration::ZERO));
    assert_eq!(config.process.log, "debug");
}

#[test]
fn asking_for_what_happens_anyway_is_not_worth_a_line() {
    let line = [
        "-logtostderr",
        "--enable_load_reader=false",
        "--storage_driver=",
        "--profiling=false",
    ];
    assert!(config(&line).ignored.is_empty());
}

#[test]
fn listens_on_loopback_unless_told_otherwise() {
    for (line, want) in [
        (&[][..], &["127.0.0.1:8080"][..]),
        (&["-port=9000"], &["127.0.0.1:9000"]),
        (&["--listen_ip=0.0.0.0"], &["0.0.0.0:8080"]),
        (&["--listen_ip", "::1", "--port", "1"], &["[::1]:1"]),
        (
            &["--listen", ":9000", "--listen=unix:/run/x.sock"],
            &["0.0.0.0:9000", "unix:/run/x.sock"],
        ),
        (&["run", "--port", "9000"], &["127.0.0.1:9000"]),
        (&["--port=1", "run", "--port=2"], &["127.0.0.1:2"]),
        (&["--port=1", "--port=2"], &["127.0.0.1:2"]),
        (&["--port=1", "--listen=127.0.0.1:2"], &["127.0.0.1:2"]),
    ] {
        assert_eq!(addresses(&config(line)), want, "{line:?}");
    }
    assert!(config(&[]).warnings.is_empty());
    assert!(config(&["--port=1"]).warnings[0].contains("--listen_ip=0.0.0.0"));
    assert!(
        config(&["--port=1", "--listen_ip=127.0.0.1"])
            .warnings
            .is_empty()
    );
    assert!(config(&["--port=1", "--listen=:2"]).warnings[0].contains("no effect beside --listen"));
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "housekeeping_interval = \"2s\"\nstorage_duration = \"3m\"\njitter_factor = 0.25\nlisten = [\":1\"]").unwrap();
    let path = file.path().to_str().unwrap();
    let env = [
        ("CGAUGE_CONFIG", path),
        ("CGAUGE_HOUSEKEEPING_INTERVAL", "4s"),
        ("CGAUGE_STORAGE_DURATION", "5m"),
        ("CGAUGE_LOG", "debug"),
        ("HOME", "/"),
        ("CGAUGE_TEST_ALL", "1"),
    ];
    let got = config_with(&["--housekeeping_interval=6s"], &env);
    assert_eq!(got.housekeeping.interval, Duration::from_secs(6));
    assert_eq!(got.storage.duration, Duration::from_secs(300));
    assert_eq!(got.housekeeping.jitter_factor, 0.25);
    assert_eq!(got.housekeeping.initial_splay_factor, 1.0);
    assert_eq!(got.process.log, "debug");
    assert_eq!(addresses(&got), ["0.0.0.0:1"]);
    assert!(got.warnings.is_empty(), "{:?}", got.warnings);
    // A lower layer's `listen` gives way to a higher layer's `port`.
    assert_eq!(
        addresses(&config_with(&["--port=7"], &env)),
        ["127.0.0.1:7"]
    );
    // The flag names another file.
    let error = parse_with(&["--config", "/nonexistent"], &env).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }) && error.exit_code() == 1);
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_nearest() {
    let got = config_with(&[], &[("CGAUGE_HOUSEKEPING_INTERVAL", "1s")]);
    assert_eq!(got.warnings.len(), 1);
    assert!(
        got.warnings[0].ends_with("did you mean CGAUGE_HOUSEKEEPING_INTERVAL?"),
        "{}",
        got.warnings[0]
    );
}

#[test]
fn a_bad_value_says_who_gave_it_and_what_would_be_right() {
    for (line, want) in [
        (
            &["--housekeeping_interval=10"][..],
            "--housekeeping-interval: \"10\" is not a duration: give a number and a unit",
        ),
        (
            &["--port=http"],
            "--port: \"http\" is not a port: a number from 0 to 65535",
        ),
        (
            &["--docker_only=maybe"],
            "--docker-only: \"maybe\" is not true or false",
        ),
        (
            &["--profiling=maybe"],
            "--profiling: \"maybe\" is not true or false",
        ),
        (
            &["--enable_metrics=cpus"],
            "--enable-metrics: \"cpus\" is not a list of metric kinds: no kind \"cpus\"; did you mean cpu?",
        ),
        (
            &["--housekeeping_interval=0"],
            "--housekeeping-interval: \"0\" is not a duration of at least 10ms",
        ),
        (
            &["--jitter_factor=NaN"],
            "--jitter-factor: \"NaN\" is not a factor",
        ),
        (
            &["--sampler-threads=0"],
            "--sampler-threads: \"0\" is not a number of threads from 1 to 64",
        ),
        (
            &["--url_base_prefix=x"],
            "--url-base-prefix: \"x\" is not a URL path",
        ),
        (
            &["--prometheus_endpoint=/"],
            "--prometheus-endpoint: \"/\" is not a URL path such as /metrics",
        ),
        (
            &["--log-level=inof"],
            "--log-level: \"inof\" is not a log level",
        ),
        (
            &["--housekeping-interval=1s"],
            "unknown flag --housekeping-interval; did you mean --housekeeping-interval?",
        ),
        (&["--follow"], "--follow belongs to `cgauge events`"),
        (&["rnu"], "unknown command \"rnu\"; did you mean run?"),
        (&["xyzzy"], "unknown command \"xyzzy\"; `cgauge --help`"),
        (
            &["events", "--type=oops"],
            "invalid value 'oops' for '--type <TYPE>' [possible values: oom, ",
        ),
    ] {
        let (text, code) = error(line);
        assert!(text.starts_with(want), "{line:?}: {text}");
        assert_eq!(code, 2, "{line:?}");
    }
    let error = parse_with(&[], &[("CGAUGE_PORT", "x")]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("CGAUGE_PORT: \"x\" is not a port"),
        "{error}"
    );
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn kinds_replace_the_default_and_do_not_add_to_it() {
    assert_eq!(
        config(&[]).metrics.kinds(),
        kinds::DISABLED_BY_DEFAULT.complement()
    );
    assert_eq!(
        config(&["--disable_metrics="]).metrics.kinds(),
        KindSet::EMPTY.complement()
    );
    assert_eq!(
        config(&["--disable_metrics", ""]).metrics.kinds(),
        KindSet::EMPTY.complement()
    );
    let without_cpu = config(&["--disable_metrics=cpu"]).metrics.kinds();
    assert!(!without_cpu.contains(MetricKind::Cpu) && without_cpu.contains(MetricKind::Tcp));
    let only = config(&["--enable_metrics=tcp", "--disable_metrics=tcp"])
        .metrics
        .kinds();
    assert_eq!(only, KindSet::of(&[MetricKind::Tcp]));
    // A higher layer that disables takes back what a lower one enabled.
    let mixed = config_with(
        &["--disable_metrics=tcp"],
        &[("CGAUGE_ENABLE_METRICS", "tcp")],
    )
    .metrics
    .kinds();
    assert_eq!(mixed, KindSet::of(&[MetricKind::Tcp]).complement());
}

#[test]
fn runtimes_are_asked_where_they_usually_are_unless_told_otherwise() {
    use crate::runtime::{Ask, Endpoint};
    let usual = config(&[]).runtimes;
    assert!(matches!(usual.docker, Ask::Usual(_)) && usual.users.is_some());
    let at = |path: &str| Ask::At(Endpoint::Unix(path.into()));
    let line = [
        "--docker=unix:///d.sock",
        "--podman=",
        "-containerd=/c.sock",
        "--containerd-namespace=k8s.io,moby",
        "--user-runtimes=",
        "--env_metadata_whitelist=A_",
    ];
    let got = config(&line);
    assert_eq!(got.runtimes.docker, at("/d.sock"));
    assert_eq!(got.runtimes.podman, Ask::Never);
    assert_eq!(got.runtimes.containerd, at("/c.sock"));
    assert_eq!(got.runtimes.containerd_namespaces, ["k8s.io", "moby"]);
    assert_eq!(got.runtimes.users, None);
    assert!(got.runtimes.keeps_env("A_B") && !got.runtimes.keeps_env("PATH"));
    assert!(got.warnings.is_empty(), "{:?}", got.warnings);
    assert!(config(&["--docker=tcp://h:1"]).warnings[0].contains("another machine"));
    let (text, _) = error(&["--docker=https://h:1"]);
    assert!(
        text.starts_with("--docker: \"https://h:1\" is not where a runtime listens"),
        "{text}"
    );
}

#[test]
fn odd_but_legal_values() {
    assert_eq!(config(&["--kmsg="]).roots.kmsg, None);
    assert_eq!(
        config(&["--cgroup-root=/x"]).roots.cgroup_root,
        Some("/x".into())
    );
    assert_eq!(
        config(&["-jitter_factor", "-1"]).housekeeping.jitter_factor,
        1.0
    );
    assert_eq!(config(&["-max_procs", "-1"]).process.max_procs, None);
    let slow = config(&["--housekeeping_interval=2m"]).housekeeping;
    assert_eq!(slow.max_interval, Duration::from_secs(120));
    assert_eq!(
        config(&["--url_base_prefix=/a/"]).server.url_base_prefix,
        "/a"
    );
    assert_eq!(config(&["-v=0"]).process.log, "info");
    assert_eq!(config(&["-v=9", "--log-level=warn"]).process.log, "warn");
}

#[test]
fn commands() {
    assert!(
        matches!(parse_with(&["check", "--procfs=/p"], &[]), Ok(Invocation::Check(c)) if c.roots.procfs.ends_with("p"))
    );
    let line = [
        "events",
        "-follow",
        "--type",
        "oom,creation",
        "--type=oomKill",
        "--container",
        "/a",
        "--max=0",
        "--json",
    ];
    let Ok(Invocation::Events(args, _)) = parse_with(&line, &[]) else {
        panic!("events")
    };
    let want = EventsArgs {
        follow: true,
        types: vec!["oom", "containerCreation", "oomKill"],
        container: Some("/a".to_owned()),
        subcontainers: false,
        max: None,
        json: true,
        server: None,
    };
    assert_eq!(args, want);
    let Ok(Invocation::Events(args, config)) = parse_with(&["--port=9", "events"], &[]) else {
        panic!("events")
    };
    assert_eq!(
        (args.max, addresses(&config)),
        (Some(100), vec!["127.0.0.1:9".to_owned()])
    );
}

#[test]
fn help_names_every_setting_of_ours_and_version_is_one_line() {
    for line in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["-help"],
        &["run", "--help"],
    ] {
        let Ok(Invocation::Print(help)) = parse_with(line, &[]) else {
            panic!("{line:?}")
        };
        for setting in settings::SETTINGS
            .iter()
            .filter(|setting| !setting.group.is_empty())
        {
            assert!(
                help.contains(&format!("--{}", setting.flag())),
                "{}",
                setting.name
            );
        }
        assert!(
            help.contains("--config") && help.contains("CGAUGE_LOG") && help.contains("-port=8080")
        );
        assert!(!help.contains("--docker-tls") && !help.contains("--v "));
    }
    let version = format!("cgauge {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        parse_with(&["-version"], &[]).unwrap(),
        Invocation::Print(version)
    );
}

#[test]
fn what_help_calls_the_default_is_the_default() {
    for setting in settings::SETTINGS
        .iter()
        .filter(|setting| !setting.default.contains('…'))
    {
        let mut config = Config::default();
        let words = ["none", "all", "from mountinfo"];
        let value = if words.contains(&setting.default) {
            ""
        } else {
            setting.default
        };
        (setting.apply)(&mut config, value).unwrap();
        assert_eq!(
            config.server.addresses(),
            Config::default().server.addresses(),
            "{}",
            setting.name
        );
        config.server = Server {
            listen: Vec::new(),
            listen_ip: None,
            port: None,
            ..config.server
        };
        assert_eq!(config, Config::default(), "{}", setting.name);
    }
}

#[test]
fn the_page_has_switches_of_its_own() {
    let page = config(&[
        "--metrics-profile=lean",
        "--max-series=1000",
        "--scrape-max-age=0",
        "--metrics-timestamps",
        "--network-per-container",
        "--enable-metrics=cpu",
    ])
    .metrics
    .page();
    assert_eq!(page.kinds, KindSet::of(&[MetricKind::Cpu]));
    assert_eq!((page.profile, page.max_series), (Profile::Lean, Some(1000)));
    assert_eq!(page.max_age, Duration::ZERO);
    assert!(page.timestamps && page.network_per_container && !page.created);
    assert_eq!(config(&["--max-series=0"]).metrics.page().max_series, None);
    assert_eq!(Metrics::default().page(), PageOptions::default());
}

#[test]
fn the_example_file_shows_every_setting_of_ours_with_its_default() {
    const EXAMPLE: &str = include_str!("../../systemd/cgauge.toml");
    let live: Vec<&str> = EXAMPLE
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#')
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
        })
        .collect();
    let entries = file::parse(std::path::Path::new("cgauge.toml"), &live.join("\n")).unwrap();
    let mut names: Vec<_> = entries.iter().map(|(setting, _, _)| setting.name).collect();
    let mut own: Vec<_> = settings::SETTINGS
        .iter()
        .filter(|setting| !setting.group.is_empty())
        .map(|setting| setting.name)
        .collect();
    names.sort_unstable();
    own.sort_unstable();
    assert_eq!(names, own);
    for (setting, value, origin) in entries {
        let mut config = Config::default();
        (setting.apply)(&mut config, &value)
            .unwrap_or_else(|want| panic!("{origin}: {value:?} is not {want}"));
        assert_eq!(
            config.server.addresses(),
            Config::default().server.addresses()
        );
        config.server.listen.clear();
        assert_eq!(config, Config::default(), "{}", setting.name);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    /// Whatever is typed or written, there is an answer and no panic; an error is one line.
    #[test]
    fn nothing_that_is_typed_panics(words in proptest::collection::vec("(-{0,3}[a-zµ_=-]{0,6}|\\PC{0,8})", 0..5), text in "(?s).{0,60}") {
        let _ = go_flags::rewrite(&words, &flags::known());
        if let Err(error) = file::parse(std::path::Path::new("f"), &text) {
            proptest::prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
        for word in &words {
            for setting in settings::SETTINGS {
                let _ = (setting.apply)(&mut Config::default(), word);
            }
        }
    }

    /// A duration survives being shown and read again.
    #[test]
    fn durations_survive_being_shown(ns in proptest::prelude::any::<u64>()) {
        let duration = Duration::from_nanos(ns);
        proptest::prop_assert_eq!(values::duration(&values::show_duration(duration)), Ok(duration));
    }
}
