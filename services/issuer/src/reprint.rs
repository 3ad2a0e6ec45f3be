//! `Reprint`: returns the existing code again, byte for byte, unsealed from the log (R6).

use citycode_auth::Caller;
use citycode_command_auth::{Received, RequestedParties, problem_of_execute, problem_of_refusal};
use citycode_domain::event::Event;
use citycode_domain::lifecycle::HeldCode;
use citycode_domain::lifecycle::reprint_code;
use citycode_domain::policy::{ChannelAct, KindPolicy};
use citycode_service_kit::problem::Problem;
use citycode_vault::PersonFile;
use citycode_wire::proto::issuer::v1::{IssuedCode, ReprintResponse};
use citycode_wire::request::ReprintCommand;

use crate::Issuer;
use crate::answer::{issued_code, unseal};

impl Issuer {
    /// Returns the holder's valid code of a kind again. It needs no old signing key.
    ///
    /// # Errors
    /// `channel_not_allowed`, `on_hold`, `no_valid_code`, and those of every command for a person.
    pub async fn reprint(
        &self,
        caller: &Caller,
        request: Received<ReprintCommand>,
    ) -> Result<ReprintResponse, Problem> {
        let Received { command, identity } = request;
        let now = self.authorizer.now()?;
        let channel = self.authorizer.channel(caller, command.channel.as_deref())?;
        let kind = self.authorizer.kind(&command.kind)?;
        let requested = RequestedParties {
            caller,
            identity: &identity,
            channel,
            authentication: &command.authentication,
            id_number: &command.id_number,
            guardian_id_number: command.guardian_id_number.as_deref(),
        };
        let parties = self.authorizer.parties(requested, now).await?;
        let hidden = |problem| parties.mask_unregistered(problem, kind, channel, ChannelAct::Reprint, now);
        // For an unregistered person this is the empty state of a placeholder id, read in the same way (R31).
        let state = self.current_state(parties.holder).await?;
        let code = reprint_code::decide(&state, kind, channel, parties.guardian, now);
        let code = code.map_err(|refusal| hidden(problem_of_refusal(refusal)))?;
        let person = self.authorizer.open_person(parties.holder).await.map_err(hidden)?;
        let code = self.read_issued_code(&code.code, kind, &person, command.print).await?;
        Ok(ReprintResponse { code: Some(code) })
    }

    /// Reads the token of a valid code from the log and unseals it. The calling method decides whether it may be
    /// returned.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read or the token cannot be opened.
    pub(crate) async fn read_issued_code(
        &self,
        code: &HeldCode,
        kind: &KindPolicy,
        person: &PersonFile,
        print: bool,
    ) -> Result<IssuedCode, Problem> {
        let events = self
            .authorizer
            .log
            .read_at(code.issued_position)
            .await
            .map_err(|error| problem_of_execute::<Problem>(error.without_refusal()))?;
        let issued = events.into_iter().find_map(|event| match event {
            Event::CodeIssued(issued) if issued.code.code_id == code.code_id => Some(issued),
            _ => None,
        });
        let issued = issued.ok_or_else(Problem::internal)?;
        let token = unseal(&issued, &person.key)?;
        let print_for = print.then_some(person);
        Ok(issued_code(
            &issued,
            kind,
            token,
            &self.authorizer.policy.status_base_uri,
            print_for,
        ))
    }
}
