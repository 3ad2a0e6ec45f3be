//! Single use of assertions: each authorises one request.
//!
//! A use is registered before the command, durably and for all instances. A request that is sent again (same caller,
//! command id, content and assertion) is not a second use: it proceeds to the log, which repeats its answer. A request
//! without a command id never counts as a repeat.

use std::sync::Arc;

use citycode_assertion_uses::{AssertionUse, AssertionUses, Used};
use citycode_auth::Caller;
use citycode_auth::assertion::{AssertionError, Assertions, PersonProof};
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_service_kit::repeated::RepeatedInCalls;
use citycode_wire::request::InvalidRequest;
use prost::Message;

use crate::authorizer::Authorizer;
use crate::problems::problem_of_request;

/// Time after which a retry makes sense: the servers have elected a leader, or uses in a full register have expired.
const RETRY_SECONDS: u64 = 5;
/// While the register does not answer, every call fails in the same way.
static NO_REGISTER: RepeatedInCalls = RepeatedInCalls::new();

/// Verifies assertions and registers their uses.
pub struct AssertionVerifier {
    /// Checks signature, audience, time and person.
    pub assertions: Assertions,
    /// The register of used assertions.
    pub uses: Arc<dyn AssertionUses>,
}

/// A person whose authentication was checked. An assertion is not consumed yet.
pub struct AuthenticatedPerson {
    /// The authentication method, for the record.
    pub(crate) method: String,
    pub(crate) proof: Option<PersonProof>,
}

/// A command as it was received: parsed, with what identifies its message.
pub struct Received<C> {
    /// The command.
    pub command: C,
    /// Identifies the message for the use of its assertions.
    pub identity: RequestIdentity,
}

impl<C> Received<C> {
    /// Parses a message. `command_id` is the field of the message that a repetition has in common with it.
    ///
    /// # Errors
    /// `invalid_request`, or `invalid_name`, which name the field.
    pub fn parse<M>(
        caller: &Caller,
        method: &'static str,
        message: M,
        command_id: fn(&M) -> &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Self, Problem>
    where
        M: Message,
        C: TryFrom<M, Error = InvalidRequest>,
    {
        let identity = RequestIdentity::of(caller, method, command_id(&message), &message, entropy);
        let command = message.try_into().map_err(problem_of_request)?;
        Ok(Self { command, identity })
    }
}

/// Identifies a request for the use of its assertions: it distinguishes a repetition from another request with the same
/// assertion. It covers the whole message, as it was encoded, and so ID numbers: it must not be stored as it is.
#[derive(Clone)]
pub struct RequestIdentity(Box<blake3::Hasher>);

impl RequestIdentity {
    /// Identifies a message by its sender, the method that is called, its command id, and its encoded form. A message
    /// whose command id is empty is never a repetition.
    #[must_use]
    pub fn of(
        caller: &Caller,
        method: &'static str,
        command_id: &[u8],
        message: &impl Message,
        entropy: &dyn Entropy,
    ) -> Self {
        let mut identity = Self(Box::new(blake3::Hasher::new_derive_key("citycode request identity v1")));
        identity.add(caller.id.as_str().as_bytes());
        identity.add(method.as_bytes());
        if command_id.is_empty() {
            let drawn: [u8; 16] = entropy.array();
            identity.add(&drawn);
        } else {
            identity.add(command_id);
        }
        identity.add(&message.encode_to_vec());
        identity
    }

    /// The digest for the use of one assertion. `part` distinguishes several and is empty if there is only one.
    fn of_use(&self, part: &str) -> [u8; 32] {
        let mut identity = self.clone();
        if !part.is_empty() {
            identity.add(part.as_bytes());
        }
        *identity.0.finalize().as_bytes()
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }
}

impl Authorizer {
    /// Consumes the assertion for this request, durably, if the channel required one; returns the authentication
    /// method.
    ///
    /// # Errors
    /// `not_allowed` if it was used for another request, `unavailable` if the register does not answer.
    pub async fn consume_assertion(
        &self,
        authenticated: AuthenticatedPerson,
        request: &RequestIdentity,
    ) -> Result<String, Problem> {
        self.consume_one_assertion(authenticated, request, "").await
    }

