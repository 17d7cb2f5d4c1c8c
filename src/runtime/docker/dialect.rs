//! What differs between Docker and Podman, and between their versions. Pure.

use serde_json::Value;

use super::describe::usable_id;
use crate::runtime::Runtime;

/// The newest version of Docker's API whose answers are known. A newer Docker is asked in this one; one
/// that does not know it any more, in the oldest that it does.
const NEWEST_API: (u32, u32) = (1, 51);

/// How far before now events are asked for: they are told from when the subscription is made, which is
/// some time after it was asked for.
const OVERLAP_SECONDS: i64 = 2;

/// Actions of Docker's events that matter. Health checks make further ones, several a second each.
const DOCKER_ACTIONS: &str = r#""create","start","restart","die","oom","destroy","rename","pause","unpause","update","stop","health_status","connect","disconnect""#;

/// How to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Who answers: Podman may listen where Docker is looked for.
    pub(super) runtime: Runtime,
    /// Its own version, with that of the API that is spoken.
    pub(super) version: String,
    /// What stands before every path.
    prefix: String,
}

impl Dialect {
    /// Chooses by the answer to `/version`; `None` if that is neither's.
    pub(super) fn negotiate(answer: &Value) -> Option<Self> {
        let own = answer["Version"].as_str()?;
        let mut components = answer["Components"].as_array().into_iter().flatten();
        let podman = components.find(|one| one["Name"].as_str() == Some("Podman Engine"));
        if let Some(podman) = podman {
            let api = podman["Details"]["APIVersion"].as_str().unwrap_or("4.0.0");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
            if !api.bytes().all(plain) {
                return None;
            }
            return Some(Self {
                runtime: Runtime::Podman,
                version: own.to_owned(),
                prefix: format!("/v{api}/libpod"),
            });
        }
        let newest = answer["ApiVersion"].as_str().and_then(version)?;
        let oldest = answer["MinAPIVersion"].as_str().and_then(version);
        let spoken = newest.min(NEWEST_API).max(oldest.unwrap_or((0, 0)));
        let api = format!("{}.{}", spoken.0, spoken.1);
        Some(Self {
            runtime: Runtime::Docker,
            version: format!("{own}, API {api}"),
            prefix: format!("/v{api}"),
        })
    }

    /// Every container, whether it runs or not.
    pub(super) fn list(&self) -> String {
        match self.runtime {
            Runtime::Podman => format!("{}/containers/json?all=true&pod=true", self.prefix),
            _ => format!("{}/containers/json?all=1", self.prefix),
        }
    }

    /// One container. The id must be a [usable](usable_id) one.
    pub(super) fn inspect(&self, id: &str) -> String {
        format!("{}/containers/{id}/json", self.prefix)
    }

    /// One of Podman's pods.
    pub(super) fn pod(&self, id: &str) -> Option<String> {
        let asks = self.runtime == Runtime::Podman && usable_id(id);
        asks.then(|| format!("{}/pods/{id}/json", self.prefix))
    }

    /// Events since shortly before `now`, in seconds.
    pub(super) fn events(&self, now: i64) -> String {
        let filters = match self.runtime {
            Runtime::Podman => r#"{"type":["container","pod"]}"#.to_owned(),
            _ => format!(r#"{{"type":["container","network"],"event":[{DOCKER_ACTIONS}]}}"#),
        };
        let since = now.saturating_sub(OVERLAP_SECONDS);
        format!(
            "{}/events?since={since}&filters={}",
            self.prefix,
            percent_encoded(&filters)
        )
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn docker(newest: &str, oldest: &str) -> Option<String> {
        let answer = json!({"Version": "x", "ApiVersion": newest, "MinAPIVersion": oldest});
        Dialect::negotiate(&answer).map(|dialect| dialect.list())
    }

    #[test]
    fn the_newest_version_that_both_know() {
        let list = |version: &str| Some(format!("/v{version}/containers/json?all=1"));
        assert_eq!(docker("1.41", "1.12"), list("1.41"));
        assert_eq!(docker("1.60", "1.44"), list("1.51"));
        assert_eq!(docker("1.99", "1.70"), list("1.70"));
        assert_eq!(docker("2.1", "1.44"), list("1.51"));
        assert_eq!(docker("1.24", ""), list("1.24"));
        assert_eq!(docker("", ""), None);
        assert_eq!(docker("1.4 HTTP/1.1\r\nX: y", ""), None);
        assert_eq!(Dialect::negotiate(&json!(["garbage"])), None);
    }

    #[test]
    fn podman_is_asked_its_own_way_wherever_it_listens() {
        let answer = json!({
            "Version": "4.3.1",
            "ApiVersion": "1.41",
            "Components": [{"Name": "Podman Engine", "Details": {"APIVersion": "4.3.1"}}],
        });
        let dialect = Dialect::negotiate(&answer).unwrap();
        assert_eq!(dialect.runtime, Runtime::Podman);
        assert_eq!(dialect.inspect("a1"), "/v4.3.1/libpod/containers/a1/json");
        assert_eq!(dialect.pod("p").unwrap(), "/v4.3.1/libpod/pods/p/json");
        assert_eq!(dialect.pod("../x"), None);
        assert_eq!(
            dialect.events(100),
            "/v4.3.1/libpod/events?since=98&filters=%7B%22type%22%3A%5B%22container%22%2C%22pod%22%5D%7D"
        );
        let odd = json!({
            "Version": "1",
            "Components": [{"Name": "Podman Engine", "Details": {"APIVersion": "4/../.."}}],
        });
        assert_eq!(Dialect::negotiate(&odd), None);
    }
}
