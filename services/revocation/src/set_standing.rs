//! `SetStanding`: the health authority sets a holder's standing (R21).

use citycode_auth::Caller;
use citycode_command_auth::{problem_of_execute, problem_of_refusal};
use citycode_domain::lifecycle::{HolderState, change_standing};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::revocation::v1::SetStandingResponse;
use citycode_wire::request::StandingAct;

use crate::{Revocation, request_digest};

impl Revocation {
    /// Sets a holder's standing, for all valid codes in one event.
    ///
    /// # Errors
    /// `not_allowed`, `not_registered`, `invalid_request` without a reason or standing, `unavailable`.
    pub async fn set_standing(&self, caller: &Caller, act: StandingAct) -> Result<SetStandingResponse, Problem> {
        if !(caller.is_health_authority() || caller.is_admin()) {
            return Err(Problem::new(
                Code::NotAllowed,
                "only the health authority may set a standing",
            ));
        }
        let authorizer = &self.authorizer;
        let now = authorizer.now()?;
        let standing = act.standing;
        let id_number = authorizer.id_number(caller, &act.id_number, now)?;
        let holder = authorizer.holder(&id_number).await?;
        let key = authorizer.reason_key(&id_number).await?;
        let (reason, digest) = authorizer.seal_reason(&act.reason, &key);
        let request_digest = request_digest("set_standing", standing.name(), [Some(holder), None], &digest);
        let context = authorizer.context(
            caller,
            act.command_id,
            request_digest,
            "health_authority;unspecified",
            now,
        );
        let decide = |state: &HolderState, now| {
            change_standing::decide(state, standing, reason.clone(), now).map_err(problem_of_refusal)
        };
        let executed = authorizer
            .log
            .execute(holder, &context, &decide)
            .await
            .map_err(problem_of_execute)?;
        metrics::counter!("citycode_revocation_standings_total").increment(u64::from(executed.is_new()));
        Ok(SetStandingResponse {})
    }
}
