//! Properties of reads.

use super::{EngineFactory, append_any, commit, small_layout, stream};
use crate::{BucketId, CommitHash, Partition, Position, ReadError, Revision, Sequence, codec};

/// Sequences of every partition are 1, 2, 3, … and `read_at` finds each.
pub async fn positions_are_gap_free_from_one(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    for command in 0..200 {
        let position = append_any(&*store, commit(stream(command % 50), command)).await;
        assert_eq!(store.head(position.partition).await, Ok(position.sequence));
    }
    let heads = store.heads().await.expect("readable");
    assert_eq!(heads.commits(), 200);
    for (partition, head) in heads.iter() {
        for sequence in (1..=head.0).map(Sequence) {
            let position = Position { partition, sequence };
            assert_eq!(
                store
                    .read_at(position)
                    .await
                    .expect("readable")
                    .expect("no gap")
                    .position,
                position
            );
        }
    }
}

/// Reads past the head or at 0 return `None`; reads of a missing partition or bucket are errors.
pub async fn reads_past_the_head_are_empty(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let position = append_any(&*store, commit(stream(1), 1)).await;
    assert_eq!(
        store
            .read_at(Position {
                sequence: Sequence(0),
                ..position
            })
            .await,
        Ok(None)
    );
    assert_eq!(
        store
            .read_at(Position {
                sequence: Sequence(2),
                ..position
            })
            .await,
        Ok(None)
    );
    assert_eq!(
        store
            .read_at(Position {
                sequence: Sequence(u64::MAX),
                ..position
            })
            .await,
        Ok(None)
    );
    let no_partition = Partition(4);
    assert_eq!(
        store
            .read_at(Position {
                partition: no_partition,
                ..position
            })
            .await,
        Err(ReadError::NotInLayout)
    );
    let no_bucket = BucketId {
        partition: Partition(0),
        bucket: 16,
    };
    assert_eq!(
        store.read_bucket(no_bucket, Revision::EMPTY).await,
        Err(ReadError::NotInLayout)
    );
    assert_eq!(store.bucket_tail(no_bucket).await, Err(ReadError::NotInLayout));
    assert_eq!(store.head(no_partition).await, Err(ReadError::NotInLayout));
}

/// Each commit of a bucket carries the hash of the previous one, and its own hash is that of its bytes.
pub async fn a_bucket_is_a_verifiable_hash_chain(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    for command in 0..60 {
        append_any(&*store, commit(stream(command % 20), command)).await;
    }
    let layout = store.layout();
    let mut found = 0;
    for partition in layout.all_partitions() {
        for bucket in 0..16 {
            let bucket = BucketId { partition, bucket };
            let commits = store.read_bucket(bucket, Revision::EMPTY).await.expect("readable");
            let (mut previous, mut revision) = (CommitHash::NONE, Revision::EMPTY);
            for recorded in &commits {
                assert_eq!((recorded.bucket, recorded.previous_hash), (bucket, previous));
                assert!(recorded.revision > revision, "revisions increase");
                let (_, hash) = codec::encode(&recorded.commit, &previous).expect("it was appended");
                assert_eq!(recorded.hash, hash);
                (previous, revision) = (hash, recorded.revision);
            }
            if let [first, rest @ ..] = &commits[..] {
                assert_eq!(store.read_bucket(bucket, first.revision).await.expect("readable"), rest);
            }
            found += commits.len();
        }
    }
    assert_eq!(found, 60);
    let mine = store.read_stream(&stream(3), Revision::EMPTY).await.expect("readable");
    assert_eq!(mine.len(), 3);
    assert!(mine.iter().all(|recorded| recorded.commit.stream == stream(3)));
}
