//! Forged snapshots, which no revocation service of the city created.

use std::fs::File;
use std::path::{Path, PathBuf};

use citycode_domain::event::{CodeIssued, Event};
use citycode_domain::ids::{ClaimsDigest, CodeKind, HolderId, Position};
use citycode_domain::time::Timestamp;
use citycode_event_store::{BucketTail, CommitHash, Revision};
use citycode_projection::status::{self, FingerprintKey};
use citycode_projection::{Commit, LogIdentity};
use citycode_testkit::{code_at, code_issued};

/// Indices per block; a snapshot contains whole blocks.
const BLOCK: u32 = 4_096;

/// A forged snapshot of the log with this identity. Each code takes a block of 15 kB.
pub(super) fn made_up(folder: &Path, identity: &LogIdentity, sequence: u64, codes: u32) -> PathBuf {
    let (mut writer, _) = status::new(identity.partitions, FingerprintKey([7; 16]));
    for at in 1..=sequence {
        let first = u32::try_from(at - 1).expect("few") * codes;
        let events: Vec<Event> = (first..first + codes).map(|code| issued(code * BLOCK)).collect();
        let commit = Commit {
            position: Position::new(0, at),
            decided_at: Timestamp(1_780_000_000),
            holder: Some(HolderId([2; 16])),
            bucket: 1,
            tail: BucketTail {
                revision: Revision::from_raw(at),
                hash: CommitHash([3; 32]),
            },
            message_id_prefix: 4,
            events: &events,
        };
        assert_eq!(writer.apply(&commit), Ok(Vec::new()));
    }
    let path = folder.join("made-up");
    writer
        .save(identity, File::create(&path).expect("a file"))
        .expect("it is written");
    path
}

fn issued(index: u32) -> Event {
    let kind = CodeKind::new(4).expect("4 is a kind");
    // In 2100: the list must not have retired when the test runs.
    let expires_at = Timestamp(4_102_444_800);
    let code = code_at(0, kind, expires_at, index);
    Event::CodeIssued(CodeIssued {
        claims_digest: ClaimsDigest(std::array::from_fn(|at| (index >> (at % 4 * 8)) as u8 ^ at as u8)),
        ..code_issued(code, Timestamp(1_780_000_000), expires_at)
    })
}
