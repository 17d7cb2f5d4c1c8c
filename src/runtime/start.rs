//! What all links have told, and how they are doing.

use std::sync::Arc;

use parking_lot::RwLock;

use super::{LinkStatus, Names};

/// The names that container runtimes told, and how the links to them are doing.
#[derive(Debug, Default)]
pub struct Runtimes {
    names: Names,
    links: RwLock<Vec<Arc<LinkStatus>>>,
}

impl Runtimes {
    /// The names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// How each link is doing, by runtime and endpoint.
    pub fn links(&self) -> Vec<Arc<LinkStatus>> {
        self.links.read().clone()
    }
}
