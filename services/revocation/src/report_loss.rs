//! `ReportLoss`: the holder reports a code as lost. This requires the person, not the code (R14, R15).

use citycode_auth::Caller;
use citycode_command_auth::{
    CallerRequest, RequestDigest, RequestedParties, command_id, problem_of_execute, problem_of_refusal,
};
use citycode_domain::event::Event;
use citycode_domain::lifecycle::{HolderState, report_loss};
use citycode_domain::policy::ChannelAct;
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::revocation::v1::{ReportLossRequest, ReportLossResponse};

use crate::Revocation;

impl Revocation {
    /// Invalidates the holder's valid code of a kind.
    ///
    /// # Errors
    /// `channel_not_allowed`, `no_valid_code`, and those of every command on behalf of a person.
    pub async fn report_loss(
        &self,
        caller: &Caller,
        request: &ReportLossRequest,
    ) -> Result<ReportLossResponse, Problem> {
        let authorizer = &self.authorizer;
        let now = authorizer.now()?;
        let channel = authorizer.channel(caller, &request.channel)?;
        let kind = authorizer.kind(&request.kind)?;
        let requested = RequestedParties {
            channel,
            authentication: request.authentication.as_ref().into(),
            id_number: &request.id_number,
            guardian_id_number: &request.guardian_id_number,
            request: CallerRequest {
                caller,
                method: "report_loss",
                command_id: &request.command_id,
                message: request,
            },
        };
        let parties = authorizer.parties(requested, now).await?;
        let (holder, guardian) = (parties.holder, parties.guardian);
        authorizer.count_change(caller, holder, kind)?;
        let request_digest = RequestDigest::of("report_loss")
            .word(&kind.name)
            .word(&channel.name)
            .holder(Some(holder))
            .holder(guardian);
        let actor = format!("channel:{};{}", channel.name, parties.method);
        let context = authorizer.context(caller, command_id(&request.command_id)?, request_digest, &actor, now);
        authorizer
            .refuse_unrelated_guardian(&parties, kind, channel, ChannelAct::ReportLoss, &context)
            .await?;
        let decide = |state: &HolderState, now| {
            report_loss::decide(state, kind, channel, guardian, now).map_err(problem_of_refusal)
        };
        let executed = authorizer
            .log
            .execute(holder, &context, &decide)
            .await
            .map_err(|error| {
                let problem = problem_of_execute(error);
                parties.mask_unregistered(problem, kind, channel, ChannelAct::ReportLoss, now)
            })?;
        metrics::counter!("citycode_revocation_losses_total").increment(u64::from(executed.is_new()));
        let code_id = executed.events.iter().find_map(|event| match event {
            Event::CodeReportedLost(lost) => Some(lost.code.code_id.to_string()),
            _ => None,
        });
        Ok(ReportLossResponse {
            code_id: code_id.ok_or_else(Problem::internal)?,
        })
    }
}
