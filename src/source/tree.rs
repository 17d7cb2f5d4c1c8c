//! Pure: which cgroups there are, as far as the signals of the kernel tell.
//!
//! A container is a name with a directory in one hierarchy or more. Directories come and go one by
//! one; this turns that into containers that are added once and removed once. The rules:
//!
//! - The first directory of a name makes a container; directories of the same name in other
//!   hierarchies join it.
//! - When the last one goes, the container is removed.
//! - A directory that comes back while its container still has others belongs to the next container
//!   of that name: the old one is removed, and its remaining directories are nobody's.
//! - The root is the exception: a hierarchy that was unmounted and comes back joins it again.
//! - Directories are told apart by inode. Knowing one already is normal (it was listed before its
//!   event was read).

use std::collections::{HashMap, HashSet};

use crate::cgroup::{ContainerName, HierarchyId};

/// A watch descriptor of inotify.
pub type Watch = i32;

/// What has become of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is there, with its first directory.
    Added(Directory),
    /// It has another directory.
    Attached(Directory),
    /// It has lost a directory, but not the last one.
    Detached(Directory),
    /// It has gone.
    Removed {
        /// Its name.
        name: ContainerName,
        /// Which of the containers of that name.
        incarnation: u64,
    },
}

/// A directory of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// The container.
    pub name: ContainerName,
    /// Which of the containers of that name.
    pub incarnation: u64,
    /// In which hierarchy.
    pub hierarchy: HierarchyId,
    /// Its identity; `None` if it was gone before it could be looked at.
    pub inode: Option<u64>,
}

/// How a directory became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    /// By the event of its creation (or of a rename).
    ByEvent,
    /// By listing its parent.
    ByListing,
}

/// Everything that is known to be there.
#[derive(Debug, Default)]
pub struct Tree {
    containers: HashMap<ContainerName, Entry>,
    watches: HashMap<Watch, (HierarchyId, ContainerName)>,
    last_incarnation: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// 0 while only directories of earlier containers are left.
    incarnation: u64,
    /// Hierarchies in which the container has, and had, a directory.
    present: u32,
    lost: u32,
    directories: Vec<(HierarchyId, Known)>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    inode: Option<u64>,
    incarnation: u64,
    learnt: Learnt,
    watch: Option<Watch>,
}

impl Entry {
    fn known(&self, hierarchy: HierarchyId) -> Option<&Known> {
        self.directories
            .iter()
            .find(|(id, _)| *id == hierarchy)
            .map(|(_, known)| known)
    }
}

impl Tree {
    /// Whether the directory with this inode is known.
    pub fn knows(&self, hierarchy: HierarchyId, name: &ContainerName, inode: Option<u64>) -> bool {
        self.containers
            .get(name)
            .and_then(|entry| entry.known(hierarchy))
            .is_some_and(|known| known.inode == inode && inode.is_some())
    }

    /// A directory is there. Appends what follows from it to `changes`.
    pub fn created(
        &mut self,
        hierarchy: HierarchyId,
        name: &ContainerName,
        inode: Option<u64>,
        learnt: Learnt,
        changes: &mut Vec<Change>,
    ) {
        if let Some(known) = self
            .containers
            .get(name)
            .and_then(|entry| entry.known(hierarchy))
        {
            if known.inode == inode && inode.is_some() {
                return;
            }
            self.removed(hierarchy, name, changes);
        }
        let name = &self.own(name);
        let entry = self.containers.entry(name.clone()).or_default();
        let is_first = entry.lost & hierarchy.bit() == 0 || name.is_root();
        let joins = entry.incarnation != 0 && is_first;
        if !joins {
            if entry.incarnation != 0 {
                changes.push(Change::Removed {
                    name: name.clone(),
                    incarnation: entry.incarnation,
                });
            }
            self.last_incarnation += 1;
            (entry.incarnation, entry.present, entry.lost) = (self.last_incarnation, 0, 0);
        }
        entry.present |= hierarchy.bit();
        let incarnation = entry.incarnation;
        entry.directories.push((
            hierarchy,
            Known {
                inode,
                incarnation,
                learnt,
                watch: None,
            },
        ));
        let directory = Directory {
            name: name.clone(),
            incarnation,
            hierarchy,
            inode,
        };
        changes.push(if joins {
            Change::Attached(directory)
        } else {
            Change::Added(directory)
        });
    }

