//! Data of a large city for benchmarks and tests: codes, holders and commits are pure functions of their
//! number, so that none need to be stored.
//!
//! The city has sixteen partitions, four kinds and three expiry windows: 192 lists. Indices are used block by block,
//! and out of order within a block, as with real leases.

use citycode_domain::event::{CodeIssued, CodeRef, EligibilityGround, Event, HolderRegistered, Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListFacts, ListId, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;

use citycode_log_position::{BucketTail, CommitHash, Revision};

use crate::commit::Commit;
use crate::register::HolderRegister;
use crate::snapshot::LogIdentity;
use crate::status::{self, BLOCK_LEN, FingerprintKey, StatusReader, StatusWriter};

/// Partitions of the city's log.
pub const PARTITIONS: u16 = 16;
/// The identity of the city's log.
pub const IDENTITY: LogIdentity = LogIdentity {
    log_id: *b"bench city log 1",
    partitions: PARTITIONS,
    buckets_per_partition: 65_536,
    hash_version: 1,
};
/// The time of every event.
pub const NOW: Timestamp = Timestamp(1_790_000_000);

const KINDS: u64 = 4;
const WINDOWS: u64 = 3;
const VALIDITY_DAYS: i64 = 30;

/// One of the city's codes.
#[derive(Clone, Copy, Debug)]
pub struct CityCode {
    /// The status list that contains the code, and its index there.
    pub status: StatusRef,
    /// The digest of its claims.
    pub digest: ClaimsDigest,
    kind: CodeKind,
    expires_at: Timestamp,
}

/// Mixes a number (SplitMix64, Steele, Lea and Flood 2014).
#[must_use]
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The code with this number in a partition; each partition counts from 0.
#[must_use]
pub fn code(partition: u16, number: u64) -> CityCode {
    let kind = CodeKind::new(1 + (number % KINDS) as u8).expect("1 to 4 are kinds");
    let window = (number / KINDS % WINDOWS) as i64;
    let expires_at = NOW.plus_seconds((VALIDITY_DAYS * 86_400) + window * ListFacts::WINDOW_SECONDS);
    let list = ListId::new(partition as u8, kind, expires_at, 0).expect("the city's times fit");
    let place = (number / KINDS / WINDOWS) as u32;
    // An odd factor visits every index of the block once.
    let within = (place % BLOCK_LEN).wrapping_mul(2_731) % BLOCK_LEN;
    let index = place / BLOCK_LEN * BLOCK_LEN + within;
    let mut digest = [0; 32];
    let seed = (u64::from(partition) << 48) ^ number;
    for (step, part) in (0u64..).zip(digest.as_chunks_mut::<8>().0) {
        *part = mix(seed.wrapping_add(step << 40)).to_le_bytes();
    }
    CityCode {
        status: StatusRef { list, index },
        digest: ClaimsDigest(digest),
        kind,
        expires_at,
    }
}

impl CityCode {
    /// The code as events refer to it.
    #[must_use]
    pub fn code_ref(&self) -> CodeRef {
        CodeRef {
            slot: Slot {
                kind: self.kind,
                guardian: None,
            },
            code_id: CodeId(*self.digest.0.first_chunk().expect("a digest has 32 bytes")),
            status: self.status,
        }
    }

    /// The event that issues it.
    #[must_use]
    pub fn issued(&self, supersedes: Option<CodeRef>) -> Event {
        Event::CodeIssued(CodeIssued {
            code: self.code_ref(),
            issued_at: NOW,
            expires_at: self.expires_at,
            supersedes,
            standing: Standing::Green,
            ground: EligibilityGround::Everyone,
            acting_guardian: None,
            key_id: KeyId([1, 2, 3, 4]),
            claims_digest: self.digest,
            sealed_token: Sealed(Vec::new()),
        })
    }
}

/// The holder with this number, in partition `number % 16`.
#[must_use]
pub fn holder(number: u64) -> HolderId {
    let mut id = [0; 16];
    for (step, part) in (0u64..).zip(id.as_chunks_mut::<8>().0) {
        *part = mix(number ^ ((step + 1) << 56)).to_le_bytes();
    }
    HolderId(id)
}

/// Counts sequences and code numbers per partition, and builds commits from events.
#[derive(Clone, Debug)]
pub struct CityLog {
    sequences: [u64; PARTITIONS as usize],
    codes: [u64; PARTITIONS as usize],
}

impl Default for CityLog {
    fn default() -> Self {
        Self {
            sequences: [0; PARTITIONS as usize],
            codes: [0; PARTITIONS as usize],
        }
    }
}

/// A commit with its events.
#[derive(Clone, Debug)]
pub struct CityCommit {
    position: Position,
    holder: HolderId,
    events: Vec<Event>,
}

impl CityCommit {
    /// The commit as projections receive it. All commits of a partition belong to one bucket.
    #[must_use]
    pub fn as_commit(&self) -> Commit<'_> {
        Commit {
            position: self.position,
            decided_at: NOW,
            holder: Some(self.holder),
            bucket: 0,
            tail: BucketTail {
                revision: Revision::from_raw(self.position.sequence.0),
                hash: CommitHash([7; 32]),
            },
            message_id_prefix: mix(self.position.sequence.0) as u32,
            events: &self.events,
        }
    }
}

