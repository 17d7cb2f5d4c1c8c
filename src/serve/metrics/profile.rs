//! Which families the smaller profiles keep.

use super::options::Profile;

/// The most series that the lean profile shows of one container.
pub const LEAN_SERIES: usize = 25;

/// The lean profile: what answers "is it slow, and why". Devices and interfaces are summed up.
const LEAN: [&str; 22] = [
    "cgauge_container_info",
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
    "container_cpu_usage_seconds_total",
    "container_fs_reads_bytes_total",
    "container_fs_writes_bytes_total",
    "container_memory_cache",
    "container_memory_rss",
    "container_memory_swap",
    "container_memory_unreclaimable_bytes",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_network_receive_bytes_total",
    "container_network_transmit_bytes_total",
    "container_oom_events_total",
    "container_pressure_cpu_waiting_seconds_total",
    "container_pressure_io_waiting_seconds_total",
    "container_pressure_memory_waiting_seconds_total",
    "container_spec_cpu_quota",
    "container_spec_memory_limit_bytes",
    "container_start_time_seconds",
];

/// What dashboards and alerts ask for beyond the lean profile.
const DASHBOARDS: [&str; 30] = [
    "container_cpu_system_seconds_total",
    "container_cpu_user_seconds_total",
    "container_fs_inodes_free",
    "container_fs_inodes_total",
    "container_fs_io_time_seconds_total",
    "container_fs_limit_bytes",
    "container_fs_reads_total",
    "container_fs_usage_bytes",
    "container_fs_writes_total",
    "container_health_state",
    "container_last_seen",
    "container_memory_failcnt",
    "container_memory_failures_total",
    "container_memory_mapped_file",
    "container_memory_max_usage_bytes",
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
    "container_network_receive_packets_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
    "container_network_transmit_packets_total",
    "container_pressure_cpu_stalled_seconds_total",
    "container_pressure_io_stalled_seconds_total",
    "container_pressure_memory_stalled_seconds_total",
    "container_processes",
    "container_spec_cpu_period",
    "container_spec_cpu_shares",
    "container_spec_memory_reservation_limit_bytes",
    "container_spec_memory_swap_limit_bytes",
    "container_threads",
];

impl Profile {
    /// Whether a page of this profile has the family. Only those of containers are ever left out.
    pub(super) fn has(self, family: &str) -> bool {
        let lean = || LEAN.binary_search(&family).is_ok();
        let of_containers = matches!(family, "cgauge_container_info")
            || (family.starts_with("container_") && family != "container_scrape_error");
        match self {
            _ if !of_containers => true,
            Self::Full => true,
            Self::Dashboards => lean() || DASHBOARDS.binary_search(&family).is_ok(),
            Self::Lean => lean(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_the_profiles_nest() {
        assert!(LEAN.is_sorted() && DASHBOARDS.is_sorted());
        for name in LEAN {
            assert!(Profile::ALL.into_iter().all(|profile| profile.has(name)));
        }
        for name in DASHBOARDS {
            assert!(Profile::Dashboards.has(name) && !Profile::Lean.has(name));
        }
        assert!(
            Profile::Lean.has("machine_cpu_cores") && Profile::Lean.has("container_scrape_error")
        );
        assert!(!Profile::Dashboards.has("container_memory_pgscan_total"));
        assert!(Profile::Full.has("container_memory_pgscan_total"));
    }
}
