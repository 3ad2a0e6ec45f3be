//! Policies in the log, so that audits recompute verdicts under the policy that was used.

use std::convert::Infallible;

use citycode_domain::event::{Event, PolicyAdopted};
use citycode_domain::ids::CommandId;
use citycode_domain::time::Timestamp;
use citycode_event_store::{EventStore, ReaderVersion, RecordedCommit, Revision};
use citycode_log_folds::{events_of, policies_stream};

use crate::execute::not_done;
use crate::{Begun, CommandContext, ExecuteError, HolderLog};

/// The reader version that introduced policies and digests of scan records.
const AUDITABLE_SINCE: ReaderVersion = ReaderVersion(3);
/// The caller and actor of adoptions, whichever service makes them.
const CALLER: &str = "policy";

/// Whether policies and digests of scan records can be written to a log: whether it demands a reader version that knows
/// them.
#[must_use]
pub fn is_auditable(store: &dyn EventStore) -> bool {
    store.minimum_reader() >= AUDITABLE_SINCE
}

impl HolderLog {
    /// Appends a policy unless it is the one that the log adopted last. The log must be [auditable](is_auditable).
    ///
    /// # Errors
    /// [`ExecuteError`]; repeat the call.
    pub async fn adopt_policy(&self, policy: &PolicyAdopted, now: Timestamp) -> Result<(), ExecuteError<Infallible>> {
        let earlier = self.store().read_stream(&policies_stream(), Revision::EMPTY).await;
        let earlier = earlier.map_err(not_done)?;
        if earlier.last().is_some_and(|last| is_of(last, policy)) {
            return Ok(());
        }
        let context = CommandContext {
            caller: CALLER.into(),
            command_id: command_id(policy, earlier.len()),
            request_digest: policy.digest.0,
            actor: CALLER.into(),
            trace_context: None,
            now,
            begun: Begun::default(),
        };
        let adopted = || Ok(vec![Event::PolicyAdopted(policy.clone())]);
        self.execute_system(policies_stream(), &context, adopted)
            .await
            .map(drop)
    }
}

/// All writers adopt a policy after the same number of adoptions by the same command. The first adoption has the id that
/// earlier releases gave it.
fn command_id(policy: &PolicyAdopted, adoptions: usize) -> CommandId {
    let mut id = *policy.digest.0.first_chunk::<16>().expect("a digest has 32 bytes");
    if adoptions > 0 {
        id[8..].copy_from_slice(&(adoptions as u64).to_be_bytes());
    }
    CommandId(id)
}

fn is_of(commit: &RecordedCommit, policy: &PolicyAdopted) -> bool {
    let events = events_of(commit).unwrap_or_default();
    let is_same = |event: &Event| matches!(event, Event::PolicyAdopted(adopted) if adopted.digest == policy.digest);
    events.iter().any(is_same)
}
