use std::convert::Infallible;
use std::num::NonZeroU64;

use citycode_domain::event::{CodeIssued, CodeRef, EligibilityGround, Event, Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::{
    BucketId, CommitHash, ForeignMessage, LogPosition, Position, RecordedCommit, Revision, Sequence, StreamName,
};
use citycode_testkit::commit_of;
use citycode_transparency::tile::{MemoryTiles, TileWriter};
use citycode_transparency::{Checkpoint, KeyKind, NoteSigner};
use proptest::prelude::*;

use super::*;
use crate::leaves::leaf_hashes;

const HOST: &str = "city.example";
const PARTITION: Partition = Partition(0);

/// A commit that issues a code at this second; `past` tells one log from another.
fn birth(sequence: u64, issued_at: i64, past: u8) -> RecordedCommit {
    let kind = CodeKind::new(1).expect("a kind");
    let issued = Event::CodeIssued(CodeIssued {
        code: CodeRef {
            slot: Slot { kind, guardian: None },
            code_id: CodeId([past; 8]),
            status: StatusRef {
                list: ListId(7),
                index: 1,
            },
        },
        issued_at: Timestamp(issued_at),
        expires_at: Timestamp(issued_at + 100),
        supersedes: None,
        standing: Standing::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([9; 4]),
        claims_digest: ClaimsDigest([8; 32]),
        sealed_token: Sealed::default(),
    });
    let stream = StreamName::new(&format!("holder-{}", HolderId([past; 16]))).expect("a name");
    let mut hash = [past; 32];
    hash[..8].copy_from_slice(&sequence.to_be_bytes());
    RecordedCommit {
        position: Position::new(PARTITION.0, sequence),
        bucket: BucketId {
            partition: PARTITION,
            bucket: 5,
        },
        revision: Revision::from_raw(sequence),
        previous_hash: CommitHash::NONE,
        hash: CommitHash(hash),
        commit: commit_of(stream, &issued, sequence, issued_at),
        foreign: None,
    }
}

fn past_of(times: &[i64], past: u8) -> Vec<RecordedCommit> {
    (1..)
        .zip(times)
        .map(|(sequence, at)| birth(sequence, *at, past))
        .collect()
}

fn fold(trees: &FoldedTrees, commit: &RecordedCommit) {
    trees.receive(commit).expect("it has leaves");
    let born = commit.commit.decided_at;
    trees.fold(commit.position, Some(born)).expect("it is the next");
}

fn folded(commits: &[RecordedCommit]) -> FoldedTrees {
    let trees = FoldedTrees::new(1);
    commits.iter().for_each(|commit| fold(&trees, commit));
    trees
}

fn log_signer() -> NoteSigner {
    NoteSigner::from_seed(&origin(HOST, PARTITION), KeyKind::Log, &[1; 32]).expect("a name")
}

fn witness(number: u8) -> NoteSigner {
    NoteSigner::from_seed(&format!("witness-{number}.example"), KeyKind::Witness, &[number; 32]).expect("a name")
}

/// Witnesses 2 and 3, of which both must have cosigned.
fn witnessed_log() -> WitnessedLog {
    let keys = [2, 3].map(|number| witness(number).verifier().clone()).to_vec();
    let policy = TrustPolicy::new(vec![log_signer().verifier().clone()], keys, 2);
    WitnessedLog::new(HOST, policy.expect("a policy"))
}

/// A published log.
#[derive(Clone)]
struct Published {
    checkpoint: Option<Vec<u8>>,
    tiles: MemoryTiles,
}

impl LogFiles for Published {
    type Error = Infallible;

    fn witnessed(&self, _: Partition) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.checkpoint.clone())
    }

    fn tile(&self, _: Partition, name: &str) -> Result<Option<Vec<u8>>, Infallible> {
        self.tiles.get(name)
    }
}

/// The published tree of these commits, cosigned by these witnesses.
fn published_by(commits: &[RecordedCommit], log: &NoteSigner, witnesses: &[u8]) -> Published {
    let leaves = commits.iter().flat_map(|commit| leaf_hashes(commit).expect("leaves"));
    let mut writer = TileWriter::open(MemoryTiles::default()).expect("an empty store");
    writer
        .append(&leaves.collect::<Vec<_>>())
        .expect("memory takes everything");
    let head = writer.commit().expect("memory takes everything");
    let checkpoint = Checkpoint::new(log.verifier().name(), head).expect("a checkpoint");
    let mut signed = checkpoint.sign(log).expect("signed");
    let time = NonZeroU64::MIN.get();
    let text = checkpoint.to_text();
    let cosignatures: Vec<_> = witnesses
        .iter()
        .map(|number| witness(*number).sign(&text, time))
        .collect();
    signed.add(cosignatures).expect("few");
    Published {
        checkpoint: Some(signed.to_bytes()),
        tiles: writer.store().clone(),
    }
}

