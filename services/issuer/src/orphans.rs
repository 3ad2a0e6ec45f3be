//! Relationships that outlived their guardian's erasure (R17, R28).
//!
//! An erasure ends the relationships that are recorded when it begins. Another issuer may record one concurrently, in
//! the event stream of another holder, where nothing prevents it. A register that folds both commits, in either
//! order, contains a relationship whose guardian is erased. Every issuer ends such relationships, and thereby the
//! family codes that depend on them. A crash loses nothing: the register finds them again.

use std::time::Duration;

use citycode_command_auth::{RequestDigest, problem_of_execute, problem_of_refusal};
use citycode_domain::ids::{CommandId, HolderId};
use citycode_domain::lifecycle::{HolderState, relationship};
use citycode_holder_log::{Begun, CommandContext};
use citycode_service_kit::entropy::Draw;
use citycode_service_kit::problem::Problem;
use citycode_service_kit::repeated::Repeated;

use crate::Issuer;

/// Interval of the checks. There is almost never anything to do, and then a check costs nothing.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl Issuer {
    /// Ends every relationship whose guardian is erased, continuously. Call it once the log has been folded; drop the
    /// future to stop.
    pub async fn keep_ending_orphaned(&self) {
        let mut tick = tokio::time::interval(CHECK_INTERVAL);
        let repeated = Repeated::default();
        loop {
            tick.tick().await;
            match self.end_orphaned().await {
                Ok(()) => repeated.over(),
                Err(problem) => {
                    let detail = problem.detail();
                    if let Some(unreported) = repeated.failed(detail, self.authorizer.clock.monotonic()) {
                        tracing::error!(
                            detail,
                            unreported,
                            "a relationship of an erased family member could not be ended yet"
                        );
                    }
                }
            }
        }
    }

    /// Ends every relationship whose guardian is erased. If one cannot be ended, for example because the person's
    /// bucket is confined, the others are ended nevertheless.
    ///
    /// # Errors
    /// The first error: `unavailable`. The next call retries what is left.
    pub async fn end_orphaned(&self) -> Result<(), Problem> {
        let mut ended = Ok(());
        for (dependent, guardian) in self.authorizer.log.register().orphaned_relationships() {
            ended = ended.and(self.end_one(dependent, guardian).await);
        }
        ended
    }

    async fn end_one(&self, dependent: HolderId, guardian: HolderId) -> Result<(), Problem> {
        let request_digest = RequestDigest::of("end_orphaned");
        let context = CommandContext {
            caller: "issuer".into(),
            command_id: CommandId(self.authorizer.entropy.array()),
            request_digest: request_digest.holder(Some(guardian)).holder(Some(dependent)).finish(),
            actor: "issuer".into(),
            trace_context: None,
            now: self.authorizer.now()?,
            begun: Begun::default(),
        };
        let decide = |state: &HolderState, now| {
            // Another issuer may have ended it.
            if !state.has_guardian(guardian) {
                return Ok(Vec::new());
            }
            relationship::decide_end(state, guardian, now).map_err(problem_of_refusal)
        };
        let ended = self.authorizer.log.execute(dependent, &context, &decide).await;
        if ended.map_err(problem_of_execute)?.is_new() {
            tracing::warn!("a relationship that outlived its guardian's erasure was ended");
        }
        Ok(())
    }
}
