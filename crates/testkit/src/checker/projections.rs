//! Compares the snapshots of verifiers with a new replay, byte for byte.
//!
//! Each verifier's fingerprints have a random key, which is part of its snapshot. The replay takes only that key, and
//! the positions up to which the snapshot was folded, from the snapshot.

use citycode_event_store::RecordedCommit;
use citycode_log_folds::{folded_events, projected};
use citycode_projection::LogIdentity;
use citycode_projection::status::{self, FingerprintKey, PartitionPoint};

use super::{Fault, Run, WholeLog};

/// The size of the header before the points, and of a point; `citycode_projection::snapshot` defines the format.
const HEAD_BYTES: usize = 36;
const POINT_BYTES: usize = 16;
const KEY_TAG: &[u8; 4] = b"key.";

pub(super) fn check(run: &Run, faults: &mut Vec<Fault>) {
    for saved in &run.projections {
        match replay_of(&run.log, &saved.bytes) {
            None => faults.push(Fault::ProjectionUnreadable(saved.verifier.clone())),
            Some(fresh) if fresh == saved.bytes => {}
            Some(fresh) => {
                let same = fresh
                    .iter()
                    .zip(&saved.bytes)
                    .take_while(|(fresh, saved)| fresh == saved);
                faults.push(Fault::ProjectionDiffers {
                    verifier: saved.verifier.clone(),
                    at: same.count(),
                });
            }
        }
    }
}

/// The identity of a log in its snapshots.
pub(super) fn identity(log: &WholeLog) -> LogIdentity {
    LogIdentity {
        log_id: log.log_id.0,
        partitions: log.layout.partitions(),
        buckets_per_partition: log.layout.buckets_per_partition(),
        hash_version: log.layout.hash_version(),
    }
}

/// The snapshot of a new replay with the positions and the key of this snapshot; `None` if it cannot be loaded.
fn replay_of(log: &WholeLog, bytes: &[u8]) -> Option<Vec<u8>> {
    let identity = identity(log);
    let (_, reader) = status::load(&identity, bytes).ok()?;
    replay(log, key_of(&identity, bytes)?, &reader.points())
}

fn key_of(identity: &LogIdentity, bytes: &[u8]) -> Option<FingerprintKey> {
    let start = HEAD_BYTES + POINT_BYTES * usize::from(identity.partitions);
    let rest = bytes.get(start..)?.strip_prefix(KEY_TAG)?;
    rest.first_chunk::<16>().map(|key| FingerprintKey(*key))
}

/// The snapshot of a new replay up to these positions.
pub(super) fn replay(log: &WholeLog, key: FingerprintKey, points: &[PartitionPoint]) -> Option<Vec<u8>> {
    let (mut writer, _) = status::new(log.layout.partitions(), key);
    let is_included = |commit: &&RecordedCommit| {
        let (partition, sequence) = commit.position.parts();
        points
            .get(usize::from(partition))
            .is_some_and(|point| sequence <= point.sequence)
    };
    for commit in log.commits.iter().filter(is_included) {
        let events = folded_events(commit).ok()?;
        writer.apply(&projected(commit, &events)).ok()?;
    }
    let mut fresh = Vec::new();
    writer.save(&identity(log), &mut fresh).ok()?;
    Some(fresh)
}
