//! The names that all links told, by container id.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::ends::{End, Ends};
use super::{Identity, Runtime};
use crate::cgroup::{CgroupPath, ContainerName};

/// Where the cgroups of users are.
const OF_USERS: &[u8] = b"/user.slice/";

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameLimits {
    /// Containers at most, living and gone. The one longest gone makes room; if none is gone, a new
    /// one is not taken, and counted.
    pub containers: usize,
    /// How long a container is kept that its runtime has forgotten.
    pub retention: Duration,
    /// How many of them the runtime of one user may name.
    pub of_user: usize,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self {
            containers: 20_000,
            retention: Duration::from_secs(3_600),
            of_user: 1_000,
        }
    }
}

/// Who each container is, by its id. Written by the links, read by everyone.
///
/// Each link holds [`Names`] of its own, made by [`Names::for_link`], which share what is known: so
/// two links to runtimes of the same kind do not forget each other's containers.
#[derive(Debug, Default)]
pub struct Names {
    link: LinkId,
    shared: Arc<Shared>,
}

/// Which link tells a name: the node's own runtimes are believed before those of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LinkId {
    /// Whether the runtime belongs to a user, who may say anything.
    pub of_user: bool,
    /// Its number.
    pub number: u32,
}

#[derive(Debug, Default)]
struct Shared {
    limits: NameLimits,
    known: RwLock<HashMap<Arc<str>, Entry>>,
    ends: Ends,
    generation: AtomicU64,
    dropped: AtomicU64,
}

/// What one link says of a container.
#[derive(Debug)]
struct Claim {
    link: LinkId,
    identity: Arc<Identity>,
}

/// What is known of one id.
#[derive(Debug)]
struct Entry {
    /// What each link said, the most believed first.
    claims: Vec<Claim>,
    /// All of it together.
    identity: Arc<Identity>,
    /// When the last link forgot it.
    gone: Option<Instant>,
}

/// A container as [`Names::for_each`] shows it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Who it is.
    pub identity: &'a Arc<Identity>,
    /// Whether its runtime has forgotten it.
    pub is_gone: bool,
    /// Whether only the runtime of a user told of it, who may say anything.
    pub of_user: bool,
}

impl Known<'_> {
    /// Whether the cgroup of this name may be this container's: a user may name what is his, not the
    /// rest of the node.
    pub fn may_name(&self, cgroup: &ContainerName) -> bool {
        !self.of_user || cgroup.as_bytes().starts_with(OF_USERS)
    }
}

impl Names {
    /// Names, within limits.
    pub fn new(limits: NameLimits) -> Self {
        let shared = Shared {
            limits,
            ..Shared::default()
        };
        Self {
            link: LinkId::default(),
            shared: Arc::new(shared),
        }
    }

