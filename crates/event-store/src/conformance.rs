//! The conformance suite that every engine passes: one function per property of the contract, and [`run_all`].
//!
//! The suite is public because each engine's own crate runs it. Every function gets an empty log from the factory and
//! panics if the property does not hold. The suite uses no random numbers and no clock.

mod appends;
mod concurrency;
mod foreign;
mod minimum_reader;
mod reads;
mod restart;
mod subscriptions;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use appends::{
    a_commit_is_appended_whole_with_all_that_it_carries, a_repeated_command_is_answered_with_the_first_position,
    a_wrong_tail_is_refused_by_revision_and_by_hash, invalid_commits_are_refused, stream_states_are_checked,
    the_same_id_with_another_request_is_refused,
};
pub use concurrency::{many_appenders_to_many_buckets_all_succeed, of_many_appenders_to_one_tail_exactly_one_wins};
pub use foreign::a_foreign_message_keeps_its_position_and_the_chain_continues;
pub use minimum_reader::the_minimum_reader_version_is_raised_and_never_lowered;
pub use reads::{a_bucket_is_a_verifiable_hash_chain, positions_are_gap_free_from_one, reads_past_the_head_are_empty};
pub use restart::a_restart_preserves_the_log;
pub use subscriptions::{
    a_position_past_the_head_is_refused, a_subscription_continues_live_without_gap_or_repeat,
    a_subscription_starts_after_an_exclusive_position,
};

use crate::{
    AppendOutcome, BucketTail, CommandId, EventData, EventStore, Layout, NewCommit, Position, ReaderVersion,
    RequestDigest, StreamName, StreamState, message_id,
};

/// Creates logs of one engine.
#[async_trait]
pub trait EngineFactory: Send + Sync {
    /// An empty log with this layout.
    async fn create(&self, layout: Layout) -> Arc<dyn EventStore> {
        self.create_at(layout, ReaderVersion::CURRENT).await
    }

    /// An empty log with this minimum reader version.
    async fn create_at(&self, layout: Layout, minimum_reader: ReaderVersion) -> Arc<dyn EventStore>;

    /// Closes and reopens the log as a restart does; `None` if the engine is not durable.
    async fn restart(&self, store: Arc<dyn EventStore>) -> Option<Arc<dyn EventStore>>;
}

/// Checks every property. The concurrent ones are effective only on a multi-threaded Tokio runtime.
pub async fn run_all(factory: &dyn EngineFactory) {
    a_commit_is_appended_whole_with_all_that_it_carries(factory).await;
    a_wrong_tail_is_refused_by_revision_and_by_hash(factory).await;
    a_repeated_command_is_answered_with_the_first_position(factory).await;
    the_same_id_with_another_request_is_refused(factory).await;
    invalid_commits_are_refused(factory).await;
    stream_states_are_checked(factory).await;
    positions_are_gap_free_from_one(factory).await;
    reads_past_the_head_are_empty(factory).await;
    a_bucket_is_a_verifiable_hash_chain(factory).await;
    of_many_appenders_to_one_tail_exactly_one_wins(factory).await;
    many_appenders_to_many_buckets_all_succeed(factory).await;
    a_subscription_starts_after_an_exclusive_position(factory).await;
    a_subscription_continues_live_without_gap_or_repeat(factory).await;
    a_position_past_the_head_is_refused(factory).await;
    a_restart_preserves_the_log(factory).await;
    a_foreign_message_keeps_its_position_and_the_chain_continues(factory).await;
    the_minimum_reader_version_is_raised_and_never_lowered(factory).await;
}

/// The layout of most tests: small, so that streams share buckets.
fn small_layout() -> Layout {
    Layout::new(4, 16).expect("within the limits")
}

fn stream(number: u64) -> StreamName {
    StreamName::new(&format!("holder-{number:032x}")).expect("a valid name")
}

/// A commit for tests: one event with this payload, decided at a fixed time. `number` determines its command id, and with
/// the stream its message id.
#[must_use]
pub fn sample_commit(stream: StreamName, number: u64, payload: impl Into<Bytes>) -> NewCommit {
    let mut command_id = CommandId([0; 16]);
    command_id.0[8..].copy_from_slice(&number.to_be_bytes());
    NewCommit {
        stream,
        events: vec![EventData {
            event_type: "ThingHappened".into(),
            version: 1,
            payload: payload.into(),
        }],
        message_id: message_id("conformance", &stream, &command_id),
        request_digest: RequestDigest([7; 32]),
        command_id,
        actor: "conformance".into(),
        causation_id: None,
        correlation_id: None,
        decided_at: 1_661_904_000,
        trace_context: None,
    }
}

/// A commit whose event contains the number of its command.
fn commit(stream: StreamName, command: u64) -> NewCommit {
    sample_commit(stream, command, format!("payload of command {command}").repeat(8))
}

/// Appends and expects success; returns the position and the bucket's new tail.
async fn append(store: &dyn EventStore, commit: NewCommit, expected: BucketTail) -> (Position, BucketTail) {
    match store.append_at(commit, expected).await {
        Ok(AppendOutcome::Appended {
            position,
            revision,
            hash,
            duplicate: false,
        }) => (position, BucketTail { revision, hash }),
        other => panic!("an append at the right tail was answered {other:?}"),
    }
}

async fn append_any(store: &dyn EventStore, commit: NewCommit) -> Position {
    match store.append_to_stream(commit, StreamState::Any).await {
        Ok(AppendOutcome::Appended { position, .. }) => position,
        other => panic!("an append without expectation was answered {other:?}"),
    }
}
