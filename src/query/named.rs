//! Containers by the names that their runtimes gave them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{QueryError, View};
use crate::cgroup::{CgroupPath, ContainerName};
use crate::event::{Event, EventKind};
use crate::handler::Handler;
use crate::runtime::{Identity, State};
use crate::units::{NS_PER_SEC, Timestamp};

/// How far apart the end of a container and that of its cgroup may be: a container that was started
/// again has had other ends.
const SAME_END_NS: u64 = 10 * NS_PER_SEC;

impl View {
    /// The containers of a runtime's namespace (`docker`, `podman`, `crio`, `containerd`), by cgroup.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<Handler>> {
        let joined = self.joined();
        let found: BTreeMap<_, _> = joined
            .of_namespace(namespace)
            .filter_map(|(name, _)| Some((name, self.handler_of(name)?)))
            .collect();
        found.into_values().collect()
    }

    /// The container of a runtime's namespace that has this name, alias or id; or the only one that has
    /// one that begins so.
    ///
    /// # Errors
    /// [`QueryError::NotUnique`] if it may be any of several, [`QueryError::Ended`] if it is none that
    /// runs but its runtime still knows it, else [`QueryError::NotInNamespace`].
    pub fn find_in_namespace(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Handler>, QueryError> {
        let joined = self.joined();
        let exact = |identity: &Identity| identity.all_names().any(|known| known == name);
        let begins = |identity: &Identity| {
            let mut names = identity.all_names();
            names.any(|known| known.starts_with(name))
        };
        let only = |matches: &dyn Fn(&Identity) -> bool| {
            let mut all = joined.of_namespace(namespace);
            let first = all.find(|(_, identity)| matches(identity));
            match (first, all.any(|(_, identity)| matches(identity))) {
                (Some(_), true) => Err(QueryError::NotUnique {
                    name: name.to_owned(),
                    namespace: namespace.to_owned(),
                }),
                (Some((cgroup, _)), false) => Ok(Some(cgroup)),
                (None, _) => Ok(None),
            }
        };
        let mut found = only(&exact)?;
        if found.is_none() && !self.has_ended(namespace, name) {
            found = only(&begins)?;
        }
        found
            .and_then(|cgroup| self.handler_of(cgroup))
            .ok_or_else(|| self.why_not(namespace, name))
    }

    /// The name that a runtime gave to the container of a cgroup that may have gone: by its path
    /// alone.
    pub fn last_identity(&self, name: &ContainerName) -> Option<Arc<Identity>> {
        self.names().of_cgroup(name)
    }

    /// Who the container is, or was, to which an event happened, as far as a runtime has told and it is
    /// still known. Where memory ran out, the container in which that cgroup lies, too.
    pub fn identity_of_event(&self, event: &Event) -> Option<Arc<Identity>> {
        if self.names().is_empty() {
            return None;
        }
        let name = &event.container;
        let found = match event.kind {
            EventKind::Oom | EventKind::OomKill(_) => {
                std::iter::successors(Some(name.clone()), |name| name.parent())
                    .find_map(|name| self.last_identity(&name))
            }
            EventKind::ContainerCreation | EventKind::ContainerDeletion { .. } => {
                self.last_identity(name)
            }
        }?;
        // An id stands for one container for ever. A name that somebody chose may be another's by now.
        let is_its = CgroupPath::of(name).container.is_some()
            || found.created.is_some_and(|made| made <= event.timestamp);
        is_its.then_some(found)
    }

    /// Fills in the exit codes that runtimes have told since the events happened: a cgroup goes before its
    /// runtime says how the container ended.
    pub fn tell_exit_codes(&self, events: &mut [Event]) {
        for event in events {
            let EventKind::ContainerDeletion {
                exit_code: None,
                while_down,
            } = event.kind
            else {
                continue;
            };
            if let Some(identity) = self.identity_of_event(event)
                && let Some(State::Exited {
                    code,
                    finished: Some(finished),
                    ..
                }) = identity.state
                && (finished.0.abs_diff(event.timestamp.0) <= SAME_END_NS
                    || while_down && finished <= event.timestamp)
            {
                event.kind = EventKind::ContainerDeletion {
                    exit_code: code,
                    while_down,
                };
            }
        }
    }

    fn has_ended(&self, namespace: &str, name: &str) -> bool {
        self.ended(namespace, name).is_some()
    }

    /// A container of this very name or id of which there is no cgroup.
    fn ended(&self, namespace: &str, name: &str) -> Option<Arc<Identity>> {
        let mut found = self.names().named(name);
        found.extend(self.names().get(name));
        found.retain(|identity| identity.runtime.namespace() == namespace);
        found.into_iter().next()
    }

    fn why_not(&self, namespace: &str, name: &str) -> QueryError {
        let (name, namespace) = (name.to_owned(), namespace.to_owned());
        let Some(identity) = self.ended(&namespace, &name) else {
            return QueryError::NotInNamespace { name, namespace };
        };
        let how = match &identity.state {
            Some(State::Created) => "has not been started".to_owned(),
            Some(State::Exited {
                code,
                reason,
                finished,
            }) => {
                let mut how = "has ended".to_owned();
                if let Some(finished) = finished {
                    let ago = Timestamp::now().0.saturating_sub(finished.0).max(0);
                    let ago = ago.cast_unsigned() / NS_PER_SEC;
                    how.push_str(&format!(" {ago} s ago"));
                }
                if let Some(code) = code {
                    how.push_str(&format!(" with exit code {code}"));
                }
                if let Some(reason) = reason.as_deref().filter(|reason| !reason.is_empty()) {
                    how.push_str(&format!(" ({reason})"));
                }
                how
            }
            _ => "has no cgroup on this node: it has ended, or was started just now".to_owned(),
        };
        QueryError::Ended {
            name,
            namespace,
            how,
        }
    }
}
