//! `Issue`: issues a code; a valid code in the same slot is superseded by the same event (R3–R13, R16).
//!
//! A status index is reserved before the command is decided. The decision signs the token and seals it into the event;
//! the token leaves the process only after the append is acknowledged. After a crash before that, no admissible token
//! exists (a token that is not in the log is refused, R25); after a crash later, a repeat with the same command id returns
//! the token of the event.

use async_trait::async_trait;
use citycode_auth::Caller;
use citycode_command_auth::{
    Actor, Authorizer, Received, RequestDigest, RequestedParties, problem_of_execute, problem_of_refusal,
};
use citycode_domain::claims::DeviceKey;
use citycode_domain::event::{CodeIssued, Event, Sealed};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{CodeId, HolderId, ListFacts, Position};
use citycode_domain::lifecycle::issue_code::{self, IssueCode, IssueDraw, PersonFacts, UnsignedCode};
use citycode_domain::lifecycle::{HolderState, Refusal, guardian_right, register_holder};
use citycode_domain::policy::{ChannelAct, KindPolicy};
use citycode_domain::time::Timestamp;
use citycode_holder_log::{CommandContext, Decide, Decided, ExecuteError, Executed};
use citycode_service_kit::entropy::Draw;
use citycode_service_kit::problem::{Code, Problem};
use citycode_token::{CodeClaimsToSign, id_commitment, is_sound_device_key, sign_code};
use citycode_vault::PersonFile;
use citycode_wire::proto::issuer::v1::IssueResponse;
use citycode_wire::request::IssueCommand;

use crate::answer::{issued_code, token_context, unseal};
use crate::leases::Reservation;
use crate::{Attested, Issuer};

/// How often an issue is executed with an index of another list. A second time is needed if a commit of another writer,
/// or the clock, moves the code's expiry into another list between the reservation and the decision.
const MAX_RESERVATIONS: usize = 4;

impl Issuer {
    /// Issues a code, which replaces a valid one of the same kind.
    ///
    /// # Errors
    /// Every problem of the API except those about places.
    pub async fn issue(&self, caller: &Caller, request: Received<IssueCommand>) -> Result<IssueResponse, Problem> {
        let Received {
            command: requested,
            identity,
        } = request;
        let now = self.authorizer.now()?;
        let channel = self.authorizer.channel(caller, requested.channel.as_deref())?;
        let kind = self.authorizer.kind(&requested.kind)?;
        check_device_key(kind, requested.device_key.as_ref())?;
        let attested = self.attested(Actor { channel: Some(channel) }, requested.attestation)?;
        let parties = RequestedParties {
            caller,
            identity: &identity,
            channel,
            authentication: &requested.authentication,
            id_number: &requested.id_number,
            guardian_id_number: requested.guardian_id_number.as_deref(),
        };
        let parties = self.authorizer.parties(parties, now).await?;
        let (holder, guardian) = (parties.holder, parties.guardian);
        let hidden = |problem| parties.mask_unregistered(problem, kind, channel, ChannelAct::Issue, now);
        self.authorizer.count_change(caller, holder, kind)?;
        let request_digest = RequestDigest::of("issue")
            .word(&kind.name)
            .word(&channel.name)
            .holder(Some(holder))
            .holder(guardian)
            .bytes(requested.device_key.as_ref().map_or(&[], DeviceKey::as_bytes))
            .word(if attested.disability { "disability" } else { "" })
            .word(attested.group.as_deref().unwrap_or_default());
        let actor = format!("channel:{};{}", channel.name, parties.method);
        let context = self
            .authorizer
            .context(caller, requested.command_id, request_digest, &actor, now);
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
        let mode = Mode::Issue {
            device_key: requested.device_key,
        };
        let decision = IssueDecision::new(self, holder, &parties.id_number, &person, command, mode);
        let executed = self.execute_issue(&context, decision).await.map_err(hidden)?;
        let (issued, token) = issued_code_and_token(&executed, &person)?;
        metrics::counter!("citycode_issuer_codes_issued_total").increment(u64::from(executed.is_new()));
        let print_for = requested.print.then_some(&person);
        let code = issued_code(issued, kind, token, &self.authorizer.policy.status_base_uri, print_for);
        Ok(IssueResponse { code: Some(code) })
    }

