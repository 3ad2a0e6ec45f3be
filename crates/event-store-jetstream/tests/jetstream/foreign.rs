//! Foreign messages in the log's subjects, from a client with a stolen writer's credential.

use async_nats::HeaderMap;
use citycode_event_store::copy::{compare, copy};
use citycode_event_store::follow::{Continuity, Fold, FollowError, Progress, follow, resolve_chain_break};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, CommitHash, EventStore, Layout, LogId, LogPosition, Position,
    ReadError, ReaderVersion, RecordedCommit, Revision, Sequence, StreamName, codec, foreign,
};
use citycode_event_store_jetstream::NewLog;
use citycode_testkit::{NatsServer, eventually};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

use crate::fixture::{self, PATIENCE, commit};

/// Publishes into a bucket as an attacker would; returns the sequence.
async fn publish(client: &async_nats::Client, bucket: BucketId, headers: HeaderMap, payload: &[u8]) -> Sequence {
    let subject = format!("cc.ev.v1.{bucket}");
    let stored = client
        .request_with_headers(subject, headers, payload.to_vec().into())
        .await
        .unwrap();
    let stored: Value = serde_json::from_slice(&stored.payload).unwrap();
    Sequence(stored["seq"].as_u64().unwrap_or_else(|| panic!("{stored}")))
}

fn expecting(revision: Revision) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_raw().to_string());
    headers
}

/// A fold that tracks each bucket's chain and records foreign messages.
#[derive(Default)]
struct ChainFold {
    ends: HashMap<BucketId, CommitHash>,
    foreign: Arc<parking_lot::Mutex<Vec<Position>>>,
}

impl Fold for ChainFold {
    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        if commit.foreign.is_some() {
            self.foreign.lock().push(commit.position);
        } else {
            self.ends.insert(commit.bucket, commit.hash);
        }
        Ok(())
    }

    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        let end = self.ends.get(&commit.bucket).copied().unwrap_or(CommitHash::NONE);
        if end == commit.previous_hash {
            Continuity::Follows
        } else {
            Continuity::Breaks
        }
    }
}

