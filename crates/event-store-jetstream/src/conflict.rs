//! After a refusal: is the commit in the log already, and where does its bucket end?
//!
//! A single server checks the expectation before it looks for duplicates, three servers the other way round. So a
//! refused append may be a retry of one that succeeded. Looked for, in this order, from the leader:
//! 1. the bucket's last commit: a retry with nobody in between;
//! 2. the first commit after the expectation: where this very append stands if it ever succeeded, however old;
//! 3. the bucket's commits of the dedup window before its last: the same command with another expectation.

use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, NewCommit, Position, ReadError, RecordedCommit, Revision,
    Sequence,
};
use jiff::{SignedDuration, Timestamp};

use crate::log_client::{LogClient, damaged};
use crate::read::Last;
use crate::settings::DEDUP_WINDOW_SECONDS;

type Answer = Result<AppendOutcome, AppendError>;

impl LogClient {
    /// The answer to an append whose expectation does not hold; unknown where nobody can be asked whether it is one that
    /// succeeded before.
    pub(crate) async fn settle_conflict(&self, bucket: BucketId, commit: &NewCommit, expected: BucketTail) -> Answer {
        match self.look_for(bucket, commit, expected).await {
            Err(AppendError::Read(ReadError::Unavailable(reason))) => {
                tracing::warn!(%bucket, reason, "whether a refused append is in the log already is not known");
                Ok(AppendOutcome::Unknown)
            }
            answer => answer,
        }
    }

    async fn look_for(&self, bucket: BucketId, commit: &NewCommit, expected: BucketTail) -> Answer {
        let Some(Last { commit: last, time }) = self.last_of(bucket).await? else {
            return Ok(AppendOutcome::WrongExpectedVersion {
                current: Revision::EMPTY,
            });
        };
        let current = last.revision;
        if last.foreign.is_some() && !self.manifest.layout.is_heartbeat_bucket(bucket) {
            return self.confined(bucket, commit, expected, &last).await;
        }
        if last.tail() == expected {
            // What was refused does hold: by a leader that is one no more, or that cannot read its disk.
            return Ok(AppendOutcome::Unknown);
        }
        if last.commit.message_id == commit.message_id {
            return answer_known(commit, &last);
        }
        if expected.revision < current
            && let Some(next) = self.next_of(bucket, expected.revision).await?
            && next.commit.message_id == commit.message_id
        {
            return answer_known(commit, &next);
        }
        let since = time.and_then(|time| window_start(&time));
        let recent = self.read_up_to(bucket, Revision::EMPTY, since.as_deref(), last).await?;
        match recent
            .iter()
            .rev()
            .find(|known| known.commit.message_id == commit.message_id)
        {
            Some(known) => answer_known(commit, known),
            None => Ok(AppendOutcome::WrongExpectedVersion { current }),
        }
    }

    /// The answer to an append to a bucket that ends with a foreign message: nobody appends there, but this one may stand
    /// before it.
    async fn confined(
        &self,
        bucket: BucketId,
        commit: &NewCommit,
        expected: BucketTail,
        last: &RecordedCommit,
    ) -> Answer {
        match self.next_of(bucket, expected.revision).await? {
            Some(next) if next.foreign.is_none() && next.commit.message_id == commit.message_id => {
                answer_known(commit, &next)
            }
            _ => Err(AppendError::Unavailable(format!(
                "bucket {bucket} takes no appends, because a foreign message stands at {}",
                last.position
            ))),
        }
    }

    /// The answer to an append whose message id the server knows, at `sequence`.
    pub(crate) async fn settle_known(&self, bucket: BucketId, commit: &NewCommit, sequence: Sequence) -> Answer {
        let partition = bucket.partition;
        match self.read_at(Position { partition, sequence }).await {
            Ok(Some(known)) if known.commit.message_id == commit.message_id => answer_known(commit, &known),
            Ok(_) => {
                let reason = "the server took it for a commit of another message id".to_owned();
                Err(damaged(partition, sequence, reason).into())
            }
            // It is there; only whether it is the same request cannot be told now.
            Err(ReadError::Unavailable(_)) => Ok(AppendOutcome::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

fn answer_known(commit: &NewCommit, known: &RecordedCommit) -> Answer {
    if known.commit.request_digest != commit.request_digest {
        return Err(AppendError::IdempotencyKeyReused {
            position: known.position,
        });
    }
    Ok(AppendOutcome::Appended {
        position: known.position,
        revision: known.revision,
        hash: known.hash,
        duplicate: true,
    })
}

/// The server's time one dedup window earlier. By the server's clock alone: ours may be ten minutes off.
fn window_start(time: &str) -> Option<String> {
    let last: Timestamp = time.parse().ok()?;
    let start = last.checked_sub(SignedDuration::from_secs(DEDUP_WINDOW_SECONDS)).ok()?;
    Some(start.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_begins_two_minutes_before_the_servers_time() {
        assert_eq!(
            window_start("2026-11-24T00:01:00.5Z").as_deref(),
            Some("2026-11-23T23:59:00.5Z")
        );
        assert_eq!(window_start("yesterday"), None);
    }
}
