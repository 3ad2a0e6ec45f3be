//! The authorizer: checks a call and derives from it a holder and a command context for the log.

use std::sync::Arc;

use citycode_auth::Caller;
use citycode_domain::event::Sealed;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{CommandId, HolderId};
use citycode_domain::policy::{ChannelPolicy, KindPolicy, Policy};
use citycode_domain::reason::ActReason;
use citycode_domain::time::Timestamp;
use citycode_holder_log::{Begun, CommandContext, HolderLog};
use citycode_service_kit::clock::{Clock, ClockTrust};
use citycode_service_kit::deadline;
use citycode_service_kit::entropy::{Draw, Entropy};
use citycode_service_kit::limits::{self, DistinctLimiter, RateLimiter};
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::repeated::RepeatedInCalls;
use citycode_service_kit::telemetry;
use citycode_vault::{HolderKey, PersonFile, Vault};
use citycode_wire::request::Authentication;

use crate::digest::RequestDigest;
use crate::problems::problem_of_vault;
use crate::single_use::{AssertionVerifier, AuthenticatedPerson};

/// Every call fails until the clock has caught up, so the log line is rate-limited.
static STEPPED_BACK: RepeatedInCalls = RepeatedInCalls::new();
/// AEAD context of sealed reasons: nothing else that is sealed under the same key can be opened as a reason.
const REASON_CONTEXT: &[u8] = b"citycode-reason-v1";

/// The checked actor of a command: a channel of the policy, or an officer or admin without a channel.
#[derive(Clone, Copy)]
pub struct Actor<'p> {
    /// The channel; `None` for an officer or admin.
    pub channel: Option<&'p ChannelPolicy>,
}

/// Limits against callers that enumerate ID numbers. A kiosk stays below them.
pub struct CommandLimits {
    per_caller: RateLimiter<String>,
    per_holder_and_kind: RateLimiter<(HolderId, u8)>,
    distinct_persons: DistinctLimiter<String>,
    hash_key: [u8; 32],
}

impl CommandLimits {
    /// The default limits; `entropy` yields the key of the hash by which ID numbers are counted.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self {
            per_caller: RateLimiter::new(limits::PER_CALLER, limits::REMEMBERED_KEYS),
            per_holder_and_kind: RateLimiter::new(limits::PER_HOLDER_AND_KIND, limits::REMEMBERED_KEYS),
            distinct_persons: DistinctLimiter::new(
                limits::DISTINCT_PER_CALLER,
                limits::DISTINCT_WINDOW,
                limits::REMEMBERED_CALLERS,
            ),
            hash_key: entropy.array(),
        }
    }
}

/// Authorises commands on behalf of a person, and holds what each of them needs.
pub struct Authorizer {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Maps ID numbers to holders and stores their personal data.
    pub vault: Arc<dyn Vault>,
    /// The writer of holders' event streams.
    pub log: Arc<HolderLog>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Verifies assertions; `None` if no identity provider is configured.
    pub assertions: Option<AssertionVerifier>,
    /// The limits.
    pub limits: CommandLimits,
}

impl Authorizer {
    /// The kind with this name.
    ///
    /// # Errors
    /// `unknown_kind`.
    pub fn kind(&self, name: &str) -> Result<&KindPolicy, Problem> {
        self.policy.kind_named(name).ok_or_else(|| {
            let known: Vec<_> = self.policy.kinds.iter().map(|kind| kind.name.as_str()).collect();
            Problem::new(
                Code::UnknownKind,
                format!("the policy has no such kind; it has {}", known.join(", ")),
            )
        })
    }

    /// The channel that a caller acts as: the named one, or else the caller's only channel.
    ///
    /// # Errors
    /// `not_allowed` for a channel that is not the caller's, `channel_not_allowed` for one that the policy lacks.
    pub fn channel(&self, caller: &Caller, name: Option<&str>) -> Result<&ChannelPolicy, Problem> {
        let unnamed = || Problem::new(Code::InvalidRequest, "the request names no channel");
        let name = name.or_else(|| caller.only_channel()).ok_or_else(unnamed)?;
        if !caller.may_channel(name) {
            return Err(Problem::new(Code::NotAllowed, "the caller may not act as this channel"));
        }
        self.policy.channel(name).ok_or_else(|| {
            let known: Vec<_> = self
                .policy
                .channels
                .iter()
                .map(|channel| channel.name.as_str())
                .collect();
            let detail = format!("the policy has no such channel; it has {}", known.join(", "));
            Problem::new(Code::ChannelNotAllowed, detail)
        })
    }

