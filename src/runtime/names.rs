//! The names that all links told, by container id.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::{Identity, Runtime};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameLimits {
    /// Containers at most, living and gone. The one longest gone makes room; if none is gone, a new
    /// one is not taken, and counted.
    pub containers: usize,
    /// How long a container is kept that its runtime has forgotten.
    pub retention: Duration,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self {
            containers: 20_000,
            retention: Duration::from_secs(3_600),
        }
    }
}

/// Who each container is, by its id. Written by the links, read by everyone.
#[derive(Debug, Default)]
pub struct Names {
    limits: NameLimits,
    known: RwLock<HashMap<Arc<str>, Entry>>,
    generation: AtomicU64,
    dropped: AtomicU64,
}

/// What is known of one id.
#[derive(Debug)]
struct Entry {
    /// What each link said, the most believed first.
    claims: Vec<Arc<Identity>>,
    /// All of it together.
    identity: Arc<Identity>,
    /// When the last link forgot it.
    gone: Option<Instant>,
}

impl Names {
    /// Names, within limits.
    pub fn new(limits: NameLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Who bears this id.
    pub fn get(&self, id: &str) -> Option<Arc<Identity>> {
        let known = self.known.read();
        known.get(id).map(|entry| Arc::clone(&entry.identity))
    }

    /// All whose runtime still knows them, in no order.
    pub fn living(&self) -> Vec<Arc<Identity>> {
        let known = self.known.read();
        let living = known.values().filter(|entry| entry.gone.is_none());
        living.map(|entry| Arc::clone(&entry.identity)).collect()
    }

    /// All of this name or alias, the living first, then the last gone.
    pub fn named(&self, name: &str) -> Vec<Arc<Identity>> {
        let known = self.known.read();
        let bears = |identity: &Identity| {
            identity.name.as_deref() == Some(name)
                || identity.aliases.iter().any(|alias| alias == name)
        };
        let mut found: Vec<_> = known
            .values()
            .filter(|entry| bears(&entry.identity))
            .map(|entry| (entry.gone, Arc::clone(&entry.identity)))
            .collect();
        found.sort_by(|(a, left), (b, right)| {
            let living_first = a.is_some().cmp(&b.is_some());
            living_first.then(b.cmp(a)).then(left.id.cmp(&right.id))
        });
        found.into_iter().map(|(_, identity)| identity).collect()
    }

    /// Rises whenever anything changes: whoever keeps something made from names compares it.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How many identities were not taken because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many are held, living and gone.
    pub fn len(&self) -> usize {
        self.known.read().len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A link describes a container, for the first time or anew.
    pub fn put(&self, identity: Identity) {
        let identity = Arc::new(identity);
        let mut known = self.known.write();
        if let Some(entry) = known.get_mut(identity.id.as_str()) {
            if entry.gone.is_none() && entry.claims.contains(&identity) {
                return;
            }
            entry
                .claims
                .retain(|claim| claim.runtime != identity.runtime);
            entry.claims.push(identity);
            entry.gone = None;
            entry.join();
        } else {
            if known.len() >= self.limits.containers && !self.make_room(&mut known) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let entry = Entry {
                claims: vec![Arc::clone(&identity)],
                identity: Arc::clone(&identity),
                gone: None,
            };
            known.insert(identity.id.as_str().into(), entry);
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// A runtime has forgotten a container: it is kept for a while.
    pub fn remove(&self, runtime: Runtime, id: &str) {
        let mut known = self.known.write();
        if let Some(entry) = known.get_mut(id)
            && entry.forget(runtime)
        {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// All that a runtime knows, after connecting to it: what it does not name any more is gone.
    pub fn replace_all(&self, runtime: Runtime, identities: Vec<Identity>) {
        let mut listed: Vec<_> = identities.iter().map(|one| one.id.clone()).collect();
        listed.sort_unstable();
        for identity in identities {
            self.put(identity);
        }
        let mut known = self.known.write();
        let mut changed = false;
        for (id, entry) in known.iter_mut() {
            if listed.binary_search_by(|one| one.as_str().cmp(id)).is_err() {
                changed |= entry.forget(runtime);
            }
        }
        if changed {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Drops what has been gone for longer than the retention. Called now and then by the links.
    pub fn expire(&self, now: Instant) {
        let retention = self.limits.retention;
        let mut known = self.known.write();
        let before = known.len();
        known.retain(|_, entry| {
            entry
                .gone
                .is_none_or(|gone| now.saturating_duration_since(gone) < retention)
        });
        if known.len() != before {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Drops the one longest gone, if any is.
    fn make_room(&self, known: &mut HashMap<Arc<str>, Entry>) -> bool {
        let longest = known
            .iter()
            .filter_map(|(id, entry)| entry.gone.map(|gone| (gone, Arc::clone(id))))
            .min();
        longest.is_some_and(|(_, id)| known.remove(&id).is_some())
    }
}

impl Entry {
    /// Puts the claims in order and together.
    fn join(&mut self) {
        self.claims.sort_by_key(|claim| claim.runtime);
        let mut claims = self.claims.iter();
        let Some(first) = claims.next() else { return };
        let mut rest = claims.peekable();
        if rest.peek().is_none() {
            self.identity = Arc::clone(first);
            return;
        }
        let mut joined = Identity::clone(first);
        rest.for_each(|claim| joined.fill_from(claim));
        self.identity = Arc::new(joined);
    }

    /// A runtime has forgotten it. What was known stays known until another runtime says otherwise.
    fn forget(&mut self, runtime: Runtime) -> bool {
        if self.gone.is_some() || !self.claims.iter().any(|claim| claim.runtime == runtime) {
            return false;
        }
        if self.claims.len() == 1 {
            self.gone = Some(Instant::now());
        } else {
            self.claims.retain(|claim| claim.runtime != runtime);
            self.join();
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(runtime: Runtime, id: &str, name: &str) -> Identity {
        Identity {
            name: Some(name.to_owned()),
            ..Identity::new(runtime, id)
        }
    }

    #[test]
    fn the_most_believed_wins_and_others_fill_in() {
        let names = Names::default();
        names.put(Identity {
            storage_driver: Some("overlayfs".to_owned()),
            ..named(Runtime::Containerd, "a", "raw")
        });
        names.put(named(Runtime::Docker, "a", "web"));
        let found = names.get("a").unwrap();
        assert_eq!(found.runtime, Runtime::Docker);
        assert_eq!(found.name.as_deref(), Some("web"));
        assert_eq!(found.storage_driver.as_deref(), Some("overlayfs"));
        names.remove(Runtime::Docker, "a");
        assert_eq!(names.get("a").unwrap().name.as_deref(), Some("raw"));
        assert_eq!(names.living().len(), 1);
    }

    #[test]
    fn the_same_again_is_no_change() {
        let names = Names::default();
        names.put(named(Runtime::Docker, "a", "web"));
        let generation = names.generation();
        names.put(named(Runtime::Docker, "a", "web"));
        names.replace_all(Runtime::Docker, vec![named(Runtime::Docker, "a", "web")]);
        names.replace_all(Runtime::Podman, Vec::new());
        names.remove(Runtime::Podman, "a");
        assert_eq!(names.generation(), generation);
        names.put(named(Runtime::Docker, "a", "other"));
        assert!(names.generation() > generation);
    }

    #[test]
    fn the_gone_are_kept_for_a_while() {
        let names = Names::new(NameLimits {
            containers: 10,
            retention: Duration::from_secs(60),
        });
        names.put(named(Runtime::Docker, "a", "web"));
        names.put(named(Runtime::Docker, "b", "web"));
        names.replace_all(Runtime::Docker, vec![named(Runtime::Docker, "b", "web")]);
        let ids = |names: &Names| {
            let found = names.named("web");
            found.iter().map(|one| one.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&names), ["b", "a"]);
        assert_eq!(names.living().len(), 1);
        names.expire(Instant::now());
        assert!(names.get("a").is_some());
        names.expire(Instant::now() + Duration::from_secs(61));
        assert!(names.get("a").is_none());
        assert_eq!(ids(&names), ["b"]);
    }

    #[test]
    fn bounded_and_the_gone_make_room() {
        let names = Names::new(NameLimits {
            containers: 2,
            ..NameLimits::default()
        });
        names.put(named(Runtime::Docker, "a", "1"));
        names.put(named(Runtime::Docker, "b", "2"));
        names.put(named(Runtime::Docker, "c", "3"));
        assert_eq!((names.len(), names.dropped()), (2, 1));
        names.remove(Runtime::Docker, "a");
        names.put(named(Runtime::Docker, "c", "3"));
        assert!(names.get("a").is_none());
        assert!(names.get("c").is_some());
        assert_eq!(names.dropped(), 1);
    }
}
