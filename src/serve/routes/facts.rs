//! What views need beside a container: taken once for each answer, so that it is of one piece.

use std::sync::Arc;

use crate::node::{FsTable, MachineInfo};
use crate::query::View;
use crate::wire::shared::Context;

/// The machine and its file systems, as they are now.
pub(super) struct Facts {
    machine: Arc<MachineInfo>,
    filesystems: Vec<Arc<FsTable>>,
}

impl Facts {
    pub(super) fn of(view: &View) -> Self {
        Self {
            machine: view.machine_info(),
            filesystems: view.recent_filesystems(),
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            machine: &self.machine,
            filesystems: &self.filesystems,
        }
    }
}