    /// The same names, to be told by this link.
    pub fn for_link(&self, link: LinkId) -> Self {
        Self {
            link,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Who bears this id.
    pub fn get(&self, id: &str) -> Option<Arc<Identity>> {
        let known = self.shared.known.read();
        known.get(id).map(|entry| Arc::clone(&entry.identity))
    }

    /// Who has or had the cgroup of this name: the one whose id stands in it or, where the runtime says
    /// which cgroup it gave to a container and named it by an id of any form, that container.
    pub fn of_cgroup(&self, cgroup: &ContainerName) -> Option<Arc<Identity>> {
        let by_id = CgroupPath::of(cgroup).own_container();
        let id = by_id.or_else(|| {
            let last = cgroup.as_bytes().rsplit(|&byte| byte == b'/').next()?;
            std::str::from_utf8(last).ok()
        })?;
        let known = self.shared.known.read();
        let known = known.get(id)?.known();
        let is_its = by_id.is_some() || known.identity.own_cgroup().as_ref() == Some(cgroup);
        (is_its && known.may_name(cgroup)).then(|| Arc::clone(known.identity))
    }

    /// What this link itself said of this id, for when it learns something more of it.
    pub fn claim(&self, runtime: Runtime, id: &str) -> Option<Arc<Identity>> {
        let known = self.shared.known.read();
        let mut claims = known.get(id)?.claims.iter();
        let own = claims.find(|claim| claim.is_of(self.link, runtime))?;
        Some(Arc::clone(&own.identity))
    }

    /// All whose runtime still knows them, in no order.
    pub fn living(&self) -> Vec<Arc<Identity>> {
        let known = self.shared.known.read();
        let living = known.values().filter(|entry| entry.gone.is_none());
        living.map(|entry| Arc::clone(&entry.identity)).collect()
    }

    /// Shows all to `look`, in no order. Nothing may be asked of or told to the names meanwhile.
    pub fn for_each(&self, mut look: impl FnMut(Known<'_>)) {
        for entry in self.shared.known.read().values() {
            look(entry.known());
        }
    }

    /// All of this name or alias, the living first, then the last gone.
    pub fn named(&self, name: &str) -> Vec<Arc<Identity>> {
        let known = self.shared.known.read();
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
        self.shared.generation.load(Ordering::Acquire)
    }

    /// How many identities were not taken because there were too many.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// How many are held, living and gone.
    pub fn len(&self) -> usize {
        self.shared.known.read().len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ends that were told since this was last asked, oldest first. For one reader.
    pub fn take_ends(&self) -> VecDeque<End> {
        self.shared.ends.take()
    }

    /// A link describes a container, for the first time or anew.
    pub fn put(&self, identity: Identity) {
        let identity = Arc::new(identity);
        let mut known = self.shared.known.write();
        if let Some(entry) = known.get_mut(identity.id.as_str()) {
            let same = |claim: &Claim| claim.link == self.link && claim.identity == identity;
            if entry.gone.is_none() && entry.claims.iter().any(same) {
                return;
            }
            if entry.claims.len() >= MAX_CLAIMS && !entry.has(self.link, identity.runtime) {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let link = self.link;
            let mut told = entry.claims.iter();
            let told = told.find(|claim| claim.is_of(link, identity.runtime));
            let before = told.map(|claim| &*claim.identity);
            self.shared.ends.note(before, &identity, link.of_user);
            entry
                .claims
                .retain(|claim| !claim.is_of(link, identity.runtime));
            entry.claims.push(Claim { link, identity });
            entry.gone = None;
            entry.join();
        } else {
            let too_many =
                self.link.of_user && self.number_told(&known) >= self.shared.limits.of_user;
            if too_many {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if known.len() >= self.shared.limits.containers && !self.make_room(&mut known) {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.shared.ends.note(None, &identity, self.link.of_user);
            let entry = Entry {
                claims: vec![Claim {
                    link: self.link,
                    identity: Arc::clone(&identity),
                }],
                identity: Arc::clone(&identity),
                gone: None,
            };
            known.insert(identity.id.as_str().into(), entry);
        }
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    /// A runtime has forgotten a container: it is kept for a while.
    pub fn remove(&self, runtime: Runtime, id: &str) {
        let mut known = self.shared.known.write();
        if let Some(entry) = known.get_mut(id)
            && entry.forget(self.link, runtime)
        {
            self.shared.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether this link describes a container that is still there.
    pub fn tells(&self, runtime: Runtime, id: &str) -> bool {
        let known = self.shared.known.read();
        let told = known.get(id).filter(|entry| entry.gone.is_none());
        told.is_some_and(|entry| entry.has(self.link, runtime))
    }

    /// What this link said of a container.
    pub fn told(&self, runtime: Runtime, id: &str) -> Option<Arc<Identity>> {
        let known = self.shared.known.read();
        let mut claims = known.get(id)?.claims.iter();
        let own = claims.find(|claim| claim.is_of(self.link, runtime))?;
        Some(Arc::clone(&own.identity))
    }

    /// A link has learnt something more of a container that it has described. Whether it had.
    pub fn amend(&self, runtime: Runtime, id: &str, change: impl FnOnce(&mut Identity)) -> bool {
        let Some(told) = self.told(runtime, id) else {
            return false;
        };
        let mut identity = Identity::clone(&told);
        change(&mut identity);
        self.put(identity);
        true
    }

    /// All that a runtime knows, after connecting to it: what it does not name any more is gone.
    pub fn replace_all(&self, runtime: Runtime, identities: Vec<Identity>) {
        let listed: Vec<_> = identities.iter().map(|one| one.id.clone()).collect();
        for identity in identities {
            self.put(identity);
        }
        self.keep_only(runtime, &listed);
    }

    /// What a runtime does not list any more is gone.
    pub fn keep_only(&self, runtime: Runtime, listed: &[String]) {
        let mut listed: Vec<&str> = listed.iter().map(String::as_str).collect();
        listed.sort_unstable();
        let mut known = self.shared.known.write();
        let mut changed = false;
        for (id, entry) in known.iter_mut() {
            if listed.binary_search(&&**id).is_err() {
                changed |= entry.forget(self.link, runtime);
            }
        }
        if changed {
            self.shared.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// The runtime of a user has gone for good: its containers are gone, too.
    pub fn forget_link(&self) {
        let mut known = self.shared.known.write();
        let mut changed = false;
        for entry in known.values_mut() {
            for runtime in Runtime::ALL {
                changed |= entry.forget(self.link, runtime);
            }
        }
        if changed {
            self.shared.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// How many containers only this link named.
    fn number_told(&self, known: &HashMap<Arc<str>, Entry>) -> usize {
        let only = |entry: &&Entry| entry.claims.iter().all(|claim| claim.link == self.link);
        known.values().filter(only).count()
    }

    /// Drops what has been gone for longer than the retention. Called now and then by the links.
    pub fn expire(&self, now: Instant) {
        let retention = self.shared.limits.retention;
        let mut known = self.shared.known.write();
        let before = known.len();
        known.retain(|_, entry| {
            entry
                .gone
                .is_none_or(|gone| now.saturating_duration_since(gone) < retention)
        });
        if known.len() != before {
            self.shared.generation.fetch_add(1, Ordering::Release);
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

/// How many links may describe one container. More than one of each runtime is never right.
const MAX_CLAIMS: usize = 8;

impl Claim {
    fn is_of(&self, link: LinkId, runtime: Runtime) -> bool {
        self.link == link && self.identity.runtime == runtime
    }
}

impl Entry {
    fn known(&self) -> Known<'_> {
        Known {
            identity: &self.identity,
            is_gone: self.gone.is_some(),
            of_user: self.claims.iter().all(|claim| claim.link.of_user),
        }
    }

    fn has(&self, link: LinkId, runtime: Runtime) -> bool {
        self.claims.iter().any(|claim| claim.is_of(link, runtime))
    }

    /// Puts the claims in order and together.
    fn join(&mut self) {
        self.claims.sort_by_key(|claim| {
            let LinkId { of_user, number } = claim.link;
            (of_user, claim.identity.runtime, number)
        });
        let Some((first, rest)) = self.claims.split_first() else {
            return;
        };
        // What a user's runtime says of a container that others know, too, is not to be believed.
        let mut rest = rest
            .iter()
            .take_while(|claim| !claim.link.of_user)
            .map(|claim| &claim.identity)
            .peekable();
        let first = &first.identity;
        if rest.peek().is_none() {
            self.identity = Arc::clone(first);
            return;
        }
        let mut joined = Identity::clone(first);
        rest.for_each(|claim| joined.fill_from(claim));
        self.identity = Arc::new(joined);
    }

    /// A runtime has forgotten it. What was known stays known until another runtime says otherwise.
    fn forget(&mut self, link: LinkId, runtime: Runtime) -> bool {
        if self.gone.is_some() || !self.has(link, runtime) {
            return false;
        }
        if self.claims.len() == 1 {
            self.gone = Some(Instant::now());
        } else {
            self.claims.retain(|claim| !claim.is_of(link, runtime));
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
            ..NameLimits::default()
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

    #[test]
    fn two_links_of_a_kind_do_not_forget_each_others() {
        let names = Names::default();
        let link = |number, of_user| names.for_link(LinkId { of_user, number });
        let (first, second) = (link(1, false), link(2, false));
        first.replace_all(Runtime::Podman, vec![named(Runtime::Podman, "a", "one")]);
        second.replace_all(Runtime::Podman, vec![named(Runtime::Podman, "b", "two")]);
        assert_eq!(names.living().len(), 2);
        second.remove(Runtime::Podman, "a");
        assert_eq!(names.living().len(), 2);
        first.replace_all(Runtime::Podman, Vec::new());
        assert_eq!(names.living().len(), 1);
        second.forget_link();
        assert!(names.living().is_empty());
        assert!(names.get("b").is_some());
    }

    #[test]
    fn of_a_cgroup_by_its_path_alone() {
        let names = Names::default();
        let id = "0123456789abcdef".repeat(4);
        names.put(named(Runtime::Docker, &id, "web"));
        let plain = Identity {
            cgroup: Some("/default/plain".to_owned()),
            ..Identity::new(Runtime::Containerd, "plain")
        };
        names.put(plain);
        let user = names.for_link(LinkId {
            of_user: true,
            number: 1,
        });
        let (his, not_his) = ("a".repeat(64), "b".repeat(64));
        user.put(named(Runtime::Podman, &his, "his"));
        user.put(named(Runtime::Podman, &not_his, "evil"));
        names.keep_only(Runtime::Docker, &[]);
        for (path, expected) in [
            (format!("/docker/{id}"), Some(&id)),
            (format!("/docker/{id}/init.scope"), None),
            ("/default/plain".to_owned(), Some(&"plain".to_owned())),
            ("/other/plain".to_owned(), None),
            ("/plain".to_owned(), None),
            ("/".to_owned(), None),
            (
                format!("/user.slice/user-1.slice/libpod-{his}.scope"),
                Some(&his),
            ),
            (format!("/machine.slice/libpod-{not_his}.scope"), None),
        ] {
            let found = names.of_cgroup(&ContainerName::from_request(&path));
            assert_eq!(found.as_ref().map(|one| &one.id), expected, "{path}");
        }
    }

    #[test]
    fn a_user_may_not_rename_what_is_not_his_nor_fill_the_table() {
        let names = Names::new(NameLimits {
            of_user: 2,
            ..NameLimits::default()
        });
        let user = names.for_link(LinkId {
            of_user: true,
            number: 1,
        });
        user.put(named(Runtime::Docker, "a", "evil"));
        names.put(named(Runtime::Containerd, "a", "web"));
        assert_eq!(names.get("a").unwrap().name.as_deref(), Some("web"));
        for id in ["b", "c", "d", "e"] {
            user.put(named(Runtime::Podman, id, id));
        }
        assert_eq!((names.len(), names.dropped()), (3, 2));
    }
}
