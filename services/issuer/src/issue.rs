//! `Issue`: issues a code; a valid code in the same slot is superseded by the same event (R3–R13, R16).
//!
//! The token is signed and sealed into the event; it leaves the process only after the append is acknowledged. After a
//! crash before that, no admissible token exists (a token that is not in the log is refused, R25); after a crash later,
//! a repeat with the same command id returns the token of the event.

use async_trait::async_trait;
use citycode_auth::Caller;
use citycode_command_auth::{
    Actor, CallerRequest, RequestDigest, RequestedParties, command_id, problem_of_execute, problem_of_refusal,
};
use citycode_domain::claims::DeviceKey;
use citycode_domain::event::{CodeIssued, Event, Sealed};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{CodeId, HolderId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::lifecycle::issue_code::{self, IssueCode, IssueDraw, PersonFacts, UnsignedCode};
use citycode_domain::policy::{ChannelAct, KindPolicy};
use citycode_domain::time::Timestamp;
use citycode_holder_log::{Decide, Executed};
use citycode_service_kit::entropy::Draw;
use citycode_service_kit::problem::{Code, Problem};
use citycode_token::{CodeClaimsToSign, id_commitment, is_sound_device_key, sign_code};
use citycode_vault::PersonFile;
use citycode_wire::proto::issuer::v1::{IssueRequest, IssueResponse};

use crate::answer::{issued_code, token_context, unseal};
use crate::{Attested, Issuer};

impl Issuer {
    /// Issues a code, which replaces a valid one of the same kind.
    ///
    /// # Errors
    /// Every problem of the API except those about places.
    pub async fn issue(&self, caller: &Caller, request: &IssueRequest) -> Result<IssueResponse, Problem> {
        let now = self.authorizer.now()?;
        let channel = self.authorizer.channel(caller, &request.channel)?;
        let kind = self.authorizer.kind(&request.kind)?;
        let device_key = device_key(kind, &request.device_key)?;
        let attested = self.attested(Actor { channel: Some(channel) }, request.attestation.as_ref())?;
        let requested = RequestedParties {
            channel,
            authentication: request.authentication.as_ref().into(),
            id_number: &request.id_number,
            guardian_id_number: &request.guardian_id_number,
            request: CallerRequest {
                caller,
                method: "issue",
                command_id: &request.command_id,
                message: request,
            },
        };
        let parties = self.authorizer.parties(requested, now).await?;
        let (holder, guardian) = (parties.holder, parties.guardian);
        let hidden = |problem| parties.mask_unregistered(problem, kind, channel, ChannelAct::Issue, now);
        self.authorizer.count_change(caller, holder, kind)?;
        let request_digest = RequestDigest::of("issue")
            .word(&kind.name)
            .word(&channel.name)
            .holder(Some(holder))
            .holder(guardian)
            .bytes(&request.device_key)
            .word(if attested.disability { "disability" } else { "" })
            .word(attested.group.as_deref().unwrap_or_default());
        let actor = format!("channel:{};{}", channel.name, parties.method);
        let context = self
            .authorizer
            .context(caller, command_id(&request.command_id)?, request_digest, &actor, now);
        self.authorizer
            .refuse_unrelated_guardian(&parties, kind, channel, ChannelAct::Issue, &context)
            .await?;
        let person = self.authorizer.open_person(holder).await.map_err(hidden)?;
        let facts = self.facts(&parties.id_number, &person, &attested, now);
        let command = IssueCode {
            kind,
            channel,
            guardian,
            person: facts,
        };
        let mut decision = IssueDecision {
            issuer: self,
            holder,
            id_number: &parties.id_number,
            person: &person,
            command,
            device_key,
            token: None,
        };
        let executed = self
            .authorizer
            .log
            .execute(holder, &context, &mut decision)
            .await
            .map_err(|error| hidden(problem_of_execute(error)))?;
        let token = decision.token.take();
        let (issued, token) = issued_code_and_token(&executed, token, &person)?;
        metrics::counter!("citycode_issuer_codes_issued_total").increment(u64::from(executed.is_new()));
        let print_for = request.print.then_some(&person);
        let code = issued_code(issued, kind, token, &self.authorizer.policy.status_base_uri, print_for);
        Ok(IssueResponse { code: Some(code) })
    }

    pub(crate) fn facts(
        &self,
        id_number: &IdNumber,
        person: &PersonFile,
        attested: &Attested,
        now: Timestamp,
    ) -> PersonFacts {
        PersonFacts {
            birth_date: id_number.birth_date(),
            today: citycode_policy_file::local_date(&self.authorizer.policy, now),
            disability: person.disability || attested.disability,
            group: person.group.is_some() || attested.group.is_some(),
        }
    }
}

/// The event of an issue and its token: the new one, or the stored one of an earlier attempt.
pub(crate) fn issued_code_and_token<'a>(
    executed: &'a Executed,
    fresh: Option<String>,
    person: &PersonFile,
) -> Result<(&'a CodeIssued, String), Problem> {
    let issued = executed.events.iter().find_map(|event| match event {
        Event::CodeIssued(issued) => Some(issued),
        _ => None,
    });
    let issued = issued.ok_or_else(Problem::internal)?;
    match fresh {
        Some(token) if !executed.duplicate => Ok((issued, token)),
        _ => Ok((issued, unseal(issued, &person.key)?)),
    }
}