fn appended(answer: Result<AppendOutcome, AppendError>) -> (Position, BucketTail) {
    match answer {
        Ok(AppendOutcome::Appended {
            position,
            revision,
            hash,
            ..
        }) => (position, BucketTail { revision, hash }),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_messages_are_marked_and_a_changed_commit_stops_the_follower() {
    let server = NatsServer::start().await;
    let config = fixture::alone(&server);
    let new = NewLog::new(LogId([7; 16]), Layout::new(1, 64).unwrap());
    let store: Arc<dyn EventStore> = fixture::opened(&config, &new).await;
    let client = fixture::client(&config).await;
    let name = StreamName::new("holder-1").unwrap();
    let bucket = store.layout().bucket_of(&name);
    let (first, tail) = appended(store.append_at(commit("holder-1", 1), BucketTail::EMPTY).await);
    let (second, tail) = appended(store.append_at(commit("holder-1", 2), tail).await);
    let (genuine, _) = codec::encode(&commit("holder-1", 1), &CommitHash::NONE).unwrap();
    let followed = store.clone();
    let mut fold = ChainFold::default();
    let (known, progress) = (Arc::clone(&fold.foreign), Progress::new(&LogPosition::start(1)));
    let following = tokio::spawn({
        let progress = progress.clone();
        async move { follow(&*followed, &mut fold, &progress).await }
    });

    let undecodable = publish(&client, bucket, HeaderMap::new(), b"no commit").await;
    let unexpected = publish(&client, bucket, HeaderMap::new(), &genuine).await;
    let copied = publish(&client, bucket, expecting(Revision::from_raw(unexpected.0)), &genuine).await;
    let elsewhere = BucketId { bucket: 63, ..bucket };
    let misplaced = publish(&client, elsewhere, expecting(Revision::EMPTY), &genuine).await;
    let answer = store.append_at(commit("holder-1", 3), tail).await;
    assert!(!matches!(answer, Ok(AppendOutcome::Appended { .. })), "{answer:?}");
    let again = store.append_at(commit("holder-1", 2), BucketTail::EMPTY).await;
    assert!(
        !matches!(again, Ok(AppendOutcome::Appended { position, .. }) if position != second),
        "{again:?}"
    );
    let all = [undecodable, unexpected, copied, misplaced].map(|sequence| Position {
        partition: bucket.partition,
        sequence,
    });
    eventually("all are recorded as foreign", PATIENCE, || async {
        *known.lock() == all
    })
    .await;
    progress.wait_until_live().await.unwrap();

    let commits = store.read_bucket(bucket, Revision::EMPTY).await.unwrap();
    assert_eq!(
        commits.iter().map(|it| it.position).collect::<Vec<_>>(),
        [first, second]
    );
    let end = store.bucket_tail(bucket).await.unwrap();
    assert_eq!((end.revision.to_raw(), end.hash), (copied.0, tail.hash));
    let name = foreign::stream(bucket);
    let (declared, tail) = appended(store.append_at(commit(name.as_str(), 4), end).await);
    assert!(declared.sequence > misplaced);
    let (last, tail) = appended(store.append_at(commit("holder-1", 5), tail).await);
    progress.wait_for(last).await.unwrap();
    assert_eq!(known.lock().len(), all.len());

    // Its previous hash belongs to no commit, although its expectation holds: an earlier commit must have been changed.
    let (broken, _) = codec::encode(&commit("holder-1", 6), &CommitHash([9; 32])).unwrap();
    let broken = publish(&client, bucket, expecting(tail.revision), &broken).await;
    let stopped = following.await.unwrap();
    let FollowError::Subscription(citycode_event_store::SubscriptionError::Read(ReadError::Damaged {
        position, ..
    })) = stopped
    else {
        panic!("{stopped}");
    };
    assert_eq!(position.sequence, broken);
}

/// An attack that needs no secret: republished genuine bytes, each after the previous copy as the last message.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_follow_each_other_are_foreign_and_a_declaration_follows_the_last_commit() {
    let server = NatsServer::start().await;
    let config = fixture::alone(&server);
    let new = NewLog::new(LogId([7; 16]), Layout::new(1, 64).unwrap());
    let store: Arc<dyn EventStore> = fixture::opened(&config, &new).await;
    let client = fixture::client(&config).await;
    let bucket = store.layout().bucket_of(&StreamName::new("holder-1").unwrap());
    let mut tails = vec![BucketTail::EMPTY];
    for number in 1..=3 {
        let before = *tails.last().unwrap();
        tails.push(appended(store.append_at(commit("holder-1", number), before).await).1);
    }
    let genuine = |number: u8| {
        codec::encode(&commit("holder-1", number.into()), &tails[usize::from(number) - 1].hash)
            .unwrap()
            .0
    };
    let first = publish(&client, bucket, expecting(tails[3].revision), &genuine(1)).await;
    let second = publish(&client, bucket, expecting(Revision::from_raw(first.0)), &genuine(2)).await;
    // For this one the server checks the expectation against another bucket.
    let mut elsewhere = expecting(Revision::EMPTY);
    elsewhere.insert("Nats-Expected-Last-Subject-Sequence-Subject", "cc.ev.v1.00.0000");
    let third = publish(&client, bucket, elsewhere, &genuine(3)).await;

    let end = store.bucket_tail(bucket).await.unwrap();
    assert_eq!((end.revision.to_raw(), end.hash), (third.0, tails[3].hash));
    let declaration = foreign::stream(bucket);
    let after_copy = BucketTail {
        hash: tails[2].hash,
        ..end
    };
    let answer = store.append_at(commit(declaration.as_str(), 4), after_copy).await;
    assert!(!matches!(answer, Ok(AppendOutcome::Appended { .. })), "{answer:?}");
    let (_, tail) = appended(store.append_at(commit(declaration.as_str(), 4), end).await);
    let (_, tail) = appended(store.append_at(commit(declaration.as_str(), 5), tail).await);
    let (last, _) = appended(store.append_at(commit("holder-1", 6), tail).await);

    let mut fold = ChainFold::default();
    let (known, progress) = (Arc::clone(&fold.foreign), Progress::new(&LogPosition::start(1)));
    let followed = store.clone();
    let _following = tokio::spawn({
        let progress = progress.clone();
        async move { follow(&*followed, &mut fold, &progress).await }
    });
    progress.wait_for(last).await.unwrap();
    let sequences: Vec<_> = known.lock().iter().map(|position| position.sequence).collect();
    assert_eq!(sequences, [first, second, third]);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_continue_after_a_foreign_message_in_their_bucket() {
    let server = NatsServer::start().await;
    let config = fixture::alone(&server);
    let new = NewLog::new(LogId([7; 16]), Layout::new(1, 64).unwrap());
    let store = fixture::opened(&config, &new).await;
    let client = fixture::client(&config).await;
    let partition = citycode_event_store::Partition(0);
    let bucket = store.layout().heartbeat_bucket(partition);
    let heartbeat = |tail| citycode_event_store::heartbeat::commit(partition, &tail, 0);
    let (_, tail) = appended(store.append_at(heartbeat(BucketTail::EMPTY), BucketTail::EMPTY).await);
    let (genuine, _) = codec::encode(&heartbeat(BucketTail::EMPTY), &CommitHash::NONE).unwrap();
    let (_, tail) = appended(store.append_at(heartbeat(tail), tail).await);
    // The same foreign message occurs twice; the heartbeats after each must not be duplicates.
    let (mut positions, mut ends) = (Vec::new(), tail.revision);
    for payload in [&b"no commit"[..], &genuine, b"no commit"] {
        let last = publish(&client, bucket, expecting(ends), payload).await;
        let end = store.bucket_tail(bucket).await.unwrap();
        assert_eq!((end.revision.to_raw(), end.hash), (last.0, codec::hash(payload)));
        let (position, _) = appended(store.append_at(heartbeat(end), end).await);
        assert_eq!(position.sequence, last.next());
        ends = Revision::from_raw(position.sequence.0);
        positions.push(position);
    }
    // A writer that has not seen the last message is merely refused.
    let late = store.append_at(heartbeat(tail), tail).await;
    assert!(
        matches!(late, Ok(AppendOutcome::WrongExpectedVersion { .. })),
        "{late:?}"
    );

    let mut fold = ChainFold::default();
    let (known, progress) = (Arc::clone(&fold.foreign), Progress::new(&LogPosition::start(1)));
    let followed = Arc::clone(&store);
    let _following = tokio::spawn({
        let progress = progress.clone();
        async move { follow(&*followed, &mut fold, &progress).await }
    });
    progress.wait_for(positions[2]).await.unwrap();
    assert_eq!(*known.lock(), [], "no message is foreign there");
    for position in positions {
        let heartbeat = store.read_at(position).await.unwrap().unwrap();
        assert_eq!(resolve_chain_break(&*store, &heartbeat).await, Ok(None));
    }
    let copied: Arc<dyn EventStore> = Arc::new(MemoryEventStore::with_minimum_reader(
        store.log_id(),
        store.layout(),
        ReaderVersion::CURRENT,
    ));
    let store: Arc<dyn EventStore> = store;
    let reached = copy(&store, &copied, |_| {}).await.unwrap();
    compare(&*store, &*copied, &reached).await.unwrap();
    // The copy contains the appended heartbeats unchanged.
    assert_eq!(copied.read_bucket(bucket, Revision::EMPTY).await.unwrap().len(), 5);
}

/// A forged commit in an empty bucket, whose expectation holds but whose previous hash belongs to no commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_with_a_previous_hash_is_foreign_and_partial_reads_skip_copies() {
    let server = NatsServer::start().await;
    let config = fixture::alone(&server);
    let new = NewLog::new(LogId([7; 16]), Layout::new(1, 64).unwrap());
    let store: Arc<dyn EventStore> = fixture::opened(&config, &new).await;
    let client = fixture::client(&config).await;
    let bucket = store.layout().bucket_of(&StreamName::new("holder-1").unwrap());
    let (forged, _) = codec::encode(&commit("holder-1", 1), &CommitHash([9; 32])).unwrap();
    let forged = publish(&client, bucket, expecting(Revision::EMPTY), &forged).await;
    let mut fold = ChainFold::default();
    let (known, progress) = (Arc::clone(&fold.foreign), Progress::new(&LogPosition::start(1)));
    let followed = Arc::clone(&store);
    let _following = tokio::spawn({
        let progress = progress.clone();
        async move { follow(&*followed, &mut fold, &progress).await }
    });
    eventually("it is foreign", PATIENCE, || async { known.lock().len() == 1 }).await;
    progress.wait_until_live().await.unwrap();

    let end = store.bucket_tail(bucket).await.unwrap();
    assert_eq!((end.revision.to_raw(), end.hash), (forged.0, CommitHash::NONE));
    let declaration = foreign::stream(bucket);
    let (_, first) = appended(store.append_at(commit(declaration.as_str(), 2), end).await);
    let (copied, _) = codec::encode(&commit(declaration.as_str(), 2), &CommitHash::NONE).unwrap();
    publish(&client, bucket, expecting(first.revision), &copied).await;
    let end = store.bucket_tail(bucket).await.unwrap();
    let (third, _) = appended(store.append_at(commit(declaration.as_str(), 3), end).await);
    // The copy is the first message in that part of the bucket.
    let part = store.read_bucket(bucket, first.revision).await.unwrap();
    assert_eq!(part.iter().map(|it| it.position).collect::<Vec<_>>(), [third]);
    progress.wait_for(third).await.unwrap();
    assert_eq!(known.lock().len(), 2);
}