    /// A directory has gone. Gives the watch that was on it, which the kernel does not take off.
    pub fn removed(
        &mut self,
        hierarchy: HierarchyId,
        name: &ContainerName,
        changes: &mut Vec<Change>,
    ) -> Option<Watch> {
        let entry = self.containers.get_mut(name)?;
        let at = entry
            .directories
            .iter()
            .position(|(id, _)| *id == hierarchy)?;
        let (_, known) = entry.directories.swap_remove(at);
        if known.incarnation == entry.incarnation {
            entry.present &= !hierarchy.bit();
            entry.lost |= hierarchy.bit();
            let name = name.clone();
            let incarnation = known.incarnation;
            if entry.present == 0 {
                entry.incarnation = 0;
                changes.push(Change::Removed { name, incarnation });
            } else {
                changes.push(Change::Detached(Directory {
                    name,
                    incarnation,
                    hierarchy,
                    inode: known.inode,
                }));
            }
        }
        if entry.directories.is_empty() {
            self.containers.remove(name);
        }
        if let Some(watch) = known.watch {
            self.watches.remove(&watch);
        }
        known.watch
    }

    /// The event of a removal, when the directory that now has the name has the inode `now`.
    ///
    /// If that is the one that is known, the event is about an earlier one. Either the known one was
    /// found by a listing, and the earlier one's life went unseen: then nothing follows. Or it was
    /// taken for the earlier one when the event of that one's creation was read: then that container
    /// is over, and the one that is there is another, to be taken up anew.
    pub fn removal_event(
        &mut self,
        hierarchy: HierarchyId,
        name: &ContainerName,
        now: Option<u64>,
        changes: &mut Vec<Change>,
    ) -> Option<Watch> {
        let known = *self.containers.get(name)?.known(hierarchy)?;
        let still_there = now.is_some() && known.inode == now;
        if still_there && known.learnt == Learnt::ByListing {
            return None;
        }
        self.removed(hierarchy, name, changes)
    }

    /// Notes the watch on a directory.
    pub fn watched(&mut self, hierarchy: HierarchyId, name: &ContainerName, watch: Watch) {
        // Each hierarchy comes with the name anew: one is kept.
        let name = self.own(name);
        let Some(entry) = self.containers.get_mut(&name) else {
            return;
        };
        let Some((_, known)) = entry
            .directories
            .iter_mut()
            .find(|(id, _)| *id == hierarchy)
        else {
            return;
        };
        known.watch = Some(watch);
        self.watches.insert(watch, (hierarchy, name));
    }

    /// The name as it is kept here, if it is, so that its text is there once.
    fn own(&self, name: &ContainerName) -> ContainerName {
        let kept = self.containers.get_key_value(name);
        kept.map_or(name, |(kept, _)| kept).clone()
    }

    /// Forgets a watch that the kernel has taken off.
    pub fn watch_lost(&mut self, watch: Watch) -> bool {
        let Some((hierarchy, name)) = self.watches.remove(&watch) else {
            return false;
        };
        if let Some(entry) = self.containers.get_mut(&name)
            && let Some((_, known)) = entry
                .directories
                .iter_mut()
                .find(|(id, _)| *id == hierarchy)
        {
            known.watch = None;
        }
        true
    }

    /// Which directory a watch is on.
    pub fn watched_directory(&self, watch: Watch) -> Option<&(HierarchyId, ContainerName)> {
        self.watches.get(&watch)
    }

    /// Whether the directory has a watch.
    pub fn is_watched(&self, hierarchy: HierarchyId, name: &ContainerName) -> bool {
        self.containers
            .get(name)
            .and_then(|entry| entry.known(hierarchy))
            .is_some_and(|known| known.watch.is_some())
    }

    /// The directories of a hierarchy that are known and not among `listed`: they have gone.
    pub fn missing(
        &self,
        hierarchy: HierarchyId,
        listed: &HashSet<ContainerName>,
    ) -> Vec<ContainerName> {
        let mut gone: Vec<ContainerName> = self
            .containers
            .iter()
            .filter(|(name, entry)| entry.known(hierarchy).is_some() && !listed.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        // Children before their parents, as the kernel removes them.
        gone.sort_unstable_by(|a, b| b.cmp(a));
        gone
    }

    /// The directories of a hierarchy at and below `name`, deepest first.
    pub fn within(&self, hierarchy: HierarchyId, name: &ContainerName) -> Vec<ContainerName> {
        let mut found: Vec<ContainerName> = self
            .containers
            .iter()
            .filter(|(known, entry)| known.is_within(name) && entry.known(hierarchy).is_some())
            .map(|(known, _)| known.clone())
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// How many watches there are.
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// How many directories are known, over all hierarchies.
    pub fn directory_count(&self) -> usize {
        self.containers
            .values()
            .map(|entry| entry.directories.len())
            .sum()
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
