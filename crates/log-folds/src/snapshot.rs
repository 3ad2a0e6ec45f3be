//! Snapshots of projections: the identity of their log, and loading one or starting empty.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use citycode_event_store::EventStore;
use citycode_projection::LogIdentity;
use citycode_projection::register::HolderRegister;

/// Size of the buffer for reading snapshot files in bytes: few system calls, little memory.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// The identity of a log as it is stored in snapshots.
#[must_use]
pub fn identity_of(store: &dyn EventStore) -> LogIdentity {
    let layout = store.layout();
    LogIdentity {
        log_id: store.log_id().0,
        partitions: layout.partitions(),
        buckets_per_partition: layout.buckets_per_partition(),
        hash_version: layout.hash_version(),
    }
}

/// Loads the register of holders from its snapshot file. The register is empty if the file is absent, damaged, or of
/// another log; the log is then replayed. Blocks its thread.
#[must_use]
pub fn load_register(path: &Path, identity: &LogIdentity) -> HolderRegister {
    let loaded = File::open(path)
        .ok()
        .map(|file| HolderRegister::load(identity, BufReader::with_capacity(BUFFER_BYTES, file)));
    match loaded {
        Some(Ok(register)) => register,
        Some(Err(error)) => {
            tracing::warn!(%error, file = %path.display(), "SNAPSHOT THROWN AWAY: the register is rebuilt from the log");
            HolderRegister::new(identity.partitions)
        }
        None => HolderRegister::new(identity.partitions),
    }
}
