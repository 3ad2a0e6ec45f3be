//! `Revoke`, `Suspend` and `Reinstate`: the commands of an officer (R22). Each requires a reason.

use citycode_auth::Caller;
use citycode_command_auth::{problem_of_execute, problem_of_refusal};
use citycode_domain::event::{Event, Sealed, Slot};
use citycode_domain::lifecycle::{HolderState, Refusal, officer_hold, revoke_code};
use citycode_domain::policy::GuardianPolicy;
use citycode_domain::time::Timestamp;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::revocation::v1::{ReinstateResponse, RevokeResponse, SuspendResponse};
use citycode_wire::request::OfficerAct;

use crate::{Revocation, request_digest};

/// The domain's decision on a command: state, slot, sealed reason, now → events or a refusal.
type Decide = fn(&HolderState, Slot, Sealed, Timestamp) -> Result<Vec<Event>, Refusal>;

impl Revocation {
    /// Revokes a code permanently.
    ///
    /// # Errors
    /// `not_allowed`, `not_registered`, `no_valid_code`, `invalid_request` without a reason, `unavailable`.
    pub async fn revoke(&self, caller: &Caller, act: OfficerAct) -> Result<RevokeResponse, Problem> {
        let code_id = self.execute(caller, "revoke", act, revoke_code::decide).await?;
        Ok(RevokeResponse {
            code_id: code_id.unwrap_or_default(),
        })
    }

    /// Puts a hold on a kind and its code.
    ///
    /// # Errors
    /// As [`Revocation::revoke`].
    pub async fn suspend(&self, caller: &Caller, act: OfficerAct) -> Result<SuspendResponse, Problem> {
        let decide = officer_hold::decide_suspend;
        let code_id = self.execute(caller, "suspend", act, decide).await?;
        Ok(SuspendResponse {
            code_id: code_id.unwrap_or_default(),
        })
    }

    /// Lifts a hold.
    ///
    /// # Errors
    /// As [`Revocation::revoke`].
    pub async fn reinstate(&self, caller: &Caller, act: OfficerAct) -> Result<ReinstateResponse, Problem> {
        let decide = officer_hold::decide_reinstate;
        let code_id = self.execute(caller, "reinstate", act, decide).await?;
        Ok(ReinstateResponse { code_id })
    }

    /// Executes a command; returns the code that it changed, or the holder's current code if it changed nothing.
    async fn execute(
        &self,
        caller: &Caller,
        method: &'static str,
        act: OfficerAct,
        decide: Decide,
    ) -> Result<Option<String>, Problem> {
        if !caller.is_officer() {
            return Err(Problem::new(Code::NotAllowed, "only an officer may do this"));
        }
        let authorizer = &self.authorizer;
        let now = authorizer.now()?;
        let kind = authorizer.kind(&act.kind)?;
        let per_guardian = kind.guardian == GuardianPolicy::PerGuardian;
        if !per_guardian && act.guardian_id_number.is_some() {
            let detail = format!("codes of the kind {} have no guardian; omit the guardian", kind.name);
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        let id_number = authorizer.id_number(caller, &act.id_number, now)?;
        let holder = authorizer.holder(&id_number).await?;
        let guardian = act.guardian_id_number.as_deref();
        let guardian = authorizer.guardian(caller, guardian, now).await?;
        if per_guardian && guardian.is_none() {
            return Err(problem_of_refusal(Refusal::GuardianNeeded));
        }
        let slot = Slot {
            kind: kind.kind,
            guardian,
        };
        let key = authorizer.reason_key(&id_number).await?;
        let (reason, digest) = authorizer.seal_reason(&act.reason, &key);
        let request_digest = request_digest(method, &kind.name, [Some(holder), guardian], &digest);
        let context = authorizer.context(caller, act.command_id, request_digest, "officer;unspecified", now);
        let decide = |state: &HolderState, now| decide(state, slot, reason.clone(), now).map_err(problem_of_refusal);
        let executed = authorizer
            .log
            .execute(holder, &context, &decide)
            .await
            .map_err(problem_of_execute)?;
        metrics::counter!("citycode_revocation_officer_acts_total", "act" => method)
            .increment(u64::from(executed.is_new()));
        let changed = executed.events.iter().find_map(|event| match event {
            Event::CodeRevoked(revoked) => Some(Some(revoked.code.code_id)),
            Event::CodeSuspended(suspended) => Some(Some(suspended.code.code_id)),
            Event::CodeReinstated(reinstated) => Some(reinstated.code.map(|code| code.code_id)),
            _ => None,
        });
        let code_id = changed.unwrap_or_else(|| authorizer.log.state(holder).slot(slot).map(|slot| slot.code.code_id));
        Ok(code_id.map(|code_id| code_id.to_string()))
    }
}
