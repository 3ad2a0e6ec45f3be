//! Policies in the log, so that audits recompute verdicts under the policy that was used.

use std::convert::Infallible;

use citycode_domain::event::{Event, PolicyAdopted};
use citycode_domain::ids::CommandId;
use citycode_domain::time::Timestamp;
use citycode_event_store::{EventStore, ReaderVersion};
use citycode_log_folds::policies_stream;

use crate::{Begun, CommandContext, ExecuteError, HolderLog};

/// The reader version that introduced policies and digests of scan records.
const AUDITABLE_SINCE: ReaderVersion = ReaderVersion(3);
/// All writers adopt a policy by the same command, so that the log has it once.
const CALLER: &str = "policy";

/// Whether policies and digests of scan records can be written to a log: whether it demands a reader version that knows
/// them.
#[must_use]
pub fn is_auditable(store: &dyn EventStore) -> bool {
    store.minimum_reader() >= AUDITABLE_SINCE
}

impl HolderLog {
    /// Appends a policy unless the log has it. The log must be [auditable](is_auditable).
    ///
    /// # Errors
    /// [`ExecuteError`]; repeat the call.
    pub async fn adopt_policy(&self, policy: &PolicyAdopted, now: Timestamp) -> Result<(), ExecuteError<Infallible>> {
        let context = CommandContext {
            caller: CALLER.into(),
            command_id: CommandId(*policy.digest.0.first_chunk().expect("a digest has 32 bytes")),
            request_digest: policy.digest.0,
            actor: CALLER.into(),
            trace_context: None,
            now,
            begun: Begun::default(),
        };
        if self
            .earlier_system::<Infallible>(&policies_stream(), &context)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let adopted = || Ok(vec![Event::PolicyAdopted(policy.clone())]);
        self.execute_system(policies_stream(), &context, adopted)
            .await
            .map(drop)
    }
}
