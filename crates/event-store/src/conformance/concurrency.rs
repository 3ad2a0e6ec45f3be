//! Properties of concurrent appends.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{EngineFactory, commit, small_layout, stream};
use crate::{AppendOutcome, BucketTail, Layout, Revision, StreamState};

const WRITERS: u64 = 32;

/// Of all appends that expect one tail exactly one succeeds, in every round, and the others get the current revision.
pub async fn of_many_appenders_to_one_tail_exactly_one_wins(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let mut tail = BucketTail::EMPTY;
    for round in 0..10 {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            writers.spawn(async move { store.append_at(commit(stream(1), round * WRITERS + writer), tail).await });
        }
        let mut winners = Vec::new();
        let mut losers = Vec::new();
        for answer in writers.join_all().await {
            match answer.expect("an answer") {
                AppendOutcome::Appended {
                    revision,
                    hash,
                    duplicate,
                    ..
                } => {
                    assert!(!duplicate);
                    winners.push(BucketTail { revision, hash });
                }
                AppendOutcome::WrongExpectedVersion { current } => losers.push(current),
                AppendOutcome::Unknown => panic!("nothing failed"),
            }
        }
        assert_eq!(winners.len(), 1, "exactly one winner in round {round}");
        assert!(losers.iter().all(|current| *current == winners[0].revision));
        tail = winners[0];
    }
    let bucket = store.layout().bucket_of(&stream(1));
    assert_eq!(
        store
            .read_bucket(bucket, Revision::EMPTY)
            .await
            .expect("readable")
            .len(),
        10
    );
}

/// Writers of different streams do not make each other fail.
pub async fn many_appenders_to_many_buckets_all_succeed(factory: &dyn EngineFactory) {
    let store = factory.create(Layout::default()).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for round in 0..20 {
                let next = commit(stream(writer), round);
                let answer = store.append_to_stream(next, StreamState::Any).await;
                assert!(
                    matches!(answer, Ok(AppendOutcome::Appended { duplicate: false, .. })),
                    "{answer:?}"
                );
            }
        });
    }
    writers.join_all().await;
    assert_eq!(store.heads().await.expect("readable").commits(), WRITERS * 20);
    for writer in 0..WRITERS {
        let commits = store
            .read_stream(&stream(writer), Revision::EMPTY)
            .await
            .expect("readable");
        let order: Vec<u8> = commits
            .iter()
            .map(|recorded| recorded.commit.command_id.0[15])
            .collect();
        assert_eq!(order, (0..20).collect::<Vec<u8>>());
    }
}