    /// Executes an issue with an index that is reserved before the holder's lock is taken, so that no lease is appended
    /// under the lock. The index goes back to its block unless it was part of an append.
    pub(crate) async fn execute_issue<'a>(
        &'a self,
        context: &CommandContext,
        mut decision: IssueDecision<'a>,
    ) -> Result<Executed<Option<String>>, Problem> {
        let Authorizer { log, entropy, .. } = &*self.authorizer;
        // A refusal, a repeat or an existing code needs no index; `execute` decides on the latest state.
        let mut needed = match log.forecast(decision.holder, context, &decision) {
            Err(NotIssued::NeedsIndex(facts)) => Some(facts),
            _ => None,
        };
        for _ in 0..MAX_RESERVATIONS {
            if let Some(facts) = needed {
                decision.index = Some(self.leases.reserve(log, entropy, facts, context.now).await?);
            }
            match log.execute(decision.holder, context, &decision).await {
                Err(ExecuteError::Refused(NotIssued::NeedsIndex(facts))) => needed = Some(facts),
                executed => return executed.map_err(problem_of_execute),
            }
        }
        Err(problem_of_execute::<Problem>(ExecuteError::NotDone(
            "the list of the code changed with every decision; try again".into(),
        )))
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
    executed: &'a Executed<Option<String>>,
    person: &PersonFile,
) -> Result<(&'a CodeIssued, String), Problem> {
    let issued = executed.events.iter().find_map(|event| match event {
        Event::CodeIssued(issued) => Some(issued),
        _ => None,
    });
    let issued = issued.ok_or_else(Problem::internal)?;
    match executed.output.iter().flatten().next() {
        Some(token) => Ok((issued, token.clone())),
        None => Ok((issued, unseal(issued, &person.key)?)),
    }
}

/// The command of which the issue is a part.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// `Issue`: a code for a registered person, which replaces a valid one.
    Issue {
        /// The key of the phone to which the code is bound.
        device_key: Option<DeviceKey>,
    },
    /// A row of an import, which also registers the person if necessary.
    ImportRow {
        /// Whether a valid code is replaced; otherwise it stays, and no code is issued.
        reissue: bool,
    },
}

/// The decision of an issue, which signs and seals the token. Everything random is drawn before it; its output is the
/// token, if a code is issued.
pub(crate) struct IssueDecision<'a> {
    issuer: &'a Issuer,
    holder: HolderId,
    id_number: &'a IdNumber,
    person: &'a PersonFile,
    command: IssueCode<'a>,
    mode: Mode,
    code_id: CodeId,
    /// The nonce under which a token is sealed is derived from this and the token, since a decision on newer state may
    /// sign another token: one nonce must never seal two texts.
    nonce_seed: [u8; 32],
    index: Option<Reservation<'a>>,
}

/// Why no code is issued.
pub(crate) enum NotIssued {
    /// It is refused.
    Refused(Problem),
    /// It would be issued, but no index of a list for codes with these facts is reserved.
    NeedsIndex(ListFacts),
}

impl From<Refusal> for NotIssued {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(problem_of_refusal(refusal))
    }
}

impl From<Problem> for NotIssued {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<NotIssued> for Problem {
    fn from(not_issued: NotIssued) -> Self {
        match not_issued {
            NotIssued::Refused(problem) => problem,
            NotIssued::NeedsIndex(_) => Self::internal(),
        }
    }
}

#[async_trait]
impl Decide for IssueDecision<'_> {
    type Refusal = NotIssued;
    type Output = Option<String>;

    fn decide(&self, state: &HolderState, now: Timestamp) -> Result<Decided<Option<String>>, NotIssued> {
        match self.mode {
            Mode::Issue { device_key } => self.issue(state, Vec::new(), device_key, now),
            Mode::ImportRow { reissue } => {
                let (state, events) = registered(state, self.holder, now);
                let slot = guardian_right::slot_for(&state, self.command.kind, None, now)?;
                if !reissue && state.alive(slot, now).is_some() {
                    return Ok(Decided { events, output: None });
                }
                self.issue(&state, events, None, now)
            }
        }
    }

