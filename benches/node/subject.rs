//! What is measured: cgauge, or its peer.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use super::client::{Client, value};
use super::process::Agent;
use super::{Mode, Options};

/// Two samples are as old as this at most when scraped: every scrape takes new ones.
const FRESH: &str = "/metrics?max_age=0s";

#[derive(Debug, Clone)]
pub enum Subject {
    Cgauge(Mode),
    /// The program, and how it polls.
    Peer(String, Mode),
}

impl Subject {
    /// All that the options name.
    pub fn all(options: &Options) -> Vec<Self> {
        let own = options.modes.iter().map(|&mode| Self::Cgauge(mode));
        let peers = options.peer.iter().flat_map(|program| {
            let modes = options.modes.iter();
            modes.map(|&mode| Self::Peer(program.clone(), mode))
        });
        own.chain(peers).collect()
    }

    pub fn name(&self) -> String {
        match self {
            Self::Cgauge(mode) => format!("cgauge, {}", mode.name()),
            Self::Peer(_, mode) => format!("peer, {}", mode.name()),
        }
    }

    pub fn is_cgauge(&self) -> bool {
        matches!(self, Self::Cgauge(_))
    }

    /// Starts it; `socket` is where cgauge answers, the peer does at a free port.
    pub fn start(&self, options: &Options, socket: &Path) -> (Agent, Client) {
        let fixed = ["1s", "false"];
        match self {
            Self::Cgauge(mode) => {
                let _ = std::fs::remove_file(socket);
                let mut arguments = vec![
                    "run".to_owned(),
                    "--log-level=warn".to_owned(),
                    format!("--listen=unix:{}", socket.display()),
                ];
                if mode.is_fixed() {
                    let [interval, dynamic] = fixed;
                    arguments.push(format!("--housekeeping-interval={interval}"));
                    arguments.push(format!("--allow-dynamic-housekeeping={dynamic}"));
                }
                arguments.extend(options.flags.iter().cloned());
                let program = options.cgauge.as_deref();
                let program = program.unwrap_or(env!("CARGO_BIN_EXE_cgauge"));
                (Agent::start(program, &arguments), Client::unix(socket))
            }
            Self::Peer(program, mode) => {
                let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let port = free.local_addr().unwrap().port();
                drop(free);
                let mut arguments =
                    vec!["-listen_ip=127.0.0.1".to_owned(), format!("-port={port}")];
                if mode.is_fixed() {
                    let [interval, dynamic] = fixed;
                    arguments.push(format!("-housekeeping_interval={interval}"));
                    arguments.push(format!("-allow_dynamic_housekeeping={dynamic}"));
                }
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                (Agent::start(program, &arguments), Client::Tcp(address))
            }
        }
    }

    /// How many polls it has done: cgauge says so. Of the peer, what `leaf` had since it was started,
    /// times the number of containers.
    pub fn polls(&self, client: &Client, leaf: &str, containers: f64) -> f64 {
        match self {
            Self::Cgauge(_) => value(&client.metrics(), "cgauge_polls_total"),
            Self::Peer(..) => {
                // It keeps two minutes: longer than a run.
                let body = r#"{"num_stats":1000}"#;
                let answer = client.post(&format!("/api/v1.3/containers{leaf}"), body);
                let text = String::from_utf8(answer).unwrap();
                text.matches(r#""timestamp":""#).count() as f64 * containers
            }
        }
    }

    /// How many containers it knows.
    pub fn containers(&self, client: &Client) -> f64 {
        match self {
            Self::Cgauge(_) => value(&client.metrics(), "cgauge_containers"),
            Self::Peer(..) => {
                let metrics = client.metrics();
                let seen = metrics
                    .lines()
                    .filter(|line| line.starts_with("container_last_seen{"));
                seen.count() as f64
            }
        }
    }

    /// The path of the metrics as they are known; the peer has no other.
    pub fn last_polls(&self) -> &'static str {
        match self {
            Self::Cgauge(_) => "/metrics?max_age=24h",
            Self::Peer(..) => "/metrics",
        }
    }

    /// The path that has every container polled for it; the peer has none.
    pub fn fresh(&self) -> Option<&'static str> {
        self.is_cgauge().then_some(FRESH)
    }
}
