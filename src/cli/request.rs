//! Which server `cgauge events` asks, and with which words. Pure.

use anyhow::Context;
use cgauge::config::{Config, EventsArgs, Listen, values};

/// Where to ask.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    /// The socket.
    pub address: Listen,
    /// Put before every path; empty or `/like/this`.
    pub prefix: String,
}

/// `--server`, or else where `cgauge run` would listen with the same settings.
pub fn server(args: &EventsArgs, config: &Config) -> anyhow::Result<Server> {
    let prefix = config.server.url_base_prefix.clone();
    let Some(text) = &args.server else {
        let mut addresses = config.server.addresses().into_iter();
        let address = addresses.next().context("nowhere to ask; give --server")?;
        return Ok(Server {
            address: reachable(address),
            prefix,
        });
    };
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let (host, path) = match bare.split_once('/') {
        Some((host, path)) if !bare.starts_with("unix:") => {
            (host, format!("/{path}").trim_end_matches('/').to_owned())
        }
        _ => (bare, String::new()),
    };
    let host = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{}", cgauge::config::DEFAULT_PORT)
    };
    let address = values::listen(&host).map_err(|_| {
        anyhow::anyhow!("--server: {text:?} is not http://IP:PORT, IP:PORT or unix:/path")
    })?;
    Ok(Server {
        address: reachable(address),
        prefix: if path.is_empty() { prefix } else { path },
    })
}

/// A server that listens on every address is asked on this machine's own.
fn reachable(address: Listen) -> Listen {
    match address {
        Listen::Tcp(mut at) if at.ip().is_unspecified() => {
            at.set_ip(if at.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
            Listen::Tcp(at)
        }
        other => other,
    }
}

/// The path and query that ask for these events.
pub fn request_path(args: &EventsArgs) -> String {
    let container = args.container.as_deref().unwrap_or("/");
    let mut path = "/api/v1.3/events".to_owned();
    if !container.starts_with('/') {
        path.push('/');
    }
    for byte in container.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    let mut query: Vec<String> = args
        .types
        .iter()
        .map(|name| format!("{}=true", parameter(name)))
        .collect();
    if query.is_empty() {
        query.push("all_events=true".to_owned());
    }
    if args.subcontainers || args.container.is_none() {
        query.push("subcontainers=true".to_owned());
    }
    query.push(if args.follow {
        "stream=true".to_owned()
    } else {
        format!("max_events={}", args.max.map_or(-1, i64::from))
    });
    format!("{path}?{}", query.join("&"))
}

/// The query parameter that selects an event type.
fn parameter(event_type: &str) -> &'static str {
    match event_type {
        "oom" => "oom_events",
        "oomKill" => "oom_kill_events",
        "containerCreation" => "creation_events",
        _ => "deletion_events",
    }
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What `cgauge events` alone asks for.
    pub fn args() -> EventsArgs {
        EventsArgs {
            follow: false,
            types: Vec::new(),
            container: None,
            subcontainers: false,
            max: Some(100),
            json: false,
            server: None,
        }
    }

    #[test]
    fn paths_and_parameters() {
        let path = |change: &dyn Fn(&mut EventsArgs)| {
            let mut args = args();
            change(&mut args);
            request_path(&args)
        };
        assert_eq!(
            path(&|_| ()),
            "/api/v1.3/events/?all_events=true&subcontainers=true&max_events=100"
        );
        assert_eq!(
            path(&|args| (args.container, args.max, args.types) =
                (Some("a b\n/é?".into()), None, vec!["oom", "oomKill"])),
            "/api/v1.3/events/a%20b%0A/%C3%A9%3F?oom_events=true&oom_kill_events=true&max_events=-1"
        );
        assert_eq!(
            path(&|args| (args.container, args.follow, args.subcontainers) =
                (Some("/x".into()), true, true)),
            "/api/v1.3/events/x?all_events=true&subcontainers=true&stream=true"
        );
    }

    #[test]
    fn where_to_ask() {
        let at = |text: &str| {
            server(
                &EventsArgs {
                    server: Some(text.to_owned()),
                    ..args()
                },
                &Config::default(),
            )
        };
        for (text, address, prefix) in [
            ("http://127.0.0.1:9", "127.0.0.1:9", ""),
            ("127.0.0.1:9", "127.0.0.1:9", ""),
            ("localhost", "127.0.0.1:8080", ""),
            ("http://0.0.0.0:9/pre/fix/", "127.0.0.1:9", "/pre/fix"),
            ("unix:/run/x.sock", "unix:/run/x.sock", ""),
        ] {
            let got = at(text).unwrap();
            assert_eq!(
                (got.address.to_string().as_str(), got.prefix.as_str()),
                (address, prefix),
                "{text}"
            );
        }
        assert!(
            at("https://127.0.0.1:1")
                .unwrap_err()
                .to_string()
                .starts_with("--server: ")
        );
        assert_eq!(
            server(&args(), &Config::default())
                .unwrap()
                .address
                .to_string(),
            "127.0.0.1:8080"
        );
    }
}
