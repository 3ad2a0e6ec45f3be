//! The index from a guardian to its dependents, which is needed when a guardian is erased. It contains only
//! recorded relationships.

use std::collections::BTreeSet;

use citycode_domain::ids::HolderId;
use parking_lot::{Mutex, RwLock};

use crate::status::ByHolder;

/// The inverse of `HolderState::guardians`.
#[derive(Default)]
pub(super) struct Dependents {
    by_guardian: RwLock<ByHolder<Vec<HolderId>>>,
    /// Pairs of (dependent, guardian) whose guardian is erased. Some relationships may have ended since.
    orphaned: Mutex<BTreeSet<(HolderId, HolderId)>>,
}

impl Dependents {
    pub(super) fn of(&self, guardian: HolderId) -> Vec<HolderId> {
        self.by_guardian.read().get(&guardian).cloned().unwrap_or_default()
    }

    pub(super) fn add(&self, guardian: HolderId, dependent: HolderId) {
        let mut all = self.by_guardian.write();
        // Capacity 1, because most guardians have one relative.
        let dependents = all.entry(guardian).or_insert_with(|| Vec::with_capacity(1));
        if !dependents.contains(&dependent) {
            dependents.push(dependent);
        }
    }

    pub(super) fn remove(&self, guardian: HolderId, dependent: HolderId) {
        let mut all = self.by_guardian.write();
        let Some(dependents) = all.get_mut(&guardian) else {
            return;
        };
        dependents.retain(|known| *known != dependent);
        if dependents.is_empty() {
            all.remove(&guardian);
        }
    }

    /// Every guardian with a recorded relationship, in no order.
    pub(super) fn guardians(&self) -> Vec<HolderId> {
        self.by_guardian.read().keys().copied().collect()
    }

    /// Records that this guardian, who may have dependents, is erased.
    pub(super) fn orphan_all_of(&self, guardian: HolderId) {
        let dependents = self.of(guardian);
        let pairs = dependents.into_iter().map(|dependent| (dependent, guardian));
        self.orphaned.lock().extend(pairs);
    }

    pub(super) fn orphaned(&self) -> Vec<(HolderId, HolderId)> {
        self.orphaned.lock().iter().copied().collect()
    }

    pub(super) fn forget_orphaned(&self, ended: &[(HolderId, HolderId)]) {
        let mut orphaned = self.orphaned.lock();
        ended.iter().for_each(|pair| {
            orphaned.remove(pair);
        });
    }
}
