//! One append to its end: repeats after an unknown outcome, the fold, and what the caller hears.

use citycode_domain::event::Event;
use citycode_event_store::follow::FollowError;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, MessageId, NewCommit, Partition, Position, ReadError,
    RecordedCommit, Revision,
};

use crate::execute::{CommandContext, ExecuteError, Executed, HolderLog, not_done};
use citycode_log_folds::events_of;

/// How often the same bytes are sent again after an unknown outcome before the caller hears that it is unknown.
const MAX_REPEATS: usize = 8;

/// Where an append ended.
pub(crate) enum Appended {
    /// In the log, by this attempt.
    Here(Position),
    /// In the log already, by an earlier attempt of the same command.
    Before(Box<RecordedCommit>),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CatchUpError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Follow(#[from] FollowError),
}

impl HolderLog {
    /// One append, folded: the register has it when this returns. None where another change came first; then the
    /// register has that one.
    pub(crate) async fn append_folded<R>(
        &self,
        commit: NewCommit,
        expected: BucketTail,
        bucket: BucketId,
    ) -> Result<Option<Appended>, ExecuteError<R>> {
        let appended = self.append(commit, expected, bucket).await?;
        match &appended {
            Some(Appended::Here(position)) => {
                self.progress
                    .wait_for(*position)
                    .await
                    .map_err(|_| ExecuteError::Unknown)?;
            }
            Some(Appended::Before(_)) => {}
            None => {
                metrics::counter!("citycode_log_conflicts_total").increment(1);
                self.catch_up(bucket).await.map_err(not_done)?;
            }
        }
        Ok(appended)
    }

    /// What the caller hears of an append, once every follower that acknowledges has applied it.
    pub(crate) async fn answer<R>(
        &self,
        appended: Appended,
        events: Vec<Event>,
        context: &CommandContext,
    ) -> Result<Executed, ExecuteError<R>> {
        match appended {
            Appended::Here(position) => {
                self.acknowledge(position).await.map_err(|_| ExecuteError::Unknown)?;
                Ok(Executed {
                    events,
                    position: Some(position),
                    duplicate: false,
                })
            }
            Appended::Before(stored) => self.answer_stored(&stored, context).await,
        }
    }

    /// One append with its repeats; none where the bucket had moved. A crash right after the engine made it durable leaves a commit whose answer was
    /// never given: the caller's repeat finds it by its message id.
    async fn append<R>(
        &self,
        commit: NewCommit,
        expected: BucketTail,
        bucket: BucketId,
    ) -> Result<Option<Appended>, ExecuteError<R>> {
        let mut unknown_before = false;
        for _ in 0..=MAX_REPEATS {
            match self.store.append_at(commit.clone(), expected).await {
                Ok(AppendOutcome::Appended {
                    position,
                    duplicate: false,
                    ..
                }) => return Ok(Some(Appended::Here(position))),
                Ok(AppendOutcome::Appended { position, .. }) => {
                    // It is done, and only cannot be shown now.
                    let stored = self.store.read_at(position).await.map_err(|_| ExecuteError::Unknown)?;
                    let stored = stored.ok_or(ExecuteError::Unknown)?;
                    return Ok(Some(Appended::Before(Box::new(stored))));
                }
                Ok(AppendOutcome::WrongExpectedVersion { current }) if current == expected.revision => {
                    return Err(ExecuteError::NotDone(
                        "the register's fold is not of this log: restart".into(),
                    ));
                }
                Ok(AppendOutcome::WrongExpectedVersion { .. }) => {
                    // After an unknown outcome the one that moved the bucket may have been this very commit.
                    let stored = if unknown_before {
                        let found = self.find_commit(bucket, &commit.message_id).await;
                        found.map_err(|_| ExecuteError::Unknown)?
                    } else {
                        None
                    };
                    return Ok(stored.map(|stored| Appended::Before(Box::new(stored))));
                }
                Ok(AppendOutcome::Unknown) => {
                    metrics::counter!("citycode_log_unknown_outcomes_total").increment(1);
                    unknown_before = true;
                }
                Err(AppendError::IdempotencyKeyReused { .. }) => {
                    return Err(ExecuteError::IdempotencyKeyReused);
                }
                Err(error) if unknown_before => {
                    tracing::error!(%error, "an append of unknown outcome could not be repeated");
                    return Err(ExecuteError::Unknown);
                }
                Err(error) => return Err(not_done(error)),
            }
        }
        Err(ExecuteError::Unknown)
    }

    pub(crate) async fn find_commit(
        &self,
        bucket: BucketId,
        id: &MessageId,
    ) -> Result<Option<RecordedCommit>, ReadError> {
        let commits = self.store.read_bucket(bucket, Revision::EMPTY).await?;
        Ok(commits.into_iter().find(|stored| stored.commit.message_id == *id))
    }

    pub(crate) async fn answer_stored<R>(
        &self,
        stored: &RecordedCommit,
        context: &CommandContext,
    ) -> Result<Executed, ExecuteError<R>> {
        if stored.commit.request_digest.0 != context.request_digest {
            return Err(ExecuteError::IdempotencyKeyReused);
        }
        // It stands in the log: whatever fails from here on, the change was made.
        context.begun.set(true);
        self.progress
            .wait_for(stored.position)
            .await
            .map_err(|_| ExecuteError::Unknown)?;
        self.acknowledge(stored.position)
            .await
            .map_err(|_| ExecuteError::Unknown)?;
        // What stands there was done, whether or not it can be read.
        let events = events_of(stored).map_err(|_| ExecuteError::Unknown)?;
        Ok(Executed {
            events,
            position: Some(stored.position),
            duplicate: true,
        })
    }

    /// Waits until the register has everything that the bucket's partition holds now.
    pub(crate) async fn catch_up(&self, bucket: BucketId) -> Result<(), CatchUpError> {
        self.catch_up_in(bucket.partition).await
    }

    /// Waits until the register has everything that the partition holds now.
    pub(crate) async fn catch_up_in(&self, partition: Partition) -> Result<(), CatchUpError> {
        let sequence = self.store.head(partition).await?;
        self.progress.wait_for(Position { partition, sequence }).await?;
        Ok(())
    }

    async fn acknowledge(&self, position: Position) -> Result<(), FollowError> {
        for follower in &self.acknowledged_by {
            follower.wait_for(position).await?;
        }
        Ok(())
    }
}