fn published(commits: &[RecordedCommit]) -> Published {
    published_by(commits, &log_signer(), &[2, 3])
}

fn compare(trees: &FoldedTrees, files: &Published) -> Result<Compared, CompareError> {
    witnessed_log().compare(trees, PARTITION, files)
}

#[test]
fn births_are_covered_once_witnesses_have_seen_a_later_tree() {
    let commits = past_of(&[100, 110, 120, 130, 140], 6);
    let trees = folded(&commits[..3]);
    assert!(
        !trees.covers(Some(PARTITION), 0),
        "nothing is covered before the first comparison"
    );
    let behind = compare(&trees, &published(&commits[..2]));
    assert!(
        matches!(behind, Ok(Compared::Behind { witnessed: 2, own: 3 })),
        "{behind:?}"
    );
    // The candidate is the head of the first comparison; later births are not covered by it.
    fold(&trees, &commits[3]);
    let covered = compare(&trees, &published(&commits));
    assert!(
        matches!(covered, Ok(Compared::Covered(head)) if head.size == 3),
        "{covered:?}"
    );
    let covers = |at| trees.covers(Some(PARTITION), at);
    assert_eq!([100, 120, 129, 130, 140].map(covers), [true, true, true, false, false]);
    assert!(trees.is_vouched_for(PARTITION) && trees.covers(None, 129));
    // A birth that is dated back makes earlier codes uncovered until it is covered itself.
    fold(&trees, &birth(5, 105, 6));
    assert_eq!([104, 105, 120].map(covers), [true, false, false]);
    // The candidate was chosen before that birth, so one more comparison is needed.
    let all = published(&[&commits[..4], &[birth(5, 105, 6)]].concat());
    for leaves in [4, 5] {
        assert!(!covers(105));
        let covered = compare(&trees, &all);
        assert!(
            matches!(covered, Ok(Compared::Covered(head)) if head.size == leaves),
            "{covered:?}"
        );
    }
    assert_eq!([105, 130, i64::MAX - 1].map(covers), [true; 3]);
}

#[test]
fn a_checkpoint_without_the_logs_key_or_the_quorum_covers_nothing() {
    let commits = past_of(&[100, 110], 6);
    let trees = folded(&commits);
    let other_log = NoteSigner::from_seed(&origin(HOST, PARTITION), KeyKind::Log, &[9; 32]).expect("a name");
    let another = NoteSigner::from_seed(&origin(HOST, Partition(1)), KeyKind::Log, &[1; 32]).expect("a name");
    let untrusted = [
        published_by(&commits, &log_signer(), &[]),
        published_by(&commits, &log_signer(), &[2]),
        published_by(&commits, &log_signer(), &[2, 4]),
        published_by(&commits, &other_log, &[2, 3]),
        published_by(&commits, &another, &[2, 3]),
    ];
    for files in untrusted {
        let refused = compare(&trees, &files);
        assert!(matches!(refused, Err(CompareError::Untrusted(_))), "{refused:?}");
    }
    let mut silent = published(&commits);
    silent.checkpoint = None;
    assert!(matches!(compare(&trees, &silent), Err(CompareError::None(_))));
    // The key of another partition, which is known too.
    let own = log_signer();
    let keys = [&own, &another].map(|signer| signer.verifier().clone());
    let policy = TrustPolicy::new(keys.to_vec(), Vec::new(), 0).expect("a policy");
    let of_another = published_by(&commits, &another, &[]);
    let refused = WitnessedLog::new(HOST, policy).compare(&trees, PARTITION, &of_another);
    assert!(matches!(refused, Err(CompareError::Origin { .. })), "{refused:?}");
    assert!(!trees.is_vouched_for(PARTITION) && !trees.is_refuted(PARTITION));
}

#[test]
fn another_past_under_the_same_keys_is_found_and_nothing_is_covered_any_more() {
    let commits = past_of(&[100, 110, 120], 6);
    let mut forked = commits.clone();
    forked[1] = birth(2, 110, 7);
    for others in [&forked[..], &[&forked[..], &past_of(&[1; 9], 6)[3..]].concat()] {
        let trees = folded(&commits);
        let differs = compare(&trees, &published(others));
        assert!(
            matches!(differs, Ok(Compared::Differs { own, .. }) if own.size == 3),
            "{differs:?}"
        );
        assert!(trees.is_refuted(PARTITION) && !trees.covers(Some(PARTITION), 0));
        // A checkpoint of the own past does not undo it.
        assert!(compare(&trees, &published(&commits)).is_ok());
        fold(&trees, &birth(4, 130, 6));
        assert!(!trees.is_vouched_for(PARTITION));
    }
}

