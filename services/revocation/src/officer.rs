//! `Revoke`, `Suspend`, `Reinstate`: an officer's acts (R22). Each names a reason.

use citycode_auth::Caller;
use citycode_command_auth::{problem_of_execute, problem_of_refusal};
use citycode_domain::event::{Event, Sealed, Slot};
use citycode_domain::lifecycle::{HolderState, Refusal, officer_hold, revoke_code};
use citycode_domain::policy::GuardianPolicy;
use citycode_domain::time::Timestamp;
use citycode_holder_log::PureDecision;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::revocation::v1::{
    ReinstateRequest, ReinstateResponse, RevokeRequest, RevokeResponse, SuspendRequest, SuspendResponse,
};

use crate::{Revocation, request_digest};

/// The domain's decision of an act: state, slot, sealed reason, now → events or a refusal.
type DecideAct = fn(&HolderState, Slot, Sealed, Timestamp) -> Result<Vec<Event>, Refusal>;

/// The words of an officer's act, whichever it is.
struct Act<'a> {
    method: &'static str,
    command_id: &'a [u8],
    kind: &'a str,
    id_number: &'a str,
    guardian_id_number: &'a str,
    reason: &'a str,
}

macro_rules! act {
    ($method:literal, $request:expr) => {
        Act {
            method: $method,
            command_id: &$request.command_id,
            kind: &$request.kind,
            id_number: &$request.id_number,
            guardian_id_number: &$request.guardian_id_number,
            reason: &$request.reason,
        }
    };
}

impl Revocation {
    /// Ends a code for good.
    ///
    /// # Errors
    /// `not_allowed`, `not_registered`, `no_valid_code`, `invalid_request` without a reason, `unavailable`.
    pub async fn revoke(&self, caller: &Caller, request: &RevokeRequest) -> Result<RevokeResponse, Problem> {
        let code_id = self
            .officer_act(caller, act!("revoke", request), revoke_code::decide)
            .await?;
        Ok(RevokeResponse {
            code_id: code_id.unwrap_or_default(),
        })
    }

    /// Puts a hold on a kind and its code.
    ///
    /// # Errors
    /// As [`Revocation::revoke`].
    pub async fn suspend(&self, caller: &Caller, request: &SuspendRequest) -> Result<SuspendResponse, Problem> {
        let code_id = self
            .officer_act(caller, act!("suspend", request), officer_hold::decide_suspend)
            .await?;
        Ok(SuspendResponse {
            code_id: code_id.unwrap_or_default(),
        })
    }

    /// Lifts a hold.
    ///
    /// # Errors
    /// As [`Revocation::revoke`].
    pub async fn reinstate(&self, caller: &Caller, request: &ReinstateRequest) -> Result<ReinstateResponse, Problem> {
        let code_id = self
            .officer_act(caller, act!("reinstate", request), officer_hold::decide_reinstate)
            .await?;
        Ok(ReinstateResponse { code_id })
    }

    /// The code that the act reached; the holder's current one where it changed nothing.
    async fn officer_act(&self, caller: &Caller, act: Act<'_>, decide: DecideAct) -> Result<Option<String>, Problem> {
        if !caller.is_officer() {
            return Err(Problem::new(Code::NotAllowed, "this is an officer's act"));
        }
        let authorizer = &self.authorizer;
        let now = authorizer.now()?;
        let kind = authorizer.kind(act.kind)?;
        let per_guardian = kind.guardian == GuardianPolicy::PerGuardian;
        if !per_guardian && !act.guardian_id_number.is_empty() {
            let detail = format!(
                "codes of the kind {} are not kept by guardian; leave the guardian out",
                kind.name
            );
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        let id_number = authorizer.id_number(caller, act.id_number, now)?;
        let holder = authorizer.holder(&id_number).await?;
        let guardian = authorizer.guardian(caller, act.guardian_id_number, now).await?;
        if per_guardian && guardian.is_none() {
            return Err(problem_of_refusal(Refusal::GuardianNeeded));
        }
        let slot = Slot {
            kind: kind.kind,
            guardian,
        };
        let key = authorizer.reason_key(&id_number).await?;
        let (reason, digest) = authorizer.seal_reason(act.reason, &key)?;
        let request_digest = request_digest(act.method, &kind.name, [Some(holder), guardian], &digest);
        let context = authorizer.context(caller, act.command_id, request_digest, "officer;unspecified", now)?;
        let mut decide = PureDecision(|state: &HolderState, now| {
            decide(state, slot, reason.clone(), now).map_err(problem_of_refusal)
        });
        let executed = authorizer
            .log
            .execute(holder, &context, &mut decide)
            .await
            .map_err(problem_of_execute)?;
        metrics::counter!("citycode_revocation_officer_acts_total", "act" => act.method)
            .increment(u64::from(executed.is_new()));
        let reached = executed.events.iter().find_map(|event| match event {
            Event::CodeRevoked(revoked) => Some(Some(revoked.code.code_id)),
            Event::CodeSuspended(suspended) => Some(Some(suspended.code.code_id)),
            Event::CodeReinstated(reinstated) => Some(reinstated.code.map(|code| code.code_id)),
            _ => None,
        });
        let code_id = reached.unwrap_or_else(|| authorizer.log.state(holder).slot(slot).map(|slot| slot.code.code_id));
        Ok(code_id.map(|code_id| code_id.to_string()))
    }
}
