//! The trees of a log over restarts, losses and changes of their files, and the check of a log against them.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use citycode_domain::event::{CodeIssued, CodeRef, CodeReportedLost, EligibilityGround, Event, Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Fold as _;
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{
    EventStore, Layout, LogId, LogPosition, NewCommit, Partition, Position, RecordedCommit, StreamName, StreamState,
};
use citycode_log_tree::check::{Checked, FaultKind, check};
use citycode_log_tree::{LogTrees, ProveError, Stopped, TreeFold};
use citycode_testkit::commit_of;
use citycode_transparency::leaf::Opening;
use citycode_transparency::statement::{Act, Cause, CodeStatement};
use citycode_transparency::{KeyKind, LogProof, NoteSigner, SignedCheckpoint, TrustPolicy};

const HOST: &str = "city.example";
const SEED: [u8; 32] = [7; 32];
const CODES: u8 = 200;
const PARTITIONS: u16 = 2;

/// What is changed in a log, and how.
type Change = (&'static str, fn(&mut Vec<NewCommit>));
/// What is damaged in the folder of a partition, and how.
type Damage = (&'static str, fn(&Path));

fn code(number: u8) -> CodeRef {
    CodeRef {
        slot: Slot {
            kind: CodeKind::new(1).unwrap(),
            guardian: None,
        },
        code_id: CodeId([number; 8]),
        status: StatusRef {
            list: ListId(7),
            index: u32::from(number),
        },
    }
}

fn issued(number: u8) -> Event {
    Event::CodeIssued(CodeIssued {
        code: code(number),
        issued_at: Timestamp(1_000),
        expires_at: Timestamp(2_000),
        supersedes: None,
        standing: Standing::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([9; 4]),
        claims_digest: ClaimsDigest([number; 32]),
        sealed_token: Sealed(vec![number; 300]),
    })
}

/// Commits of 1 to 3 events: each code is issued, and every third one is reported lost in the same commit.
fn commits() -> Vec<NewCommit> {
    let commit = |number: u8| {
        let stream = StreamName::new(&format!("holder-{}", HolderId([number; 16]))).unwrap();
        let mut commit = commit_of(stream, &issued(number), u64::from(number), 1_500 + i64::from(number));
        for lost in 0..number % 3 {
            let event = CodeReportedLost {
                code: code(number.wrapping_add(lost)),
                acting_guardian: None,
            };
            commit
                .events
                .extend(commit_of(stream, &Event::CodeReportedLost(event), 0, 0).events);
        }
        commit
    };
    (0..CODES).map(commit).collect()
}

async fn log_of(commits: impl IntoIterator<Item = NewCommit>) -> MemoryEventStore {
    let store = MemoryEventStore::new(LogId([1; 16]), Layout::new(PARTITIONS, 64).unwrap());
    append(&store, commits).await;
    store
}

async fn append(store: &MemoryEventStore, commits: impl IntoIterator<Item = NewCommit>) {
    for commit in commits {
        store.append_to_stream(commit, StreamState::Any).await.unwrap();
    }
}

/// Opens the trees, and folds at most `limit` commits of each partition that they lack.
async fn fold(folder: &Path, store: &MemoryEventStore, limit: u64) -> Arc<LogTrees> {
    let (trees, from) = LogTrees::open(folder, store, HOST, &SEED).await.unwrap();
    let trees = Arc::new(trees);
    fold_from(&trees, store, &from, limit).await;
    trees
}

/// Folds at most `limit` commits of each partition after a position.
async fn fold_from(trees: &Arc<LogTrees>, store: &MemoryEventStore, from: &LogPosition, limit: u64) {
    let mut fold = TreeFold(Arc::clone(trees));
    for (partition, sequence) in from.iter() {
        for sequence in (sequence.0 + 1..).take(usize::try_from(limit).unwrap()) {
            match store.read_at(Position::new(partition.0, sequence)).await.unwrap() {
                Some(commit) => fold.fold(&commit).unwrap(),
                None => break,
            }
        }
    }
}

async fn whole(folder: &Path, store: &MemoryEventStore) -> Arc<LogTrees> {
    let trees = fold(folder, store, u64::MAX >> 1).await;
    trees.publish(true).unwrap();
    trees
}

async fn checked(store: &MemoryEventStore, trees: &Arc<LogTrees>) -> Checked {
    checked_from(store, trees, None).await
}

async fn checked_from(store: &MemoryEventStore, trees: &Arc<LogTrees>, from: Option<Position>) -> Checked {
    check(Arc::new(store.clone()), Some(Arc::clone(trees)), from, |_| true)
        .await
        .unwrap()
}

fn kinds(checked: &Checked) -> Vec<(FaultKind, Position)> {
    checked.faults.iter().map(|fault| (fault.kind, fault.first)).collect()
}

/// Every file of the published trees by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true => folders.push(path),
                // The state also has the size before the last commit.
                false if name.ends_with("/state") || name.contains(".p/") => {}
                false => files.push((name, fs::read(&path).unwrap())),
            }
        }
    }
    files.sort();
    files
}