#[test]
fn a_short_fork_is_found_by_what_was_covered_before() {
    let commits = past_of(&[100, 110, 120, 130], 6);
    let trees = folded(&commits[..2]);
    assert!(matches!(
        compare(&trees, &published(&commits[..2])),
        Ok(Compared::Covered(_))
    ));
    commits[2..].iter().for_each(|commit| fold(&trees, commit));
    let mut forked = commits[..3].to_vec();
    // This chooses the candidate of four leaves.
    assert!(compare(&trees, &published(&forked)).is_ok());
    let behind = compare(&trees, &published(&forked));
    assert!(
        matches!(behind, Ok(Compared::Behind { witnessed: 3, own: 4 })),
        "{behind:?}"
    );
    forked[0] = birth(1, 100, 7);
    let differs = compare(&trees, &published(&forked));
    assert!(
        matches!(differs, Ok(Compared::Differs { own, .. }) if own.size == 2),
        "{differs:?}"
    );
}

#[test]
fn tiles_of_another_tree_or_none_change_nothing() {
    let commits = past_of(&(0..600).collect::<Vec<_>>(), 6);
    let trees = folded(&commits[..300]);
    let whole = published(&commits);
    let mut garbage = whole.clone();
    garbage.tiles.tiles.values_mut().for_each(|tile| tile[5] ^= 1);
    let mut missing = whole.clone();
    missing.tiles.tiles.clear();
    for files in [garbage, missing] {
        let refused = compare(&trees, &files);
        assert!(matches!(refused, Err(CompareError::Tiles(_))), "{refused:?}");
        assert!(!trees.is_refuted(PARTITION) && !trees.is_vouched_for(PARTITION));
    }
    assert!(matches!(compare(&trees, &whole), Ok(Compared::Covered(head)) if head.size == 300));
}

#[test]
fn the_trees_of_a_snapshot_are_continued_and_vouched_for_anew() {
    let commits = past_of(&[100, 110, 120], 6);
    let trees = folded(&commits[..2]);
    assert!(matches!(
        compare(&trees, &published(&commits)),
        Ok(Compared::Covered(_))
    ));
    let at = |sequence| LogPosition::from_sequences(vec![Sequence(sequence)]);
    let saved = trees.to_bytes(&at(2)).expect("it is the position");
    assert_eq!(trees.to_bytes(&at(1)), None);
    let loaded = FoldedTrees::parse(&saved, &at(2)).expect("it is sound");
    assert!(!loaded.is_vouched_for(PARTITION));
    fold(&loaded, &commits[2]);
    assert!(matches!(compare(&loaded, &published(&commits)), Ok(Compared::Covered(head)) if head.size == 3));
    assert!(FoldedTrees::parse(&saved, &at(3)).is_err(), "a message without a leaf");
    assert!(FoldedTrees::parse(&[], &at(2)).is_err());
    assert!(FoldedTrees::parse(&[saved[0][1..].to_vec()], &at(2)).is_err());
}

#[test]
fn a_message_that_was_folded_before_changes_nothing_and_a_gap_is_refused() {
    let commits = past_of(&[100, 110, 120], 6);
    let trees = folded(&commits[..2]);
    fold(&trees, &commits[0]);
    assert_eq!(trees.heads(PARTITION), folded(&commits[..2]).heads(PARTITION));
    assert!(trees.fold(commits[2].position, None).is_err(), "it was not received");
    trees.receive(&birth(4, 130, 6)).expect("it has leaves");
    assert!(trees.fold(Position::new(0, 4), None).is_err(), "3 is missing");
    let mut message = RecordedCommit::of_foreign(
        commits[2].position,
        commits[2].bucket,
        ForeignMessage {
            digest: CommitHash([3; 32]),
            length: 1,
            reason: "noise".into(),
        },
    );
    trees.receive(&message).expect("it has a leaf");
    trees.fold(message.position, None).expect("it is the next");
    message.position = Position::new(1, 1);
    assert!(trees.receive(&message).is_err(), "there is no such partition");
}

proptest! {
    /// Whatever times the births state, and whenever witnesses are asked: a birth behind the covered head is never
    /// covered.
    #[test]
    fn no_birth_behind_the_covered_head_is_covered(steps in prop::collection::vec((0..20i64, any::<bool>()), 1..40)) {
        let times: Vec<i64> = steps.iter().map(|(at, _)| *at).collect();
        let commits = past_of(&times, 6);
        let trees = FoldedTrees::new(1);
        let mut covered = 0;
        for (number, (commit, (_, compares))) in commits.iter().zip(&steps).enumerate() {
            fold(&trees, commit);
            if *compares
                && let Ok(Compared::Covered(head)) = compare(&trees, &published(&commits[..=number]))
            {
                covered = usize::try_from(head.size).expect("few");
            }
            for behind in &times[covered..=number] {
                prop_assert!(!trees.covers(Some(PARTITION), *behind));
            }
            let latest = times[..=number].iter().max().expect("one");
            if covered == number + 1 {
                prop_assert!(trees.covers(Some(PARTITION), *latest));
            }
        }
    }
}
