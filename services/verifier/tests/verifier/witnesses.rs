//! Codes above an age need a witnessed checkpoint that covers their birth (decision 45).
#![expect(clippy::unwrap_used, reason = "a failure of the fixture fails the test")]

use std::sync::Arc;
use std::time::Duration;

use citycode_domain::admission::{Decision, Reason};
use citycode_domain::event::{CodeReportedLost, Event};
use citycode_event_store::follow::{Fold as _, Progress};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore as _, Partition, Position, codec};
use citycode_log_tree::{Compared, LogTrees, TreeFold, WitnessedLog};
use citycode_service_kit::clock::Clock as _;
use citycode_transparency::{KeyKind, NoteSigner, TrustPolicy};
use citycode_verifier::{Answer, PresentedCard, Scan, Verifier, When};

use crate::city::{City, Code, holder_in, holder_stream, partition_of};

const HOST: &str = "city.example";
/// Codes of this age need witnesses.
const LIMIT: u64 = 60;

/// A verifier that demands a witness.
struct Gate {
    verifier: Arc<Verifier>,
    progress: Progress,
}

impl City {
    async fn gate(&self, snapshot: Option<&std::path::Path>) -> Gate {
        let records = Arc::clone(&self.records) as _;
        let (verifier, progress) = self.verifier_from(records, Some(LIMIT), snapshot).await;
        Gate { verifier, progress }
    }

    /// The clock moves beyond the limit, and the state of the gate is proved anew.
    async fn grow_old(&self, gate: &Gate) {
        self.clock.advance(Duration::from_secs(LIMIT + 1));
        let freshness = Arc::clone(gate.verifier.freshness());
        freshness
            .probe(&self.store, &gate.progress, &*self.clock)
            .await
            .unwrap();
    }

    fn answer_at(&self, gate: &Gate, code: &Code) -> Answer {
        gate.verifier.scan(&Scan {
            place: self.place("sampling_desk"),
            text: &code.text,
            card: PresentedCard::Absent,
            when: When::Now(self.clock.reading()),
        })
    }

    fn reason_at(&self, gate: &Gate, code: &Code) -> Reason {
        self.answer_at(gate, code).verdict.reason
    }
}

/// Publishes the trees of a log, and has a witness cosign them.
async fn witnessed(store: &MemoryEventStore) -> (LogTrees, WitnessedLog) {
    let folder = tempfile::tempdir().unwrap();
    let (trees, from) = LogTrees::open(folder.path(), store, HOST, &[7; 32]).await.unwrap();
    let trees = Arc::new(trees);
    let mut fold = TreeFold(Arc::clone(&trees));
    for (partition, _) in from.iter() {
        for sequence in 1.. {
            match store.read_at(Position::new(partition.0, sequence)).await.unwrap() {
                Some(commit) => fold.fold(&commit).unwrap(),
                None => break,
            }
        }
    }
    trees.publish(true).unwrap();
    let witness = NoteSigner::from_seed("witness.example", KeyKind::Witness, &[8; 32]).unwrap();
    for partition in trees.partitions() {
        let signed = trees.checkpoint(partition).unwrap();
        let cosignature = witness.sign(signed.note().text(), 1);
        trees.add_cosignatures(partition, &signed, vec![cosignature]);
    }
    let keys = trees.keys().cloned().collect();
    let policy = TrustPolicy::new(keys, vec![witness.verifier().clone()], 1).unwrap();
    drop(fold);
    // The tiles are still read.
    let _kept = folder.keep();
    (Arc::into_inner(trees).unwrap(), WitnessedLog::new(HOST, policy))
}

/// Compares every partition; returns what was found.
async fn compared(store: &MemoryEventStore, gate: &Gate) -> Vec<Compared> {
    let (published, log) = witnessed(store).await;
    let trees = gate.verifier.trees().unwrap();
    let compare = |partition| log.compare(trees, partition, &published).unwrap();
    trees.partitions().map(compare).collect()
}

fn all_covered(compared: &[Compared]) -> bool {
    compared.iter().all(|compared| matches!(compared, Compared::Covered(_)))
}

