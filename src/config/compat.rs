//! cAdvisor's flags that change nothing here: accepted, so that a command line moves over as it
//! is, and explained at start, so that nobody waits for an effect.

/// A flag that is accepted and has no effect.
#[derive(Debug)]
pub struct CompatFlag {
    /// As cAdvisor spells it.
    pub name: &'static str,
    /// Whether a bare `--flag` is enough.
    pub is_bool: bool,
    /// A value that asks for what happens anyway, and so needs no explanation.
    pub harmless: Option<&'static str>,
    /// Why it has no effect, as a clause.
    pub reason: &'static str,
}

/// The flag of this name (with underscores and dashes taken for the same).
pub fn find(flag: &str) -> Option<&'static CompatFlag> {
    COMPAT_FLAGS
        .iter()
        .find(|known| known.name.replace('_', "-") == flag)
}

const AUTH: &str = "in cAdvisor it guards HTML pages only, and there are none here; the API and the metrics were never covered";
const PPROF: &str = "there is no Go runtime to profile";
const APP: &str = "metrics of the application in the container are not collected yet";
const PERF: &str = "hardware performance events are not collected yet";
const RESCTRL: &str = "resctrl groups are not read yet";
const PUSH: &str = "samples are not pushed to other stores yet; let Prometheus scrape the metrics";
const BIGQUERY: &str = "BigQuery is not supported";
const TLS: &str = "a runtime is asked by its unix socket, or by tcp:// without TLS";
const LAYERS: &str = "the runtime says itself where a container's layer is";
const HINTS: &str = "hints for containers of no runtime are not read";
const DEADLINE: &str = "every question to a runtime has a deadline of its own";
const DEPRECATED: &str = "it has none in cAdvisor either; use env_metadata_whitelist";
const USAGE: &str = "it has none in cAdvisor either";
const CLEAR: &str = "nothing is ever written to a monitored process";
const STDERR: &str = "the log always goes to stderr; let the service manager store it";
const FORMAT: &str = "the log has a format of its own; use log_level";

const fn value(name: &'static str, reason: &'static str) -> CompatFlag {
    CompatFlag {
        name,
        is_bool: false,
        harmless: None,
        reason,
    }
}

const fn value_or(name: &'static str, harmless: &'static str, reason: &'static str) -> CompatFlag {
    CompatFlag {
        name,
        is_bool: false,
        harmless: Some(harmless),
        reason,
    }
}

const fn off(name: &'static str, reason: &'static str) -> CompatFlag {
    CompatFlag {
        name,
        is_bool: true,
        harmless: Some("false"),
        reason,
    }
}

const fn on(name: &'static str, reason: &'static str) -> CompatFlag {
    CompatFlag {
        name,
        is_bool: true,
        harmless: Some("true"),
        reason,
    }
}

/// Every such flag.
pub static COMPAT_FLAGS: &[CompatFlag] = &[
    value_or("http_auth_file", "", AUTH),
    value("http_auth_realm", AUTH),
    value_or("http_digest_file", "", AUTH),
    value("http_digest_realm", AUTH),
    off("profiling", PPROF),
    value_or("collector_cert", "", APP),
    value_or("collector_key", "", APP),
    value("application_metrics_count_limit", APP),
    value_or("perf_events_config", "", PERF),
    value_or("resctrl_interval", "0s", RESCTRL),
    value_or("storage_driver", "", PUSH),
    value("storage_driver_user", PUSH),
    value("storage_driver_password", PUSH),
    value("storage_driver_host", PUSH),
    value("storage_driver_db", PUSH),
    value("storage_driver_table", PUSH),
    off("storage_driver_secure", PUSH),
    value("storage_driver_buffer_duration", PUSH),
    value("storage_driver_influxdb_retention_policy", PUSH),
    value("storage_driver_es_host", PUSH),
    value("storage_driver_es_index", PUSH),
    value("storage_driver_es_type", PUSH),
    off("storage_driver_es_enable_sniffer", PUSH),
    value("storage_driver_kafka_broker_list", PUSH),
    value("storage_driver_kafka_topic", PUSH),
    value("storage_driver_kafka_ssl_cert", PUSH),
    value("storage_driver_kafka_ssl_key", PUSH),
    value("storage_driver_kafka_ssl_ca", PUSH),
    on("storage_driver_kafka_ssl_verify", PUSH),
    value("bq_id", BIGQUERY),
    value("bq_secret", BIGQUERY),
    value("bq_project_id", BIGQUERY),
    value("bq_account", BIGQUERY),
    value("bq_credentials_file", BIGQUERY),
    off("log_cadvisor_usage", USAGE),
    off("docker-tls", TLS),
    value("docker-tls-cert", TLS),
    value("docker-tls-key", TLS),
    value("docker-tls-ca", TLS),
    value("docker_root", LAYERS),
    value_or("docker_env_metadata_whitelist", "", DEPRECATED),
    value("container_hints", HINTS),
    value_or("containerd_env_metadata_whitelist", "", DEPRECATED),
    value("crio_client_timeout", DEADLINE),
    value_or("referenced_reset_interval", "0", CLEAR),
    value_or("vmodule", "", FORMAT),
    on("logtostderr", STDERR),
    on("alsologtostderr", STDERR),
    value("stderrthreshold", STDERR),
    value_or("log_dir", "", STDERR),
    value_or("log_file", "", STDERR),
    value("log_file_max_size", STDERR),
    value("log_backtrace_at", FORMAT),
    off("add_dir_header", FORMAT),
    off("skip_headers", FORMAT),
    off("one_output", FORMAT),
    off("skip_log_headers", FORMAT),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings;

    #[test]
    fn no_flag_is_both_honoured_and_without_effect() {
        for flag in COMPAT_FLAGS {
            assert!(
                settings::find(&flag.name.replace('-', "_")).is_none(),
                "{}",
                flag.name
            );
        }
    }

    #[test]
    fn names_are_found_in_either_spelling() {
        assert!(find("storage-driver-es-enable-sniffer").is_some());
        assert!(find("docker-tls").is_some());
        assert!(find("docker-tsl").is_none());
    }
}