impl CityLog {
    /// Builds the next commit of a holder's partition.
    pub fn commit(&mut self, number: u64, events: Vec<Event>) -> CityCommit {
        let partition = (number % u64::from(PARTITIONS)) as u16;
        let sequence = &mut self.sequences[usize::from(partition)];
        *sequence += 1;
        CityCommit {
            position: Position::new(partition, *sequence),
            holder: holder(number),
            events,
        }
    }

    /// Draws the next code of a holder's partition.
    pub fn next_code(&mut self, number: u64) -> CityCode {
        let partition = (number % u64::from(PARTITIONS)) as u16;
        let codes = &mut self.codes[usize::from(partition)];
        *codes += 1;
        code(partition, *codes - 1)
    }

    /// Builds a commit that issues the partition's next code to this holder.
    pub fn issue(&mut self, number: u64, supersedes: Option<CodeRef>) -> CityCommit {
        let event = self.next_code(number).issued(supersedes);
        self.commit(number, vec![event])
    }

    /// Builds a commit that registers this holder.
    pub fn register(&mut self, number: u64) -> CityCommit {
        let holder = holder(number);
        let event = Event::HolderRegistered(HolderRegistered { holder });
        self.commit(number, vec![event])
    }
}

/// A status projection of this many codes (rounded down to sixteen partitions), folded commit by commit.
#[must_use]
pub fn status_of(codes: u64) -> (StatusWriter, StatusReader) {
    let (mut writer, reader) = status::new(PARTITIONS, FingerprintKey([9; 16]));
    let mut log = CityLog::default();
    for number in 0..codes {
        let alarms = writer.apply(&log.issue(number, None).as_commit());
        assert_eq!(alarms, Ok(Vec::new()), "the city's log has no alarms");
    }
    (writer, reader)
}

/// Builds the commits of one holder with `codes` codes of different kinds, of which the first was reissued
/// once. The result has a full list of recent commands and every kind of garbage that growth leaves in the
/// arena.
pub fn holder_commits(log: &mut CityLog, number: u64, codes: u64, mut take: impl FnMut(CityCommit)) {
    take(log.register(number));
    let mut first = None;
    for kind in 1..=codes {
        let mut code = log.next_code(number);
        code.kind = CodeKind::new(kind as u8).expect("a holder has few codes");
        first.get_or_insert(code.code_ref());
        take(log.commit(number, vec![code.issued(None)]));
    }
    if let Some(old) = first {
        let mut code = log.next_code(number);
        code.kind = old.slot.kind;
        take(log.commit(number, vec![code.issued(Some(old))]));
    }
}

/// A register of this many holders with 2.5 codes each (alternately two and three). `status` folds the same
/// commits if given.
pub fn register_of(holders: u64, mut status: Option<&mut StatusWriter>) -> HolderRegister {
    let register = HolderRegister::new(PARTITIONS);
    let mut log = CityLog::default();
    for number in 0..holders {
        holder_commits(&mut log, number, 2 + number % 2, |commit| {
            let folded = register.apply(&commit.as_commit());
            assert_eq!(folded, Ok(()), "the city's log has no gaps");
            if let Some(status) = &mut status {
                let alarms = status.apply(&commit.as_commit());
                assert_eq!(alarms, Ok(Vec::new()), "the city's log has no alarms");
            }
        });
    }
    register
}