    async fn before_append(&self) -> Result<(), NotIssued> {
        if let Some(index) = &self.index {
            index.use_up();
        }
        Ok(())
    }
}

impl<'a> IssueDecision<'a> {
    /// A decision with its random draws, and without an index.
    pub(crate) fn new(
        issuer: &'a Issuer,
        holder: HolderId,
        id_number: &'a IdNumber,
        person: &'a PersonFile,
        command: IssueCode<'a>,
        mode: Mode,
    ) -> Self {
        let entropy = &issuer.authorizer.entropy;
        Self {
            issuer,
            holder,
            id_number,
            person,
            command,
            mode,
            code_id: CodeId(entropy.array()),
            nonce_seed: entropy.array(),
            index: None,
        }
    }

    /// Decides the issue after `events` of the same commit, which `state` contains.
    fn issue(
        &self,
        state: &HolderState,
        mut events: Vec<Event>,
        device_key: Option<DeviceKey>,
        now: Timestamp,
    ) -> Result<Decided<Option<String>>, NotIssued> {
        let grant = issue_code::grant(state, &self.command, now)?;
        let partition = self.issuer.authorizer.log.partition_of(self.holder);
        let facts = ListFacts::for_code(partition.0, grant.slot.kind, grant.expires_at);
        let facts = facts.ok_or_else(Problem::internal)?;
        let reserved = self.index.as_ref().and_then(|index| index.status_for(&facts));
        let draw = IssueDraw {
            status: reserved.ok_or(NotIssued::NeedsIndex(facts))?,
            code_id: self.code_id,
        };
        let unsigned = issue_code::decide(state, &self.command, draw, now)?;
        let (issued, token) = self.sign_and_seal(unsigned, device_key)?;
        events.push(Event::CodeIssued(issued));
        Ok(Decided {
            events,
            output: Some(token),
        })
    }

    fn sign_and_seal(
        &self,
        unsigned: UnsignedCode,
        device_key: Option<DeviceKey>,
    ) -> Result<(CodeIssued, String), Problem> {
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
            device_key,
        };
        let signed = sign_code(&claims, &authorizer.policy.status_base_uri, &key).map_err(|error| {
            tracing::error!(%error, "claims could not be signed");
            Problem::internal()
        })?;
        let token = signed.text.as_bytes();
        let nonce = sealing_nonce(&self.nonce_seed, token);
        let sealed = self.person.key.seal(&token_context(code.code_id), nonce, token);
        Ok((
            unsigned.into_event(key.key_id(), signed.digest, Sealed(sealed)),
            signed.text,
        ))
    }
}

/// A nonce that is random to everybody who lacks the seed, and differs for each token.
fn sealing_nonce(seed: &[u8; 32], token: &[u8]) -> [u8; 12] {
    let hash = blake3::keyed_hash(seed, token);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// The state of a holder who is registered first if necessary, and the events of that.
fn registered(state: &HolderState, holder: HolderId, now: Timestamp) -> (HolderState, Vec<Event>) {
    let mut state = state.clone();
    let events = register_holder::decide(&state, holder);
    for event in &events {
        // The position of the commit is not known yet; the registration does not use it.
        let position = Position::new(0, 0);
        state.apply(event, position, now);
    }
    (state, events)
}

/// Checks the phone's key of a request: kinds that are presented with a proof require one, others refuse it.
fn check_device_key(kind: &KindPolicy, key: Option<&DeviceKey>) -> Result<(), Problem> {
    let fault = match (kind.device_bound, key) {
        (false, None) => return Ok(()),
        (true, Some(key)) if is_sound_device_key(key) => return Ok(()),
        (false, Some(_)) => "this kind is not bound to a phone and takes no phone key",
        (true, None) => "this kind is bound to a phone: the request must contain the phone's public key",
        (true, Some(_)) => "the phone's key is not a valid public key",
    };
    Err(Problem::new(Code::InvalidRequest, fault))
}
