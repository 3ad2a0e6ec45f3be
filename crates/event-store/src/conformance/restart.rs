//! Properties of a restart.

use super::{EngineFactory, append, append_any, commit, small_layout, stream};
use crate::{AppendOutcome, BucketTail, Revision};

/// A restart preserves identity, commits, tails and known message ids, and the log accepts further appends. Passes
/// trivially if the engine is not durable.
pub async fn a_restart_preserves_the_log(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let (position, first) = append(&*store, commit(stream(1), 1), BucketTail::EMPTY).await;
    for command in 2..100 {
        append_any(&*store, commit(stream(command % 7), command)).await;
    }
    let (log_id, layout) = (store.log_id(), store.layout());
    let heads = store.heads().await.expect("readable");
    let bucket = layout.bucket_of(&stream(1));
    let commits = store.read_bucket(bucket, Revision::EMPTY).await.expect("readable");
    let Some(store) = factory.restart(store).await else {
        return;
    };

    assert_eq!((store.log_id(), store.layout()), (log_id, layout));
    assert_eq!(store.heads().await, Ok(heads.clone()));
    assert_eq!(store.read_bucket(bucket, Revision::EMPTY).await, Ok(commits.clone()));
    let tail = commits.last().expect("not empty").tail();
    assert_eq!(store.bucket_tail(bucket).await, Ok(tail));
    let BucketTail { revision, hash } = first;
    let answer = store.append_at(commit(stream(1), 1), tail).await;
    assert_eq!(
        answer,
        Ok(AppendOutcome::Appended {
            position,
            revision,
            hash,
            duplicate: true
        })
    );
    let stale = store.append_at(commit(stream(1), 1_000), first).await;
    assert_eq!(
        stale,
        Ok(AppendOutcome::WrongExpectedVersion { current: tail.revision })
    );
    let (next, _) = append(&*store, commit(stream(1), 1_000), tail).await;
    assert_eq!(next.sequence, heads.sequence(next.partition).next());
    let again = factory.restart(store).await.expect("the first restart succeeded");
    assert_eq!(again.head(next.partition).await, Ok(next.sequence));
}
