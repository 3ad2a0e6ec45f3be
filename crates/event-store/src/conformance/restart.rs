//! What a restart keeps.

use super::{EngineFactory, append, append_any, commit, small_layout, stream};
use crate::{AppendOutcome, BucketTail, Revision};

/// After a restart the log is the same log: identity, commits, tails, known message ids; and it goes on.
/// Says nothing of an engine that forgets.
pub async fn a_restart_keeps_everything_and_goes_on(factory: &dyn EngineFactory) {
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
    let again = factory.restart(store).await.expect("it did not forget the first time");
    assert_eq!(again.head(next.partition).await, Ok(next.sequence));
}
