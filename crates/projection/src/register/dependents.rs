//! From a guardian to the holders it may act for: what erasing a guardian has to end. Sparse: relationships only.

use citycode_domain::ids::HolderId;
use parking_lot::RwLock;

use crate::status::ByHolder;

/// The other direction of `HolderState::guardians`.
#[derive(Default)]
pub(super) struct Dependents(RwLock<ByHolder<Vec<HolderId>>>);

impl Dependents {
    pub(super) fn of(&self, guardian: HolderId) -> Vec<HolderId> {
        self.0.read().get(&guardian).cloned().unwrap_or_default()
    }

    pub(super) fn add(&self, guardian: HolderId, dependent: HolderId) {
        let mut all = self.0.write();
        // One place to begin with: most guardians have one relative.
        let dependents = all.entry(guardian).or_insert_with(|| Vec::with_capacity(1));
        if !dependents.contains(&dependent) {
            dependents.push(dependent);
        }
    }

    pub(super) fn remove(&self, guardian: HolderId, dependent: HolderId) {
        let mut all = self.0.write();
        let Some(dependents) = all.get_mut(&guardian) else {
            return;
        };
        dependents.retain(|known| *known != dependent);
        if dependents.is_empty() {
            all.remove(&guardian);
        }
    }
}
