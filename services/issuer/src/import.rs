//! `Import`: registers the residents of a stream of rows and issues their codes, one commit per row.
//!
//! Rows are processed concurrently and answered in their order. A successful row is in the log before its answer is
//! sent. Importing the same file again issues nothing twice, because valid codes are left unchanged.

use std::sync::Arc;
use std::time::Duration;

use citycode_auth::Caller;
use citycode_command_auth::{Actor, RequestDigest, problem_of_request, problem_of_vault};
use citycode_domain::event::Event;
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::guardian_right;
use citycode_domain::lifecycle::issue_code::IssueCode;
use citycode_domain::policy::KindPolicy;
use citycode_domain::time::Timestamp;
use citycode_service_kit::deadline;
use citycode_service_kit::problem::{Code, Problem};
use citycode_vault::PersonFile;
use citycode_wire::proto::issuer::v1::{ImportOutcome, ImportResponse, IssuedCode};
use citycode_wire::proto::model;
use citycode_wire::request::{ImportOptions, ImportedResident, InvalidRequest};

use crate::Issuer;
use crate::answer::issued_code;
use crate::issue::{IssueDecision, Mode, issued_code_and_token};

/// How long one row may take, including its wait for other rows.
const ROW_WITHIN: Duration = Duration::from_secs(60);

/// An import in progress: issuer, caller and options.
pub(crate) struct Import {
    issuer: Arc<Issuer>,
    caller: Arc<Caller>,
    options: ImportOptions,
}

impl Import {
    /// Starts an import.
    ///
    /// # Errors
    /// `not_allowed`, `unknown_kind`, `channel_not_allowed`; `invalid_request` for kinds bound to a phone or a
    /// guardian.
    pub(crate) fn start(issuer: Arc<Issuer>, caller: Arc<Caller>, options: ImportOptions) -> Result<Self, Problem> {
        if !caller.is_admin() {
            return Err(Problem::new(Code::NotAllowed, "importing is an admin's act"));
        }
        issuer.authorizer.channel(&caller, options.channel.as_deref())?;
        let kind = issuer.authorizer.kind(&options.kind)?;
        if kind.device_bound {
            return Err(Problem::new(
                Code::InvalidRequest,
                "codes bound to a phone cannot be imported: each needs its phone",
            ));
        }
        Ok(Self {
            issuer,
            caller,
            options,
        })
    }

    /// Imports one row. It never returns an error: the problem of a row is part of its answer.
    pub(crate) async fn row(&self, line: u64, row: Result<ImportedResident, InvalidRequest>) -> ImportResponse {
        match deadline::change_within(ROW_WITHIN, self.try_row(row)).await {
            Ok((outcome, code)) => ImportResponse {
                line,
                outcome: outcome.into(),
                code,
                problem: None,
            },
            Err(problem) => {
                let problem = model::v1::Problem {
                    code: problem.code().as_str().to_owned(),
                    detail: problem.detail().to_owned(),
                    outcome: problem
                        .outcome()
                        .map_or_else(String::new, |outcome| outcome.as_str().to_owned()),
                };
                ImportResponse {
                    line,
                    outcome: ImportOutcome::Rejected.into(),
                    code: None,
                    problem: Some(problem),
                }
            }
        }
    }

    async fn try_row(
        &self,
        row: Result<ImportedResident, InvalidRequest>,
    ) -> Result<(ImportOutcome, Option<IssuedCode>), Problem> {
        let row = row.map_err(problem_of_request)?;
        let (issuer, authorizer, caller) = (&self.issuer, &self.issuer.authorizer, &self.caller);
        let now = authorizer.now()?;
        let channel = authorizer.channel(caller, self.options.channel.as_deref())?;
        let kind = authorizer.kind(&self.options.kind)?;
        let id_number = authorizer.id_number(caller, &row.id_number, now)?;
        let attested = issuer.attested(Actor { channel: Some(channel) }, row.attestation)?;
        let found = issuer.find_or_create(&id_number, &row.name, &attested).await?;
        if authorizer.log.state(found.holder).erased {
            // An erasure was interrupted: complete it. The row succeeds when it is sent again.
            authorizer
                .vault
                .erase(found.holder)
                .await
                .map_err(|error| problem_of_vault(&error))?;
            return Err(Problem::new(
                Code::Unavailable,
                "the person is being erased at this moment; import the row again",
            ));
        }
        let person = issuer.authorizer.open_person(found.holder).await?;
        let request_digest = RequestDigest::of("import")
            .word(&kind.name)
            .word(&channel.name)
            .holder(Some(found.holder));
        let actor = format!("channel:{};import", channel.name);
        let context = authorizer.context(caller, None, request_digest, &actor, now);
        let facts = issuer.facts(&id_number, &person, &attested, now);
        let command = IssueCode {
            kind,
            channel,
            guardian: None,
            person: facts,
        };
        let mode = Mode::ImportRow {
            reissue: self.options.reissue,
        };
        let decision = IssueDecision::new(issuer, found.holder, &id_number, &person, command, mode);
        let executed = issuer.execute_issue(&context, decision).await?;
        if !executed
            .events
            .iter()
            .any(|event| matches!(event, Event::CodeIssued(_)))
        {
            return Ok((
                ImportOutcome::Kept,
                self.existing_code(found.holder, kind, &person, now).await?,
            ));
        }
        let (issued, token) = issued_code_and_token(&executed, &person)?;
        metrics::counter!("citycode_issuer_codes_issued_total").increment(1);
        let print_for = self.options.print.then_some(&person);
        let code = issued_code(issued, kind, token, &authorizer.policy.status_base_uri, print_for);
        Ok((ImportOutcome::Issued, Some(code)))
    }

    /// The person's existing code, if prints were requested: repeating an interrupted import completes it, including
    /// its prints (R6). A code on hold is not printed again (R22).
    async fn existing_code(
        &self,
        holder: HolderId,
        kind: &KindPolicy,
        person: &PersonFile,
        now: Timestamp,
    ) -> Result<Option<IssuedCode>, Problem> {
        if !self.options.print {
            return Ok(None);
        }
        let state = self.issuer.authorizer.log.state(holder);
        let slot =
            guardian_right::slot_for(&state, kind, None, now).map_err(citycode_command_auth::problem_of_refusal)?;
        match state.alive(slot, now) {
            Some(slot) if !slot.held => Ok(Some(
                self.issuer.read_issued_code(&slot.code, kind, person, true).await?,
            )),
            _ => Ok(None),
        }
    }
}