async fn find(store: &MemoryEventStore, code_id: u8) -> RecordedCommit {
    for partition in 0..PARTITIONS {
        for sequence in 1.. {
            let Some(commit) = store.read_at(Position::new(partition, sequence)).await.unwrap() else {
                break;
            };
            if commit.commit.message_id.0[7] == code_id {
                return commit;
            }
        }
    }
    panic!("no commit of {code_id}");
}

#[tokio::test]
async fn a_log_that_is_folded_in_pieces_with_restarts_has_the_same_tree() {
    let store = log_of(commits()).await;
    let (once, pieces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trees = whole(once.path(), &store).await;
    for (step, limit) in [1, 2, 5, 40, 3, u64::MAX >> 1].into_iter().enumerate() {
        let trees = fold(pieces.path(), &store, limit).await;
        // Every other restart loses what was folded, as a crash does.
        if step % 2 == 1 {
            trees.publish(false).unwrap();
        }
    }
    assert!(files(once.path()) == files(pieces.path()));
    let found = checked(&store, &trees).await;
    assert_eq!(kinds(&found), []);
    assert_eq!(found.commits, u64::from(CODES));
    assert!(found.compared > found.commits, "commits have several events");
}

#[tokio::test]
async fn births_and_deaths_are_proved_to_somebody_without_the_log() {
    let store = log_of(commits()).await;
    let folder = tempfile::tempdir().unwrap();
    let trees = whole(folder.path(), &store).await;
    let policy = TrustPolicy::new(trees.keys().cloned().collect(), Vec::new(), 0).unwrap();
    for number in 0..CODES {
        let commit = find(&store, number).await;
        for is_birth in [true, false] {
            let wanted = |statement: &CodeStatement| {
                statement.code_id == [number; 8] && is_birth == matches!(statement.act, Act::Issued { .. })
            };
            let proof = trees.prove(&commit, wanted).unwrap();
            assert_eq!(proof.is_some(), is_birth || number % 3 > 0, "{number}");
            let Some(proof) = proof else { continue };
            let proof = LogProof::parse(&proof.to_bytes()).unwrap();
            let opening = Opening::parse(&proof.extra).unwrap();
            proof.verify(&opening.leaf_hash(), &policy).unwrap();
            assert_eq!(opening.position().sequence, commit.position.sequence.0);
            let statement = CodeStatement::parse(opening.content()).unwrap();
            if !is_birth {
                let at = commit.commit.decided_at;
                let cause = Cause::ReportedLost;
                assert_eq!(statement.act, Act::Died { cause, at });
            }
        }
    }
}

#[tokio::test]
async fn an_event_after_the_last_checkpoint_has_no_proof_yet() {
    let store = log_of(commits().into_iter().take(10)).await;
    let folder = tempfile::tempdir().unwrap();
    let trees = whole(folder.path(), &store).await;
    append(&store, commits().into_iter().skip(10)).await;
    let late = find(&store, 100).await;
    assert!(matches!(trees.prove(&late, |_| true), Err(ProveError::NotPublished)));
    drop(trees);
    let trees = fold(folder.path(), &store, 1_000).await;
    assert!(matches!(trees.prove(&late, |_| true), Err(ProveError::NotPublished)));
    trees.publish(true).unwrap();
    assert!(trees.prove(&late, |_| true).unwrap().is_some());
}

#[tokio::test]
async fn a_log_that_went_back_is_not_signed_any_more() {
    let store = log_of(commits()).await;
    let folder = tempfile::tempdir().unwrap();
    let before = whole(folder.path(), &store).await;
    let signed = before.checkpoint(Partition(0)).unwrap();
    drop(before);
    let shorter = log_of(commits().into_iter().take(50)).await;
    let trees = fold(folder.path(), &shorter, 1_000).await;
    // As long as the log is being read it may still reach the signed size.
    trees.publish(false).unwrap();
    assert_eq!(trees.stopped(), []);
    trees.publish(true).unwrap();
    assert!(matches!(
        &trees.stopped()[..],
        [Stopped::RolledBack { .. }, Stopped::RolledBack { .. }]
    ));
    assert_eq!(trees.checkpoint(Partition(0)), None);
    let faults = checked(&shorter, &trees).await;
    let ends = shorter.heads().await.unwrap();
    for (partition, end) in ends.iter() {
        let at = Position::new(partition.0, end.0 + 1);
        assert!(kinds(&faults).contains(&(FaultKind::RolledBack, at)), "{faults:?}");
    }
    // It grows again, with the same number of commits and another content.
    append(
        &shorter,
        commits().into_iter().skip(50).map(|mut commit| {
            commit.actor = "somebody else".into();
            commit
        }),
    )
    .await;
    drop(trees);
    let trees = fold(folder.path(), &shorter, 1_000).await;
    trees.publish(true).unwrap();
    assert!(matches!(
        &trees.stopped()[..],
        [Stopped::Forked { .. }, Stopped::Forked { .. }]
    ));
    let stored = fs::read(folder.path().join("00/checkpoint")).unwrap();
    assert_eq!(stored, signed.to_bytes(), "the last signed checkpoint is kept");
}

/// Each of these is a log whose hashes are all sound, because they were computed again.
#[tokio::test]
async fn a_past_that_was_changed_consistently_is_located() {
    let changes: [Change; 5] = [
        ("changed", |commits| commits[100].actor = "somebody else".into()),
        ("dropped", |commits| drop(commits.remove(100))),
        ("inserted", |commits| {
            let mut copy = commits[100].clone();
            copy.message_id.0[0] = 1;
            commits.insert(100, copy);
        }),
        ("reordered", |commits| {
            let end = commits.len() - 1;
            commits.swap(100, end);
        }),
        ("without its last event", |commits| drop(commits[101].events.pop())),
    ];
    let original = log_of(commits()).await;
    for (what, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        let trees = whole(folder.path(), &original).await;
        let mut changed = commits();
        change(&mut changed);
        let store = log_of(changed).await;
        let expected = first_difference(&original, &store).await;
        let found = checked(&store, &trees).await;
        let located = kinds(&found);
        assert!(
            located.iter().all(|(kind, _)| *kind != FaultKind::Chain),
            "{what}: {found:?}"
        );
        for at in expected {
            let kind = located.iter().find(|(_, first)| *first == at).map(|(kind, _)| *kind);
            assert!(
                matches!(kind, Some(FaultKind::Leaf | FaultKind::RolledBack)),
                "{what} at {at}: {found:?}"
            );
        }
        // The service never signs the changed past, wherever its trees continue.
        let signed = [0, 1].map(|partition| trees.checkpoint(Partition(partition)));
        drop(trees);
        let trees = fold(folder.path(), &store, 1_000).await;
        trees.publish(true).unwrap();
        for (partition, signed) in (0..).zip(signed) {
            let now = trees.checkpoint(Partition(partition));
            assert!(now.is_none() || now == signed, "{what}");
        }
    }
}

/// The first position of each partition at which two logs differ.
async fn first_difference(one: &MemoryEventStore, two: &MemoryEventStore) -> Vec<Position> {
    let mut differences = Vec::new();
    for partition in 0..PARTITIONS {
        for sequence in 1.. {
            let at = Position::new(partition, sequence);
            let (first, second) = (one.read_at(at).await.unwrap(), two.read_at(at).await.unwrap());
            if first.is_none() && second.is_none() {
                break;
            }
            if first.map(|commit| commit.hash) != second.map(|commit| commit.hash) {
                differences.push(at);
                break;
            }
        }
    }
    assert!(!differences.is_empty());
    differences
}

#[tokio::test]
async fn damaged_files_are_written_again_from_the_log() {
    let store = log_of(commits()).await;
    let (whole_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(whole(whole_folder.path(), &store).await);
    drop(whole(folder.path(), &store).await);
    let sound = files(folder.path());
    let damage: [Damage; 6] = [
        ("state changed", |folder| flip(&folder.join("state"), 20)),
        ("state removed", |folder| fs::remove_file(folder.join("state")).unwrap()),
        ("places cut", |folder| fs::write(folder.join("places"), b"").unwrap()),
        ("last place changed", |folder| {
            let places = folder.join("places");
            let end = fs::metadata(&places).unwrap().len();
            flip(&places, usize::try_from(end).unwrap() - 1);
        }),
        ("tiles removed", |folder| {
            fs::remove_dir_all(folder.join("tile")).unwrap()
        }),
        ("right edge changed", |folder| {
            let edge = files_of(&folder.join("tile/0"));
            edge.iter().for_each(|path| flip(path, 3));
        }),
    ];
    for (what, damage) in damage {
        damage(&folder.path().join("00"));
        let trees = whole(folder.path(), &store).await;
        assert_eq!(trees.stopped(), [], "{what}");
        assert_eq!(kinds(&checked(&store, &trees).await), [], "{what}");
        fs::remove_dir_all(folder.path().join("00.damaged")).unwrap_or_default();
        assert!(files(folder.path()) == sound, "{what}");
    }
}

fn files_of(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_of(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_changed_place_leads_to_no_wrong_proof() {
    let store = log_of(commits()).await;
    let folder = tempfile::tempdir().unwrap();
    drop(whole(folder.path(), &store).await);
    for partition in ["00", "01"] {
        flip(&folder.path().join(partition).join("places"), 16 * 20 + 15);
    }
    let trees = whole(folder.path(), &store).await;
    let mut refused = 0;
    for number in 0..CODES {
        let commit = find(&store, number).await;
        match trees.prove(&commit, |_| true) {
            Ok(proof) => {
                let proof = proof.unwrap();
                let opening = Opening::parse(&proof.extra).unwrap();
                let policy = TrustPolicy::new(trees.keys().cloned().collect(), Vec::new(), 0).unwrap();
                proof.verify(&opening.leaf_hash(), &policy).unwrap();
            }
            Err(ProveError::OtherLeaf(at)) => {
                assert_eq!(at, commit.position);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn tiles_that_change_under_a_running_service_are_named_by_the_check() {
    let store = log_of(commits()).await;
    let folder = tempfile::tempdir().unwrap();
    let trees = whole(folder.path(), &store).await;
    for tile in files_of(&folder.path().join("01/tile")) {
        flip(&tile, 40);
    }
    let found = checked(&store, &trees).await;
    assert_eq!(found.faults.len(), 1, "{found:?}");
    assert_eq!(found.faults[0].kind, FaultKind::Tile);
    assert!(found.faults[0].what.contains("tile/0/000"), "{found:?}");
    let late = find(&store, 150).await;
    let at = late.position.partition;
    assert_eq!(trees.prove(&late, |_| true).is_err(), at == Partition(1));
}

#[tokio::test]
async fn a_checkpoint_of_another_key_or_a_changed_one_is_not_continued() {
    let store = log_of(commits()).await;
    let folder = tempfile::tempdir().unwrap();
    drop(whole(folder.path(), &store).await);
    let (trees, _) = LogTrees::open(folder.path(), &store, HOST, &[8; 32]).await.unwrap();
    let trees = Arc::new(trees);
    assert!(matches!(
        &trees.stopped()[..],
        [Stopped::Unusable { .. }, Stopped::Unusable { .. }]
    ));
    let found = checked(&store, &trees).await;
    assert!(found.faults.iter().any(|fault| fault.kind == FaultKind::Checkpoint));
    flip(&folder.path().join("01/checkpoint"), 25);
    let trees = whole(folder.path(), &store).await;
    assert!(matches!(&trees.stopped()[..], [Stopped::Unusable { partition, .. }] if *partition == Partition(1)));
}

#[tokio::test]
async fn a_check_of_a_part_compares_that_part() {
    let original = log_of(commits()).await;
    let folder = tempfile::tempdir().unwrap();
    let trees = whole(folder.path(), &original).await;
    let mut changed = commits();
    changed[100].actor = "somebody else".into();
    let store = log_of(changed).await;
    let at = first_difference(&original, &store).await[0];
    for from in [at, Position::new(at.partition.0, at.sequence.0 + 1)] {
        let found = checked_from(&store, &trees, Some(from)).await;
        let [(FaultKind::Leaf, first)] = kinds(&found)[..] else {
            panic!("from {from}: {found:?}")
        };
        // Later commits of the same bucket contain the changed hash.
        assert!(
            first.partition == at.partition && (first > at) == (from > at),
            "from {from}: {first}"
        );
        let last = store.heads().await.unwrap().sequence(at.partition).0;
        assert_eq!(found.commits, last + 1 - from.sequence.0);
    }
}

/// The published checkpoint of a partition, cosigned by a witness.
fn cosign(trees: &LogTrees, partition: Partition) -> Arc<SignedCheckpoint> {
    let witness = NoteSigner::from_seed("witness.example", KeyKind::Witness, &[2; 32]).unwrap();
    let signed = trees.checkpoint(partition).unwrap();
    let cosignature = witness.sign(signed.note().text(), 1_700_000_000);
    trees.add_cosignatures(partition, &signed, vec![cosignature]);
    trees.witnessed(partition).unwrap()
}

#[tokio::test]
async fn a_cosigned_checkpoint_outlives_a_restart_unless_its_file_was_changed() {
    let store = log_of(commits()).await;
    let folder = tempfile::tempdir().unwrap();
    let partition = Partition(1);
    let trees = whole(folder.path(), &store).await;
    assert_eq!(trees.witnessed(partition), None);
    let cosigned = cosign(&trees, partition);
    assert_eq!(cosigned.note().signatures().len(), 2);
    trees.publish(true).unwrap();
    drop(trees);

    let trees = whole(folder.path(), &store).await;
    assert_eq!(trees.witnessed(partition), Some(Arc::clone(&cosigned)));
    assert_eq!(trees.witnessed(Partition(0)), None);
    // One with as many cosignatures of a larger tree takes its place.
    append(&store, commits().into_iter().take(9).map(again)).await;
    drop(trees);
    let trees = whole(folder.path(), &store).await;
    let larger = cosign(&trees, partition);
    assert!(larger.unverified().head().size > cosigned.unverified().head().size);
    trees.publish(true).unwrap();
    drop(trees);

    let file = folder.path().join("01/witnessed");
    let sound = fs::read(&file).unwrap();
    assert_eq!(sound, larger.to_bytes());
    let damages: [(&str, Vec<u8>); 3] = [
        ("truncated", sound[..sound.len() / 2].to_vec()),
        (
            "of another partition",
            fs::read(folder.path().join("00/checkpoint")).unwrap(),
        ),
        ("emptied", Vec::new()),
    ];
    for (what, bytes) in damages {
        fs::write(&file, bytes).unwrap();
        let trees = whole(folder.path(), &store).await;
        assert_eq!((trees.witnessed(partition), trees.stopped()), (None, vec![]), "{what}");
    }
}

#[tokio::test]
async fn checkpoints_are_published_while_the_cosigned_one_cannot_be_stored() {
    let store = log_of(commits()).await;
    let folder = tempfile::tempdir().unwrap();
    let partition = Partition(1);
    let trees = whole(folder.path(), &store).await;
    let cosigned = cosign(&trees, partition);
    let file = folder.path().join("01/witnessed");
    fs::create_dir(&file).unwrap();
    let from = store.heads().await.unwrap();
    append(&store, commits().into_iter().take(9).map(again)).await;
    fold_from(&trees, &store, &from, 9).await;
    trees.publish(true).unwrap();
    let published = trees.checkpoint(partition).unwrap();
    assert!(published.unverified().head().size > cosigned.unverified().head().size);
    assert_eq!(trees.witnessed(partition), Some(Arc::clone(&cosigned)));

    // It is stored once that is possible again.
    fs::remove_dir(&file).unwrap();
    trees.publish(true).unwrap();
    assert_eq!(fs::read(&file).unwrap(), cosigned.to_bytes());
}

/// The same events under another message id.
fn again(mut commit: NewCommit) -> NewCommit {
    commit.message_id.0[31] ^= 0x80;
    commit
}
