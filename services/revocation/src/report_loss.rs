//! `ReportLoss`: the holder reports a code as lost. This requires the person, not the code (R14, R15).

use citycode_auth::Caller;
use citycode_command_auth::{Received, RequestDigest, RequestedParties, problem_of_execute, problem_of_refusal};
use citycode_domain::event::Event;
use citycode_domain::lifecycle::{HolderState, report_loss};
use citycode_domain::policy::ChannelAct;
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::revocation::v1::ReportLossResponse;
use citycode_wire::request::ReportLossCommand;

use crate::Revocation;

impl Revocation {
    /// Invalidates the holder's valid code of a kind.
    ///
    /// # Errors
    /// `channel_not_allowed`, `no_valid_code`, and those of every command on behalf of a person.
    pub async fn report_loss(
        &self,
        caller: &Caller,
        request: Received<ReportLossCommand>,
    ) -> Result<ReportLossResponse, Problem> {
        let Received { command, identity } = request;
        let authorizer = &self.authorizer;
        let now = authorizer.now()?;
        let channel = authorizer.channel(caller, command.channel.as_deref())?;
        let kind = authorizer.kind(&command.kind)?;
        let requested = RequestedParties {
            caller,
            identity: &identity,
            channel,
            authentication: &command.authentication,
            id_number: &command.id_number,
            guardian_id_number: command.guardian_id_number.as_deref(),
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
        let context = authorizer.context(caller, command.command_id, request_digest, &actor, now);
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
