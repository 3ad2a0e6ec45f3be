//! After a refused append: whether the commit is already in the log, and where its bucket ends.
//!
//! A single server checks the expectation before it looks for duplicates, a cluster afterwards. So a refused append may
//! be a retry of one that succeeded. The commit is searched for in this order, always from the leader:
//! 1. the bucket's last commit: a retry with no other commit in between;
//! 2. the first commit after the expectation: the position of this very append if it ever succeeded, however long ago;
//! 3. the bucket's commits of the last dedup window: the same command with another expectation.

use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, Layout, NewCommit, Position, ReadError, RecordedCommit, Revision,
    Sequence,
};
use jiff::{SignedDuration, Timestamp};

use crate::commit_reader::{CommitReader, Last};
use crate::connection::damaged;
use crate::settings::DEDUP_WINDOW_SECONDS;

/// The answer to an append.
pub(crate) type Answer = Result<AppendOutcome, AppendError>;

/// The answer to an append whose expectation does not hold; `Unknown` if no server can be asked whether it is a repeat
/// of one that succeeded.
pub(crate) async fn settle_conflict(
    reader: &CommitReader,
    layout: &Layout,
    bucket: BucketId,
    commit: &NewCommit,
    expected: BucketTail,
) -> Answer {
    match search(reader, layout, bucket, commit, expected).await {
        Err(AppendError::Read(ReadError::Unavailable(reason))) => {
            tracing::warn!(%bucket, reason, "it is unknown whether a refused append is already in the log");
            Ok(AppendOutcome::Unknown)
        }
        answer => answer,
    }
}

async fn search(
    reader: &CommitReader,
    layout: &Layout,
    bucket: BucketId,
    commit: &NewCommit,
    expected: BucketTail,
) -> Answer {
    let Some(Last { commit: last, time }) = reader.last_of(bucket).await? else {
        return Ok(AppendOutcome::WrongExpectedVersion {
            current: Revision::EMPTY,
        });
    };
    let current = last.revision;
    if last.foreign.is_some() && !layout.is_heartbeat_bucket(bucket) {
        return settle_confined(reader, bucket, commit, expected, &last).await;
    }
    if last.tail() == expected {
        // The refused expectation holds: a deposed leader refused it, or one that cannot read its disk.
        return Ok(AppendOutcome::Unknown);
    }
    if last.commit.message_id == commit.message_id {
        return answer_known(commit, &last);
    }
    if expected.revision < current
        && let Some(next) = reader.next_of(bucket, expected.revision).await?
        && next.commit.message_id == commit.message_id
    {
        return answer_known(commit, &next);
    }
    let since = time.and_then(|time| window_start(&time));
    let recent = reader
        .read_up_to(bucket, Revision::EMPTY, since.as_deref(), last)
        .await?;
    match recent
        .iter()
        .rev()
        .find(|known| known.commit.message_id == commit.message_id)
    {
        Some(known) => answer_known(commit, known),
        None => Ok(AppendOutcome::WrongExpectedVersion { current }),
    }
}

/// The answer to an append to a bucket that ends with a foreign message. New appends are refused there, but this one
/// may have been written before the foreign message.
async fn settle_confined(
    reader: &CommitReader,
    bucket: BucketId,
    commit: &NewCommit,
    expected: BucketTail,
    last: &RecordedCommit,
) -> Answer {
    match reader.next_of(bucket, expected.revision).await? {
        Some(next) if next.foreign.is_none() && next.commit.message_id == commit.message_id => {
            answer_known(commit, &next)
        }
        _ => Err(AppendError::Unavailable(format!(
            "bucket {bucket} accepts no appends because of the foreign message at {}",
            last.position
        ))),
    }
}

/// The answer to an append whose message id the server already has, at `sequence`.
pub(crate) async fn settle_known(
    reader: &CommitReader,
    bucket: BucketId,
    commit: &NewCommit,
    sequence: Sequence,
) -> Answer {
    let partition = bucket.partition;
    match reader.read_at(Position { partition, sequence }).await {
        Ok(Some(known)) if known.commit.message_id == commit.message_id => answer_known(commit, &known),
        Ok(_) => {
            let reason = "the server reported it as a duplicate, but it has another message id".to_owned();
            Err(damaged(partition, sequence, reason).into())
        }
        // The commit exists, but it cannot be determined now whether it is of the same request.
        Err(ReadError::Unavailable(_)) => Ok(AppendOutcome::Unknown),
        Err(error) => Err(error.into()),
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

/// The server's time one dedup window earlier. Only the server's clock counts: this client's may be minutes off.
fn window_start(time: &str) -> Option<String> {
    let last: Timestamp = time.parse().ok()?;
    let start = last.checked_sub(SignedDuration::from_secs(DEDUP_WINDOW_SECONDS)).ok()?;
    Some(start.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_starts_two_minutes_before_the_servers_time() {
        assert_eq!(
            window_start("2026-11-24T00:01:00.5Z").as_deref(),
            Some("2026-11-23T23:59:00.5Z")
        );
        assert_eq!(window_start("yesterday"), None);
    }
}
