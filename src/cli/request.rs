//! Which server `cgauge events` asks, and with which words. Pure.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::Context;
use cgauge::config::{Config, DEFAULT_PORT, EventsArgs, Listen, values};

/// The socket to connect to.
#[derive(Debug, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`; the host may be a name.
    Tcp(String),
    /// A unix socket at this path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => f.write_str(host),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where to ask.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    /// The socket.
    pub address: Address,
    /// Put before every path; empty or `/like/this`.
    pub prefix: String,
}

/// `--server`, or else where `cgauge run` would listen with the same settings.
pub fn server(args: &EventsArgs, config: &Config) -> anyhow::Result<Server> {
    server_at(args.server.as_deref(), config)
}

/// The server that `text` names, or else where `cgauge run` would listen with the same settings.
pub fn server_at(text: Option<&str>, config: &Config) -> anyhow::Result<Server> {
    match text {
        Some(text) => parse(text, &config.server.url_base_prefix).with_context(|| {
            format!("--server: {text:?} is not http://HOST:PORT, HOST:PORT or unix:/path")
        }),
        None => {
            let address = config.server.addresses().into_iter().next().map(reachable);
            let prefix = config.server.url_base_prefix.clone();
            Ok(Server {
                address: address.context("nowhere to ask; give --server")?,
                prefix,
            })
        }
    }
}

/// Reads `--server`; a path in it takes the place of the usual `prefix`.
fn parse(text: &str, prefix: &str) -> Option<Server> {
    if text.starts_with("unix:") {
        let address = reachable(values::listen(text).ok()?);
        return Some(Server {
            address,
            prefix: prefix.to_owned(),
        });
    }
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let (host, path) = bare
        .find('/')
        .map_or((bare, ""), |slash| bare.split_at(slash));
    let path = path.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if !path.chars().all(plain) {
        return None;
    }
    let prefix = if path.is_empty() { prefix } else { path }.to_owned();
    let (name, port) = match host.rsplit_once(':') {
        // The last group of an address in brackets is no port.
        Some((name, port)) if !host.ends_with(']') => (name, port.parse::<u16>().ok()?),
        _ => (host, DEFAULT_PORT),
    };
    let is_v6 = name.starts_with('[') && name.ends_with(']');
    let plain =
        |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || (is_v6 && "[:]%".contains(c));
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let at = format!("{name}:{port}");
    let address = values::listen(&at).ok().map(reachable);
    Some(Server {
        address: address.unwrap_or(Address::Tcp(at)),
        prefix,
    })
}

/// A server that listens on every address is asked on this machine's own.
fn reachable(listen: Listen) -> Address {
    match listen {
        Listen::Tcp(mut at) => {
            if at.ip().is_unspecified() {
                at.set_ip(if at.is_ipv4() {
                    Ipv4Addr::LOCALHOST.into()
                } else {
                    Ipv6Addr::LOCALHOST.into()
                });
            }
            Address::Tcp(at.to_string())
        }
        Listen::Unix(path) => Address::Unix(path),
    }
}

/// The path and query that ask for these events; with a position, for those behind it.
pub fn request_path(args: &EventsArgs, after: Option<&str>) -> String {
    let mut query = Vec::new();
    if !args.types.is_empty() {
        query.push(format!("type={}", args.types.join(",")));
    }
    if let Some(container) = &args.container {
        query.push(format!("container={}", encoded(container)));
        if !args.subcontainers {
            query.push("subcontainers=false".to_owned());
        }
    }
    if args.follow {
        query.push("follow=true".to_owned());
    } else if let Some(max) = args.max {
        query.push(format!("max={max}"));
    }
    if let Some(after) = after {
        query.push(format!("after={}", encoded(after)));
    }
    let query = query.join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/api/cgauge/v1/events{mark}{query}")
}

/// The text as a part of a path or query.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
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
        let path = |after, change: &dyn Fn(&mut EventsArgs)| {
            let mut args = args();
            change(&mut args);
            request_path(&args, after)
        };
        assert_eq!(path(None, &|_| ()), "/api/cgauge/v1/events?max=100");
        assert_eq!(path(None, &|args| args.max = None), "/api/cgauge/v1/events");
        assert_eq!(
            path(None, &|args| (args.container, args.max, args.types) =
                (Some("a b\n/é?".into()), None, vec!["oom", "oomKill"])),
            "/api/cgauge/v1/events?type=oom,oomKill&container=a%20b%0A/%C3%A9%3F&subcontainers=false"
        );
        assert_eq!(
            path(Some("00000000000000ff-7"), &|args| (
                args.container,
                args.follow,
                args.subcontainers
            ) =
                (Some("/x".into()), true, true)),
            "/api/cgauge/v1/events?container=/x&follow=true&after=00000000000000ff-7"
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
            ("http://node7:9000/", "node7:9000", ""),
            ("node7", "node7:8080", ""),
            ("http://[::1]:9", "[::1]:9", ""),
            ("[::]", "[::1]:8080", ""),
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
        for bad in [
            "",
            "http://",
            "ftp://x",
            "node:port",
            "::1:80",
            "unix:rel",
            "a b:1",
            "a/b c",
        ] {
            assert!(at(bad).is_err(), "{bad}");
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