    /// The time of a command. It is refused while the wall clock cannot be trusted.
    ///
    /// # Errors
    /// `unavailable`.
    pub fn now(&self) -> Result<Timestamp, Problem> {
        match self.clock.trust() {
            ClockTrust::Trusted => Ok(Timestamp(self.clock.now().0)),
            ClockTrust::SteppedBack { by_seconds } => {
                if let Some(unreported) = STEPPED_BACK.failed("the wall clock stepped back") {
                    tracing::error!(
                        by_seconds,
                        unreported,
                        "the wall clock stepped back: changes are refused until it has caught up"
                    );
                }
                Err(Problem::new(
                    Code::Unavailable,
                    "this server's clock stepped back, so it makes no changes",
                )
                .with_fix("an operator must check the server's time synchronisation"))
            }
        }
    }

    /// Parses an ID number and counts it against the caller's limits.
    ///
    /// # Errors
    /// `rate_limited`, `invalid_id_number`.
    pub fn id_number(&self, caller: &Caller, text: &str, now: Timestamp) -> Result<IdNumber, Problem> {
        let today = citycode_policy_file::local_date(&self.policy, now);
        let id_number =
            IdNumber::parse(text, today).map_err(|invalid| Problem::new(Code::InvalidIdNumber, invalid.to_string()))?;
        if !caller.is_admin() {
            let monotonic = self.clock.monotonic();
            let hash = blake3::keyed_hash(&self.limits.hash_key, id_number.as_bytes());
            let value = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("8 of 32 bytes"));
            let caller = caller.id.as_str().to_owned();
            self.limits.per_caller.admit(&caller, monotonic).map_err(limited)?;
            self.limits
                .distinct_persons
                .admit(&caller, value, monotonic)
                .map_err(limited)?;
        }
        Ok(id_number)
    }

    /// Counts one change to a kind of a holder.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn count_change(&self, caller: &Caller, holder: HolderId, kind: &KindPolicy) -> Result<(), Problem> {
        if caller.is_admin() {
            return Ok(());
        }
        let key = (holder, kind.kind.number());
        self.limits
            .per_holder_and_kind
            .admit(&key, self.clock.monotonic())
            .map_err(limited)
    }

    /// Checks that the channel may act for this person: with an assertion if the policy requires one (R31). The
    /// assertion is consumed later, by [`Authorizer::consume_assertion`], after all checks that need no I/O.
    ///
    /// # Errors
    /// `not_allowed`.
    pub fn authenticate(
        &self,
        channel: &ChannelPolicy,
        authentication: &Authentication,
        id_number: &IdNumber,
    ) -> Result<AuthenticatedPerson, Problem> {
        if !channel.needs_assertion {
            let method = authentication.method.as_deref().unwrap_or("unspecified").to_owned();
            return Ok(AuthenticatedPerson { method, proof: None });
        }
        self.authenticate_by_assertion(authentication, id_number)
    }

    /// As [`Authorizer::authenticate`], but requires an assertion even if the policy does not.
    ///
    /// # Errors
    /// `not_allowed`.
    pub fn authenticate_by_assertion(
        &self,
        authentication: &Authentication,
        id_number: &IdNumber,
    ) -> Result<AuthenticatedPerson, Problem> {
        let Some(verifier) = &self.assertions else {
            return Err(Problem::new(
                Code::NotAllowed,
                "the channel needs an assertion for this, and no identity provider is configured",
            ));
        };
        let assertion = authentication.assertion.as_deref().unwrap_or_default();
        let checked = verifier
            .assertions
            .check(assertion, id_number.as_bytes(), self.clock.now());
        let proof = checked?;
        Ok(AuthenticatedPerson {
            method: proof.method.clone(),
            proof: Some(proof),
        })
    }

    /// The holder of an ID number. Call it only after the caller's right to ask is proved.
    ///
    /// # Errors
    /// `not_registered`, `unavailable`.
    pub async fn holder(&self, id_number: &IdNumber) -> Result<HolderId, Problem> {
        let found = self
            .vault
            .find(id_number)
            .await
            .map_err(|error| problem_of_vault(&error))?;
        found.ok_or_else(not_registered)
    }

    /// A family member named in a request, if one is named.
    ///
    /// # Errors
    /// `rate_limited`, `invalid_id_number`, `unavailable`.
    pub async fn guardian(
        &self,
        caller: &Caller,
        id_number: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<HolderId>, Problem> {
        let Some(id_number) = id_number else {
            return Ok(None);
        };
        let id_number = self.id_number(caller, id_number, now)?;
        self.guardian_of_number(&id_number).await.map(Some)
    }

    /// The family member with this ID number.
    ///
    /// For an unregistered person it returns a random holder id, which has no relationships: the rules then answer as
    /// for an unrelated registered person, so the answer does not reveal whether the number is registered (R31).
    pub(crate) async fn guardian_of_number(&self, id_number: &IdNumber) -> Result<HolderId, Problem> {
        let found = self.find_evenly(id_number).await?;
        Ok(found.unwrap_or_else(|| HolderId(self.entropy.array())))
    }

    /// A holder id that no holder has. It is the same for this ID number while the process runs, so that the limits for
    /// each holder count registered and unregistered persons alike.
    pub(crate) fn placeholder_holder(&self, id_number: &IdNumber) -> HolderId {
        let mut hasher = blake3::Hasher::new_keyed(&self.limits.hash_key);
        hasher.update(b"a holder whom nobody knows");
        hasher.update(id_number.as_bytes());
        let hash = hasher.finalize();
        HolderId(hash.as_bytes()[..16].try_into().expect("16 of 32 bytes"))
    }

    /// The key under which reasons about this person are sealed.
    ///
    /// # Errors
    /// `not_registered`, `unavailable`.
    pub async fn reason_key(&self, id_number: &IdNumber) -> Result<HolderKey, Problem> {
        let key = self.vault.reason_key(id_number).await;
        let key = key.map_err(|error| problem_of_vault(&error))?;
        key.ok_or_else(not_registered)
    }

    /// Seals a reason under a key that is erased with the person, and returns it with its digest, which is part of the
    /// request digest.
    #[must_use]
    pub fn seal_reason(&self, reason: &ActReason, key: &HolderKey) -> (Sealed, [u8; 32]) {
        let words = reason.as_str().as_bytes();
        let sealed = key.seal(REASON_CONTEXT, self.entropy.array(), words);
        (Sealed(sealed), key.digest(words))
    }

    /// The personal data of a holder.
    ///
    /// # Errors
    /// `not_registered`, `unavailable`.
    pub async fn open_person(&self, holder: HolderId) -> Result<PersonFile, Problem> {
        let file = self
            .vault
            .open(holder)
            .await
            .map_err(|error| problem_of_vault(&error))?;
        file.ok_or_else(not_registered)
    }

    /// The context of a command for the log. `actor` is the role in which the caller acts and the authentication
    /// method; a digest of the caller's id is appended, so that an auditor can distinguish callers. A command id is drawn
    /// where the request has none.
    #[must_use]
    pub fn context(
        &self,
        caller: &Caller,
        command_id: Option<CommandId>,
        meaning: RequestDigest,
        actor: &str,
        now: Timestamp,
    ) -> CommandContext {
        let command_id = command_id.unwrap_or_else(|| CommandId(self.entropy.array()));
        let caller_digest = blake3::hash(caller.id.as_str().as_bytes()).to_hex();
        CommandContext {
            caller: caller.id.as_str().to_owned(),
            command_id,
            request_digest: meaning.finish(),
            actor: format!("{actor};{}", &caller_digest[..8]),
            trace_context: telemetry::current_traceparent(),
            now,
            begun: deadline::current().map_or_else(Begun::default, |deadline| Begun::of(deadline.begun())),
        }
    }
}

fn not_registered() -> Problem {
    Problem::new(Code::NotRegistered, "no resident with this ID number is registered")
}

fn limited(limited: limits::Limited) -> Problem {
    let seconds = limited.retry_after.as_secs().saturating_add(1);
    Problem::new(Code::RateLimited, "too many requests in a short time").with_retry_after(seconds)
}