#[tokio::test]
async fn an_old_code_is_admitted_once_witnesses_have_seen_its_birth() {
    let city = City::new().await;
    let gate = city.gate(None).await;
    let (code, dead) = (city.issue("sampling", 1).await, city.issue("live", 2).await);
    let lost = CodeReportedLost {
        code: dead.issued.code,
        acting_guardian: None,
    };
    city.tell(&holder_stream(), Event::CodeReportedLost(lost)).await;
    gate.progress.catch_up(&city.store).await.unwrap();
    assert_eq!(city.reason_at(&gate, &code), Reason::Ok, "it is younger than the limit");
    city.grow_old(&gate).await;
    let answer = city.answer_at(&gate, &code);
    let verdict = (answer.verdict.decision, answer.verdict.reason);
    assert_eq!(verdict, (Decision::CannotCheck, Reason::TooStale));
    assert!(answer.basis.unwitnessed && !answer.basis.confined);
    assert_eq!(
        city.reason_at(&gate, &dead),
        Reason::ReportedLost,
        "it is dead in any case"
    );

    assert!(all_covered(&compared(&city.store, &gate).await));
    let answer = city.answer_at(&gate, &code);
    assert_eq!((answer.verdict.reason, answer.basis.unwitnessed), (Reason::Ok, false));
    // The witnesses stay away: later births are not covered, earlier ones stay so.
    let later = city.issue("sampling", 3).await;
    gate.progress.catch_up(&city.store).await.unwrap();
    assert_eq!(city.reason_at(&gate, &later), Reason::Ok);
    city.grow_old(&gate).await;
    assert_eq!(city.reason_at(&gate, &later), Reason::TooStale);
    assert_eq!(city.reason_at(&gate, &code), Reason::Ok);
    // What the log does not have is unknown only if witnesses vouch for that log.
    let unknown = city.sign("sampling", 9, None);
    city.grow_old(&gate).await;
    assert_eq!(city.reason_at(&gate, &unknown), Reason::TooStale);
    // The first comparison covers what was folded at the last one.
    for _ in 0..2 {
        assert!(all_covered(&compared(&city.store, &gate).await));
    }
    assert_eq!(city.reason_at(&gate, &later), Reason::Ok);
}

#[tokio::test]
async fn copies_and_foreign_messages_have_the_leaves_that_the_published_tree_has() {
    let city = City::new().await;
    let gate = city.gate(None).await;
    city.issue("sampling", 1).await;
    let here = partition_of(&holder_stream());
    let bucket = city
        .store
        .layout()
        .bucket_of(&citycode_event_store::StreamName::new(&holder_stream()).unwrap());
    let head = city.store.heads().await.unwrap().sequence(here);
    let position = Position {
        partition: here,
        sequence: head,
    };
    let commit = city.store.read_at(position).await.unwrap().unwrap();
    let (copy, _) = codec::encode(&commit.commit, &commit.previous_hash).unwrap();
    city.store.put_foreign(bucket, &copy);
    city.store.put_foreign(bucket, b"no commit");
    let elsewhere = holder_in(Partition(1 - here.0));
    city.issue_to(elsewhere, "sampling", 1).await;
    gate.progress.catch_up(&city.store).await.unwrap();
    assert_eq!(
        gate.verifier.status().points()[usize::from(here.0)].sequence,
        head.0 + 2
    );
    assert!(all_covered(&compared(&city.store, &gate).await));
}

#[tokio::test]
async fn a_start_from_a_snapshot_continues_its_trees_and_one_without_them_is_not_used() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let (with, without) = (city.folder.path().join("with"), city.folder.path().join("without"));
    city.gate(None).await.verifier.save_snapshot(&with).unwrap();
    city.verifier.save_snapshot(&without).unwrap();
    city.issue("sampling", 2).await;
    for snapshot in [&with, &without] {
        let gate = city.gate(Some(snapshot)).await;
        city.grow_old(&gate).await;
        assert_eq!(
            city.reason_at(&gate, &code),
            Reason::TooStale,
            "nothing vouches for a snapshot"
        );
        assert!(all_covered(&compared(&city.store, &gate).await));
        assert_eq!(city.reason_at(&gate, &code), Reason::Ok);
    }
    // A verifier that demands nothing reads both.
    for snapshot in [&with, &without] {
        let records = Arc::clone(&city.records) as _;
        let (verifier, _) = city.verifier_from(records, None, Some(snapshot)).await;
        assert!(verifier.trees().is_none());
        let position = verifier.status().points();
        assert_eq!(position, city.verifier.status().points());
    }
}

#[tokio::test]
async fn a_cosigned_fork_is_an_alarm_and_old_codes_of_its_partition_cannot_be_checked() {
    let (city, fork) = (City::new().await, City::new().await);
    let gate = city.gate(None).await;
    let code = city.issue("sampling", 1).await;
    fork.issue("sampling", 2).await;
    fork.issue("sampling", 3).await;
    gate.progress.catch_up(&city.store).await.unwrap();
    let here = partition_of(&holder_stream());
    let found = compared(&fork.store, &gate).await;
    let trees = gate.verifier.trees().unwrap();
    for partition in trees.partitions() {
        let differs = matches!(found[usize::from(partition.0)], Compared::Differs { .. });
        assert_eq!(
            (differs, trees.is_refuted(partition)),
            (partition == here, partition == here)
        );
    }
    assert_eq!(city.reason_at(&gate, &code), Reason::Ok, "it is younger than the limit");
    city.grow_old(&gate).await;
    assert_eq!(city.reason_at(&gate, &code), Reason::TooStale);
    assert!(!trees.is_vouched_for(here));
}
