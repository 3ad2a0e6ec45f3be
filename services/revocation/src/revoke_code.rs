//! `RevokeCode`: an officer revokes a code by its id if its holder cannot be identified (R22): a person whom the vault
//! lost in a restore cannot be named by an ID number.
//!
//! The reason is required and checked like any other, but not stored: the key to seal it is the holder's, and was lost.

use std::sync::Arc;

use citycode_auth::Caller;
use citycode_command_auth::{RequestDigest, problem_of_execute, problem_of_refusal};
use citycode_domain::event::Sealed;
use citycode_domain::ids::{CodeId, HolderId};
use citycode_domain::lifecycle::{HolderState, Refusal, revoke_code};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::revocation::v1::RevokeCodeResponse;
use citycode_wire::request::RevokeCodeAct;

use crate::Revocation;

impl Revocation {
    /// Revokes a code permanently, regardless of its holder.
    ///
    /// # Errors
    /// `not_allowed`, `no_valid_code` if the log has no valid code with this id, `unavailable`.
    pub async fn revoke_code(&self, caller: &Caller, act: RevokeCodeAct) -> Result<RevokeCodeResponse, Problem> {
        if !caller.is_officer() {
            return Err(Problem::new(Code::NotAllowed, "only an officer may do this"));
        }
        let code_id = act.code_id;
        let now = self.authorizer.now()?;
        let holder = match self.holder_of(code_id).await? {
            Some(holder) => holder,
            None => {
                // A recently issued code may not be folded yet.
                let caught_up = self.authorizer.log.catch_up_with_all().await;
                caught_up.map_err(|error| problem_of_execute::<Problem>(error.without_refusal()))?;
                let found = self.holder_of(code_id).await?;
                found.ok_or_else(|| problem_of_refusal(Refusal::NoValidCode))?
            }
        };
        let request_digest = RequestDigest::of("revoke_code").bytes(&code_id.0);
        let context = self
            .authorizer
            .context(caller, act.command_id, request_digest, "officer;unspecified", now);
        let decide = |state: &HolderState, now| {
            let slot = state.slots.iter().find(|slot| slot.code.code_id == code_id);
            let slot = slot.ok_or_else(|| problem_of_refusal(Refusal::NoValidCode))?.slot;
            revoke_code::decide(state, slot, Sealed::default(), now).map_err(|refusal| match refusal {
                // An erased person has no valid code.
                Refusal::NotRegistered => problem_of_refusal(Refusal::NoValidCode),
                refusal => problem_of_refusal(refusal),
            })
        };
        let executed = self.authorizer.log.execute(holder, &context, &decide).await;
        let executed = executed.map_err(problem_of_execute)?;
        metrics::counter!("citycode_revocation_officer_acts_total", "act" => "revoke_code")
            .increment(u64::from(executed.is_new()));
        Ok(RevokeCodeResponse {
            code_id: code_id.to_string(),
        })
    }

    /// The holder of this code, as folded so far.
    async fn holder_of(&self, code_id: CodeId) -> Result<Option<HolderId>, Problem> {
        let authorizer = Arc::clone(&self.authorizer);
        let found = tokio::task::spawn_blocking(move || authorizer.log.register().holder_of_code(code_id)).await;
        found.map_err(|_| Problem::internal())
    }
}
