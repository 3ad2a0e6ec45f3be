//! `Relate` and `Unrelate`: relationships between guardians and dependents (R13, R17). A channel that authenticated
//! both persons, or an officer, records one; the dependent through a channel, or an officer, ends one.

use citycode_auth::Caller;
use citycode_command_auth::{Received, RequestDigest, problem_of_execute, problem_of_refusal};
use citycode_domain::ids::{CommandId, HolderId};
use citycode_domain::lifecycle::{HolderState, Refusal, relationship};
use citycode_domain::time::Timestamp;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{RelateResponse, UnrelateResponse};
use citycode_wire::request::{RelateCommand, UnrelateCommand};

use crate::Issuer;

/// Who acts, as the log records it, if an officer does.
pub(crate) const OFFICER: &str = "officer;unspecified";

impl Issuer {
    /// Records a relationship; repeating it changes nothing.
    ///
    /// # Errors
    /// `not_allowed`, `invalid_id_number`, `not_registered`, `invalid_request`, `unavailable`.
    pub async fn relate(&self, caller: &Caller, request: Received<RelateCommand>) -> Result<RelateResponse, Problem> {
        let Received { command, identity } = request;
        let now = self.authorizer.now()?;
        let by_officer = caller.is_officer() && command.channel.is_none();
        let guardian_number = self.authorizer.id_number(caller, &command.guardian_id_number, now)?;
        let dependent_number = self.authorizer.id_number(caller, &command.dependent_id_number, now)?;
        let actor = if by_officer {
            OFFICER.to_owned()
        } else {
            let channel = self.authorizer.channel(caller, command.channel.as_deref())?;
            let (guardian, dependent) = (&command.guardian_authentication, &command.dependent_authentication);
            let guardian = self.authorizer.authenticate(channel, guardian, &guardian_number)?;
            let dependent = self.authorizer.authenticate(channel, dependent, &dependent_number)?;
            // Neither assertion is consumed before both are checked.
            self.authorizer
                .consume_one_assertion(guardian, &identity, "guardian")
                .await?;
            let method = self
                .authorizer
                .consume_one_assertion(dependent, &identity, "dependent")
                .await?;
            format!("channel:{};{method}", channel.name)
        };
        let guardian = self.authorizer.holder(&guardian_number).await?;
        let dependent = self.authorizer.holder(&dependent_number).await?;
        if !self.authorizer.log.state(guardian).is_known() && !self.current_state(guardian).await?.is_known() {
            return Err(Problem::new(Code::NotRegistered, "the family member is not registered"));
        }
        let request_digest = RequestDigest::of("relate")
            .holder(Some(guardian))
            .holder(Some(dependent));
        let context = self
            .authorizer
            .context(caller, command.command_id, request_digest, &actor, now);
        let decide = |state: &HolderState, _now| {
            relationship::decide_record(state, dependent, guardian).map_err(problem_of_refusal)
        };
        self.authorizer
            .log
            .execute(dependent, &context, &decide)
            .await
            .map_err(problem_of_execute)?;
        Ok(RelateResponse {})
    }

    /// Ends a relationship; the codes that depend on it become invalid.
    ///
    /// # Errors
    /// `not_allowed`, `invalid_id_number`, `not_registered`, `relationship_unknown`, `unavailable`.
    pub async fn unrelate(
        &self,
        caller: &Caller,
        request: Received<UnrelateCommand>,
    ) -> Result<UnrelateResponse, Problem> {
        let Received { command, identity } = request;
        let now = self.authorizer.now()?;
        let by_officer = caller.is_officer() && command.channel.is_none();
        let guardian_number = self.authorizer.id_number(caller, &command.guardian_id_number, now)?;
        let dependent_number = self.authorizer.id_number(caller, &command.dependent_id_number, now)?;
        let actor = if by_officer {
            OFFICER.to_owned()
        } else {
            let channel = self.authorizer.channel(caller, command.channel.as_deref())?;
            let dependent = self
                .authorizer
                .authenticate(channel, &command.authentication, &dependent_number)?;
            let method = self
                .authorizer
                .consume_one_assertion(dependent, &identity, "dependent")
                .await?;
            format!("channel:{};{method}", channel.name)
        };
        let guardian = self.authorizer.holder(&guardian_number).await;
        let dependent = self.authorizer.holder(&dependent_number).await?;
        let guardian = guardian.map_err(|problem| {
            // Only an officer learns whether a number is registered (R31): nobody who is not can be a guardian.
            if !by_officer && problem.code() == Code::NotRegistered {
                problem_of_refusal(Refusal::RelationshipUnknown)
            } else {
                problem
            }
        })?;
        self.end_relationship(caller, &actor, command.command_id, guardian, dependent, now)
            .await?;
        Ok(UnrelateResponse {})
    }

    pub(crate) async fn end_relationship(
        &self,
        caller: &Caller,
        actor: &str,
        command_id: Option<CommandId>,
        guardian: HolderId,
        dependent: HolderId,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let request_digest = RequestDigest::of("unrelate")
            .holder(Some(guardian))
            .holder(Some(dependent));
        let context = self.authorizer.context(caller, command_id, request_digest, actor, now);
        let decide =
            |state: &HolderState, now| relationship::decide_end(state, guardian, now).map_err(problem_of_refusal);
        self.authorizer
            .log
            .execute(dependent, &context, &decide)
            .await
            .map_err(problem_of_execute)?;
        Ok(())
    }
}
