//! The watches that this session's connection holds, so that they can be set again at another server.
//!
//! Comes in: answered requests that leave or take watches, and watch events. Goes out: the watches
//! to set again. Invariant: a one-shot watch is forgotten when it has fired.

use quorate_types::request::{WatchEvent, WatchEventKind, WatchMode};
use quorate_types::{Operation, ZnodePath};
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(crate) struct Watches {
    held: BTreeSet<(ZnodePath, WatchMode)>,
}

impl Watches {
    /// The request was done.
    pub(crate) fn on_done(&mut self, operation: &Operation) {
        match operation {
            Operation::Get { path, watch: true } | Operation::Exists { path, watch: true } => {
                self.held.insert((path.clone(), WatchMode::OneShotData));
            }
            Operation::Children { path, watch: true, .. } => {
                self.held.insert((path.clone(), WatchMode::OneShotChildren));
            }
            Operation::AddWatch { path, mode } => {
                self.held.insert((path.clone(), *mode));
            }
            Operation::RemoveWatches { path } => self.held.retain(|(held, _)| held != path),
            _ => {}
        }
    }

    pub(crate) fn on_event(&mut self, event: &WatchEvent) {
        let fired: &[WatchMode] = match event.kind {
            WatchEventKind::Created | WatchEventKind::DataChanged => &[WatchMode::OneShotData],
            WatchEventKind::ChildrenChanged => &[WatchMode::OneShotChildren],
            WatchEventKind::Deleted => &[WatchMode::OneShotData, WatchMode::OneShotChildren],
        };
        for mode in fired {
            self.held.remove(&(event.path.clone(), *mode));
        }
    }

    pub(crate) fn holds(&self, path: &ZnodePath, mode: WatchMode) -> bool {
        self.held.contains(&(path.clone(), mode))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(ZnodePath, WatchMode)> {
        self.held.iter()
    }
}
