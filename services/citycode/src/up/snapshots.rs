//! Snapshots of the projections of `citycode up`: taken while it runs and at its end, used at the next start.
//!
//! A snapshot that is damaged, foreign or newer is thrown away, said loudly, and the log replayed.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use citycode_event_store::{EventStore, LogPosition, Sequence};
use citycode_projection::LogIdentity;
use citycode_projection::register::HolderRegister;
use citycode_service_kit::files;

/// Buffer for reading snapshot files: few system calls, little memory.
const BUFFER_BYTES: usize = 1 << 20;

/// The identity of a log as snapshots carry it.
#[must_use]
pub(super) fn identity_of(store: &dyn EventStore) -> LogIdentity {
    let layout = store.layout();
    LogIdentity {
        log_id: store.log_id().0,
        partitions: layout.partitions(),
        buckets_per_partition: layout.buckets_per_partition(),
        hash_version: layout.hash_version(),
    }
}

/// The register from its snapshot, or an empty one, and where to follow on.
pub(super) fn load_register(path: &Path, identity: &LogIdentity) -> (HolderRegister, LogPosition) {
    let loaded = File::open(path)
        .ok()
        .map(|file| HolderRegister::load(identity, BufReader::with_capacity(BUFFER_BYTES, file)));
    let register = match loaded {
        Some(Ok(register)) => register,
        Some(Err(error)) => {
            tracing::warn!(%error, file = %path.display(), "SNAPSHOT THROWN AWAY: the register is rebuilt from the log");
            HolderRegister::new(identity.partitions)
        }
        None => HolderRegister::new(identity.partitions),
    };
    let sequences = (0..identity.partitions)
        .map(|partition| Sequence(register.point(partition).map_or(0, |point| point.sequence)))
        .collect();
    (register, LogPosition::from_sequences(sequences))
}

/// Writes the register's snapshot beside the old one and then in its place. A crash leaves the old one.
///
/// # Errors
/// What the file system says; the old snapshot still stands then.
pub(super) fn save_register(path: &Path, identity: &LogIdentity, register: &HolderRegister) -> std::io::Result<()> {
    files::stream_private(path, |out| register.save(identity, out).map_err(std::io::Error::other))
}