/// The decision of an issue, which draws a status index and signs the token.
pub(crate) struct IssueDecision<'a> {
    pub(crate) issuer: &'a Issuer,
    pub(crate) holder: HolderId,
    pub(crate) id_number: &'a IdNumber,
    pub(crate) person: &'a PersonFile,
    pub(crate) command: IssueCode<'a>,
    pub(crate) device_key: Option<DeviceKey>,
    /// The token of the last decision; released only once its event is in the log.
    pub(crate) token: Option<String>,
}

#[async_trait]
impl Decide for IssueDecision<'_> {
    type Refusal = Problem;

    async fn decide(&mut self, state: &HolderState, now: Timestamp) -> Result<Vec<Event>, Problem> {
        let grant = issue_code::grant(state, &self.command, now).map_err(problem_of_refusal)?;
        let (issuer, authorizer) = (self.issuer, &self.issuer.authorizer);
        let partition = authorizer.log.partition_of(self.holder);
        let kind = self.command.kind;
        let drawn = issuer.leases.draw(
            &authorizer.log,
            &authorizer.entropy,
            partition,
            kind.kind,
            grant.expires_at,
            now,
        );
        let draw = IssueDraw {
            status: drawn.await?,
            code_id: CodeId(authorizer.entropy.array()),
        };
        let unsigned = issue_code::decide(state, &self.command, draw, now).map_err(problem_of_refusal)?;
        let (event, token) = self.sign_and_seal(unsigned)?;
        self.token = Some(token);
        Ok(vec![Event::CodeIssued(event)])
    }
}

impl IssueDecision<'_> {
    fn sign_and_seal(&self, unsigned: UnsignedCode) -> Result<(CodeIssued, String), Problem> {
        let (issuer, authorizer) = (self.issuer, &self.issuer.authorizer);
        let code = unsigned.code;
        let key = issuer.keys.signing_at(unsigned.issued_at);
        let key = key.ok_or_else(|| Problem::new(Code::Unavailable, "no signing key is in use"))?;
        let needs_commitment = authorizer.policy.needs_id_commitment(code.slot.kind);
        let commitment =
            needs_commitment.then(|| id_commitment(&issuer.id_check_key, code.code_id, self.id_number.as_bytes()));
        let claims = CodeClaimsToSign {
            code_id: code.code_id,
            kind: code.slot.kind,
            issued_at: unsigned.issued_at,
            expires_at: unsigned.expires_at,
            status: code.status,
            id_commitment: commitment,
            device_key: self.device_key,
        };
        let signed = sign_code(&claims, &authorizer.policy.status_base_uri, &key).map_err(|error| {
            tracing::error!(%error, "claims could not be signed");
            Problem::internal()
        })?;
        let sealed = self.person.key.seal(
            &token_context(code.code_id),
            authorizer.entropy.array(),
            signed.text.as_bytes(),
        );
        Ok((
            unsigned.into_event(key.key_id(), signed.digest, Sealed(sealed)),
            signed.text,
        ))
    }
}

/// Parses the phone's key of a request: 32 bytes are Ed25519, 33 a compressed P-256 point. Kinds that are presented
/// with a proof require one, others refuse it.
fn device_key(kind: &KindPolicy, bytes: &[u8]) -> Result<Option<DeviceKey>, Problem> {
    let invalid = |detail: &str| Problem::new(Code::InvalidRequest, detail.to_owned());
    if !kind.device_bound {
        return match bytes {
            [] => Ok(None),
            _ => Err(invalid("this kind is not bound to a phone and takes no phone key")),
        };
    }
    let key = match bytes.len() {
        0 => {
            return Err(invalid(
                "this kind is bound to a phone: the request must contain the phone's public key",
            ));
        }
        32 => DeviceKey::Ed25519(bytes.try_into().expect("32 bytes")),
        33 => DeviceKey::P256(bytes.try_into().expect("33 bytes")),
        _ => {
            return Err(invalid("a phone key is 32 bytes (Ed25519) or 33 (P-256, compressed)"));
        }
    };
    if is_sound_device_key(&key) {
        Ok(Some(key))
    } else {
        Err(invalid("the phone's key is not a valid public key"))
    }
}
