//! The standing of holders, for ID cards: only holders who are not green.

use std::hash::{BuildHasherDefault, Hasher};

use citycode_domain::ids::HolderId;
use citycode_domain::standing::Standing;
use hashbrown::HashMap;
use parking_lot::RwLock;

/// Number of shards, one for each value of a byte: readers and the writer rarely block each other.
const SHARDS: usize = 256;

/// Holder ids are 128 random bits drawn by the issuer, so a part of them serves as a hash.
#[derive(Default)]
pub(crate) struct HolderIdHasher(u64);

impl Hasher for HolderIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }
}

pub(crate) type ByHolder<T> = HashMap<HolderId, T, BuildHasherDefault<HolderIdHasher>>;

/// Holders whose standing is yellow or red.
pub(super) struct Standings {
    shards: [RwLock<ByHolder<Standing>>; SHARDS],
}

impl Standings {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
        }
    }

    fn shard(&self, holder: HolderId) -> &RwLock<ByHolder<Standing>> {
        // The last byte, because the hash within the shard uses the first ones.
        &self.shards[usize::from(holder.0[HolderId::LEN - 1])]
    }

    pub(super) fn get(&self, holder: HolderId) -> Standing {
        let shard = self.shard(holder).read();
        shard.get(&holder).copied().unwrap_or_default()
    }

    pub(super) fn set(&self, holder: HolderId, standing: Standing) {
        let mut shard = self.shard(holder).write();
        if standing == Standing::Green {
            shard.remove(&holder);
        } else {
            shard.insert(holder, standing);
        }
    }

    /// All of them, in the order of ids.
    pub(super) fn sorted(&self) -> Vec<(HolderId, Standing)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.read().iter().map(|(holder, standing)| (*holder, *standing)));
        }
        all.sort_unstable_by_key(|(holder, _)| *holder);
        all
    }
}
