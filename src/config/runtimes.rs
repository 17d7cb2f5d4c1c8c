//! The settings about container runtimes.

use std::path::PathBuf;

use super::setting::{Setting, row, set};
use super::values::{ask, list};
use crate::runtime::RuntimeSettings;

const NAMES: &str = "Names from container runtimes";

/// Their rows.
pub(super) const ROWS: &[Setting] = &[
    row(
        "docker",
        NAMES,
        "ENDPOINT",
        "unix:///var/run/docker.sock",
        "Docker: unix:///path or tcp://HOST:PORT; empty: do not ask it",
        |c, v| {
            set(
                &mut c.runtimes.docker,
                ask(v, RuntimeSettings::default().docker),
            )
        },
    ),
    row(
        "podman",
        NAMES,
        "ENDPOINT",
        "unix:///var/run/podman/podman.sock",
        "Podman; empty: do not ask it",
        |c, v| {
            set(
                &mut c.runtimes.podman,
                ask(v, RuntimeSettings::default().podman),
            )
        },
    ),
    row(
        "podman_storage",
        NAMES,
        "DIR",
        "/var/lib/containers/storage",
        "Podman's files, read while it does not listen; empty: do not",
        |c, v| {
            c.runtimes.podman_storage = Some(PathBuf::from(v)).filter(|_| !v.is_empty());
            Ok(())
        },
    ),
    row(
        "containerd",
        NAMES,
        "ENDPOINT",
        "/run/containerd/containerd.sock",
        "containerd; empty: do not ask it",
        |c, v| {
            set(
                &mut c.runtimes.containerd,
                ask(v, RuntimeSettings::default().containerd),
            )
        },
    ),
    row(
        "containerd_namespace",
        NAMES,
        "LIST",
        "all",
        "The namespaces of containerd to look at",
        |c, v| set(&mut c.runtimes.containerd_namespaces, Ok(list(v))),
    ),
    row(
        "cri",
        NAMES,
        "ENDPOINT",
        "/run/containerd/containerd.sock",
        "A Kubernetes runtime that is not CRI-O; empty: do not ask it",
        |c, v| set(&mut c.runtimes.cri, ask(v, RuntimeSettings::default().cri)),
    ),
    row(
        "crio",
        NAMES,
        "ENDPOINT",
        "/var/run/crio/crio.sock",
        "CRI-O; empty: do not ask it",
        |c, v| {
            set(
                &mut c.runtimes.crio,
                ask(v, RuntimeSettings::default().crio),
            )
        },
    ),
    row(
        "user_runtimes",
        NAMES,
        "DIR",
        "/run/user",
        "Where users have the sockets of their Docker and Podman; empty: do not ask those",
        |c, v| {
            c.runtimes.users = Some(PathBuf::from(v)).filter(|_| !v.is_empty());
            Ok(())
        },
    ),
];
