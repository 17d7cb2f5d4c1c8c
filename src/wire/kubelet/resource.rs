//! `/metrics/resource`: CPU and memory of node, pods and containers, as Prometheus text. Every sample
//! but start times has the time at which it was taken.

use std::fmt::Write;

use super::{Member, Node, Pod};
use crate::cgroup::Sample;
use crate::units::NS_PER_SEC;

/// A family of one of the three levels.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    value: fn(&Member, &Sample) -> Option<f64>,
    /// Whether samples have a time.
    timed: bool,
}

const CPU: fn(&Member, &Sample) -> Option<f64> =
    |_, sample| Some(sample.cpu.usage_ns? as f64 / NS_PER_SEC as f64);
const WORKING_SET: fn(&Member, &Sample) -> Option<f64> =
    |_, sample| Some(sample.memory.working_set_bytes()? as f64);
const SWAP: fn(&Member, &Sample) -> Option<f64> =
    |_, sample| Some(sample.memory.swap_bytes? as f64);
const SWAP_LIMIT: fn(&Member, &Sample) -> Option<f64> =
    |member, sample| Some((member.swap_available_bytes()? + sample.memory.swap_bytes?) as f64);
const STARTED: fn(&Member, &Sample) -> Option<f64> =
    |member, _| Some(member.started()?.as_secs_f64());

const fn family(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Member, &Sample) -> Option<f64>,
) -> Family {
    Family {
        name,
        help,
        kind,
        value,
        timed: true,
    }
}

const CONTAINER: [Family; 5] = [
    family(
        "container_cpu_usage_seconds_total",
        "counter",
        "CPU time that the container used, in core-seconds.",
        CPU,
    ),
    family(
        "container_memory_working_set_bytes",
        "gauge",
        "Working set of the container, in bytes.",
        WORKING_SET,
    ),
    Family {
        timed: false,
        ..family(
            "container_start_time_seconds",
            "gauge",
            "When the container was made, in seconds since the epoch.",
            STARTED,
        )
    },
    family(
        "container_swap_limit_bytes",
        "gauge",
        "Swap that the container may use, in bytes.",
        SWAP_LIMIT,
    ),
    family(
        "container_swap_usage_bytes",
        "gauge",
        "Swap that the container uses, in bytes.",
        SWAP,
    ),
];

const NODE: [Family; 3] = [
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        "CPU time that the node used, in core-seconds.",
        CPU,
    ),
    family(
        "node_memory_working_set_bytes",
        "gauge",
        "Working set of the node, in bytes.",
        WORKING_SET,
    ),
    family(
        "node_swap_usage_bytes",
        "gauge",
        "Swap that the node uses, in bytes.",
        SWAP,
    ),
];

const POD: [Family; 3] = [
    family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "CPU time that the pod used, in core-seconds.",
        CPU,
    ),
    family(
        "pod_memory_working_set_bytes",
        "gauge",
        "Working set of the pod, in bytes.",
        WORKING_SET,
    ),
    family(
        "pod_swap_usage_bytes",
        "gauge",
        "Swap that the pod uses, in bytes.",
        SWAP,
    ),
];

/// The page. Ids and uids stand where names belong that no runtime told.
pub fn page(node: &Node) -> String {
    let mut out = String::with_capacity(4096);
    for family in &CONTAINER {
        write_family(&mut out, family, |emit| {
            for (uid, pod) in &node.pods {
                for (name, member) in &pod.containers {
                    emit(
                        &format!(
                            "{{container=\"{}\",{}}}",
                            escaped(name),
                            pod_labels(uid, pod)
                        ),
                        member,
                    );
                }
            }
        });
    }
    for family in &NODE {
        write_family(&mut out, family, |emit| {
            if let Some(root) = &node.root {
                emit("", root);
            }
        });
    }
    for family in &POD {
        write_family(&mut out, family, |emit| {
            for (uid, pod) in &node.pods {
                if let Some(own) = &pod.own {
                    emit(&format!("{{{}}}", pod_labels(uid, pod)), own);
                }
            }
        });
    }
    let failed = u8::from(
        node.root
            .as_ref()
            .is_none_or(|root| root.info.latest.is_none()),
    );
    // Writing to text does not fail, here and below.
    let _ = write!(
        out,
        "# HELP resource_scrape_error 1 if the node could not be measured, else 0.\n\
         # TYPE resource_scrape_error gauge\nresource_scrape_error {failed}\n"
    );
    out
}

/// The labels of a pod.
fn pod_labels(uid: &str, pod: &Pod) -> String {
    let (namespace, name) = (escaped(pod.namespace()), escaped(pod.name().unwrap_or(uid)));
    format!("namespace=\"{namespace}\",pod=\"{name}\"")
}

/// Kubernetes lets none of these characters into names, but it is not who told.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A family with its samples; nothing if it has none.
fn write_family(
    out: &mut String,
    family: &Family,
    samples: impl FnOnce(&mut dyn FnMut(&str, &Member)),
) {
    let mut first = true;
    samples(&mut |labels, member| {
        let Some(sample) = &member.info.latest else {
            return;
        };
        let Some(value) = (family.value)(member, sample) else {
            return;
        };
        let Family {
            name, help, kind, ..
        } = family;
        if std::mem::take(&mut first) {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        let _ = write!(out, "{name}{labels} {value}");
        if family.timed {
            let _ = write!(out, " {}", sample.timestamp.as_millis());
        }
        out.push('\n');
    });
}
