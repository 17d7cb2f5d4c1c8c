use super::*;
use proptest::prelude::*;

const CPU: HierarchyId = HierarchyId(0);
const MEMORY: HierarchyId = HierarchyId(1);

/// A tree and what became of its containers, as `+name`, `&name`, `~name`, `-name` with incarnation.
#[derive(Default)]
struct Log {
    tree: Tree,
    changes: Vec<Change>,
}

impl Log {
    fn create(&mut self, hierarchy: HierarchyId, inode: u64) {
        let name = ContainerName::from_request("/x");
        self.tree.created(
            hierarchy,
            &name,
            Some(inode),
            Learnt::ByEvent,
            &mut self.changes,
        );
    }

    fn delete(&mut self, hierarchy: HierarchyId, now: Option<u64>) {
        let name = ContainerName::from_request("/x");
        self.tree
            .removal_event(hierarchy, &name, now, &mut self.changes);
    }

    fn told(&mut self) -> String {
        let words: Vec<String> = std::mem::take(&mut self.changes)
            .into_iter()
            .map(|change| match change {
                Change::Added(directory) => format!("+{}", directory.incarnation),
                Change::Attached(directory) => format!("&{}", directory.incarnation),
                Change::Detached(directory) => format!("~{}", directory.incarnation),
                Change::Removed { incarnation, .. } => format!("-{incarnation}"),
            })
            .collect();
        words.join(" ")
    }
}

#[test]
fn one_container_however_many_hierarchies() {
    let mut log = Log::default();
    log.create(CPU, 1);
    log.create(MEMORY, 2);
    log.create(MEMORY, 2);
    log.delete(CPU, None);
    log.delete(MEMORY, None);
    assert_eq!(log.told(), "+1 &1 ~1 -1");
    assert_eq!(log.tree.directory_count(), 0);
}

#[test]
fn made_again_under_the_same_name_is_another_one() {
    let mut log = Log::default();
    log.create(CPU, 1);
    log.create(MEMORY, 2);
    // One hierarchy after the other, and read only when all is done.
    log.delete(CPU, Some(11));
    log.create(CPU, 11);
    log.delete(MEMORY, Some(12));
    log.create(MEMORY, 12);
    assert_eq!(log.told(), "+1 &1 ~1 -1 +2 &2");
    assert!(
        log.tree
            .knows(CPU, &ContainerName::from_request("/x"), Some(11))
    );
}

#[test]
fn a_removal_that_a_listing_has_overtaken_is_old_news() {
    let mut log = Log::default();
    let name = ContainerName::from_request("/x");
    log.tree
        .created(CPU, &name, Some(2), Learnt::ByListing, &mut log.changes);
    log.delete(CPU, Some(2));
    assert_eq!(log.told(), "+1");
}

#[test]
fn a_life_between_two_reads_of_the_queue_is_counted() {
    let mut log = Log::default();
    // made (1), removed, made (2): when the first event is read, only 2 is there.
    log.create(CPU, 2);
    log.delete(CPU, Some(2));
    log.create(CPU, 2);
    assert_eq!(log.told(), "+1 -1 +2");
    // made and removed before it could be looked at
    log.delete(CPU, None);
    log.tree.created(
        CPU,
        &ContainerName::from_request("/x"),
        None,
        Learnt::ByEvent,
        &mut log.changes,
    );
    log.delete(CPU, None);
    assert_eq!(log.told(), "-2 +3 -3");
}

#[test]
fn a_replacement_that_was_missed_is_noticed_by_its_inode() {
    let mut log = Log::default();
    log.create(CPU, 1);
    log.create(CPU, 2);
    assert_eq!(log.told(), "+1 -1 +2");
}

#[test]
fn watches_follow_their_directories() {
    let mut log = Log::default();
    let name = ContainerName::from_request("/x");
    log.create(CPU, 1);
    log.tree.watched(CPU, &name, 7);
    assert_eq!(log.tree.watched_directory(7), Some(&(CPU, name.clone())));
    assert_eq!(log.tree.removed(CPU, &name, &mut log.changes), Some(7));
    assert_eq!(log.tree.watch_count(), 0);
    assert!(!log.tree.watch_lost(7));
}

#[test]
fn a_hierarchy_that_was_unmounted_and_comes_back_joins_the_root_again() {
    let (mut tree, mut changes, root) = (Tree::default(), Vec::new(), ContainerName::root());
    let made = |tree: &mut Tree, id, inode, changes: &mut Vec<Change>| {
        tree.created(
            HierarchyId(id),
            &root,
            Some(inode),
            Learnt::ByListing,
            changes,
        );
    };
    made(&mut tree, 0, 1, &mut changes);
    made(&mut tree, 1, 2, &mut changes);
    made(&mut tree, 1, 3, &mut changes);
    let kinds: Vec<&str> = changes
        .iter()
        .map(|change| match change {
            Change::Added(_) => "added",
            Change::Attached(_) => "attached",
            Change::Detached(_) => "detached",
            Change::Removed { .. } => "removed",
        })
        .collect();
    assert_eq!(kinds, ["added", "attached", "detached", "attached"]);
}

proptest! {
    /// Whatever happens, each container is added once and removed once, in that order, one of a
    /// name at a time; and when all directories have gone, nothing is left.
    #[test]
    fn every_container_is_added_once_and_removed_once(steps in prop::collection::vec((0_u8..3, 0_u8..3, any::<bool>(), 0_u64..4), 0..80)) {
        let mut tree = Tree::default();
        let mut changes = Vec::new();
        for (hierarchy, name, create, inode) in steps {
            let name = ContainerName::from_request(&format!("/{name}"));
            let inode = inode.checked_sub(1);
            if create {
                tree.created(HierarchyId(hierarchy), &name, inode, Learnt::ByEvent, &mut changes);
            } else {
                tree.removal_event(HierarchyId(hierarchy), &name, inode, &mut changes);
            }
        }
        for hierarchy in (0..3).map(HierarchyId) {
            for name in tree.within(hierarchy, &ContainerName::root()) {
                tree.removed(hierarchy, &name, &mut changes);
            }
        }
        prop_assert_eq!(tree.directory_count(), 0);
        let (mut alive, mut ever) = (HashMap::new(), HashSet::new());
        for change in changes {
            match change {
                Change::Added(directory) => {
                    prop_assert!(ever.insert(directory.incarnation));
                    prop_assert_eq!(alive.insert(directory.name, directory.incarnation), None);
                }
                Change::Attached(directory) | Change::Detached(directory) => {
                    prop_assert_eq!(alive.get(&directory.name), Some(&directory.incarnation));
                }
                Change::Removed { name, incarnation } => {
                    prop_assert_eq!(alive.remove(&name), Some(incarnation));
                }
            }
        }
        prop_assert!(alive.is_empty());
    }
}