    /// As [`Authorizer::consume_assertion`], for one of several assertions of a request.
    ///
    /// # Errors
    /// As [`Authorizer::consume_assertion`].
    pub async fn consume_one_assertion(
        &self,
        authenticated: AuthenticatedPerson,
        request: &RequestIdentity,
        part: &str,
    ) -> Result<String, Problem> {
        let AuthenticatedPerson { method, proof } = authenticated;
        if let (Some(proof), Some(verifier)) = (proof, &self.assertions) {
            let used = AssertionUse {
                assertion: proof.assertion,
                request: request.of_use(part),
                made_at: proof.made_at.0,
                expires_at: proof.refused_from.0,
            };
            let registered = verifier.uses.register(used, self.clock.now().0).await;
            match registered.map_err(|error| unavailable(&error))? {
                Used::Now | Used::Before => {}
                Used::ForAnother => {
                    tracing::warn!(
                        provider = proof.issuer,
                        "an assertion was presented again with another request"
                    );
                    return Err(AssertionError::Replayed.into());
                }
                Used::TooOld => return Err(AssertionError::OutsideWindow.into()),
            }
        }
        Ok(method)
    }
}

fn unavailable(error: &citycode_assertion_uses::Unavailable) -> Problem {
    if let Some(unreported) = NO_REGISTER.failed(&error.to_string()) {
        tracing::error!(%error, unreported, "the register of used assertions does not answer: assertions are refused");
    }
    Problem::new(
        Code::Unavailable,
        "cannot determine whether the person's assertion was used before",
    )
    // The use may have been written. The same assertion is accepted again only with the same command id.
    .with_fix("authenticate the person again, and send the request with the new assertion in a few seconds")
    .with_retry_after(RETRY_SECONDS)
    .with_outcome(Outcome::NotDone)
}

#[cfg(test)]
mod tests {
    use citycode_auth::CallerId;
    use citycode_service_kit::entropy::OsEntropy;
    use citycode_wire::proto::revocation::v1::ReportLossRequest;
    use citycode_wire::request::ReportLossCommand;

    use super::*;

    fn caller() -> Caller {
        Caller::new(CallerId::new("test", "kiosk").expect("an id"), Vec::new())
    }

    fn request(command_id: &[u8]) -> ReportLossRequest {
        ReportLossRequest {
            command_id: command_id.to_vec(),
            channel: "kiosk".into(),
            id_number: "11010519491231002X".into(),
            ..ReportLossRequest::default()
        }
    }

    fn received(message: ReportLossRequest) -> Result<Received<ReportLossCommand>, Problem> {
        Received::parse(
            &caller(),
            "report_loss",
            message,
            |message| &message.command_id,
            &OsEntropy,
        )
    }

    fn identity(message: ReportLossRequest) -> RequestIdentity {
        received(message).expect("a good request").identity
    }

    /// The register of uses outlives a release, so a repetition must have the same digest in the next one.
    #[test]
    fn the_digest_of_a_use_covers_caller_method_command_id_message_and_part() {
        let message = request(&[7; 16]);
        let (caller, encoded) = (caller(), message.encode_to_vec());
        let mut parts: Vec<&[u8]> = vec![caller.id.as_str().as_bytes(), b"report_loss", &[7; 16], &encoded];
        let digest = |parts: &[&[u8]]| {
            let mut hasher = blake3::Hasher::new_derive_key("citycode request identity v1");
            for part in parts {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
            *hasher.finalize().as_bytes()
        };
        let identity = identity(message.clone());
        assert_eq!(identity.of_use(""), digest(&parts));
        parts.push(b"guardian");
        assert_eq!(identity.of_use("guardian"), digest(&parts));
    }

    #[test]
    fn a_message_without_a_command_id_is_never_a_repetition() {
        let [one, other] = [(); 2].map(|()| identity(request(&[])));
        assert_ne!(one.of_use(""), other.of_use(""));
        let [one, other] = [(); 2].map(|()| identity(request(&[7; 16])));
        assert_eq!(one.of_use(""), other.of_use(""));
    }

    #[test]
    fn the_problem_of_an_invalid_field_names_it() {
        let problem = received(request(&[7; 15])).err().expect("refused");
        assert_eq!(problem.code(), Code::InvalidRequest);
        assert_eq!(problem.detail(), "command_id: has exactly 16 bytes");
    }
}
