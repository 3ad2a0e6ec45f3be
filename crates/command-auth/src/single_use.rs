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
use prost::Message;

use crate::authorizer::Authorizer;

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

/// A request as its caller sends it, which distinguishes a repeat from another request with the same assertion.
pub struct CallerRequest<'a, M> {
    /// The sender.
    pub caller: &'a Caller,
    /// The method that is called.
    pub method: &'static str,
    /// The command id; if it is empty, the request never counts as a repeat.
    pub command_id: &'a [u8],
    /// The whole message.
    pub message: &'a M,
}

impl<M: Message> CallerRequest<'_, M> {
    /// A digest of the request for the use of one of its assertions. `part` distinguishes several assertions and is
    /// empty if there is only one. It must not be stored as it is, because it covers ID numbers.
    fn identity(&self, part: &str, entropy: &dyn Entropy) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("citycode request identity v1");
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        };
        let drawn: [u8; 16] = entropy.array();
        add(self.caller.id.as_str().as_bytes());
        add(self.method.as_bytes());
        add(if self.command_id.is_empty() {
            &drawn
        } else {
            self.command_id
        });
        add(&self.message.encode_to_vec());
        if !part.is_empty() {
            add(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

impl Authorizer {
    /// Consumes the assertion for this request, durably, if the channel required one; returns the authentication
    /// method.
    ///
    /// # Errors
    /// `not_allowed` if it was used for another request, `unavailable` if the register does not answer.
    pub async fn consume_assertion<M: Message>(
        &self,
        authenticated: AuthenticatedPerson,
        request: &CallerRequest<'_, M>,
    ) -> Result<String, Problem> {
        self.consume_one_assertion(authenticated, request, "").await
    }

    /// As [`Authorizer::consume_assertion`], for one of several assertions of a request.
    ///
    /// # Errors
    /// As [`Authorizer::consume_assertion`].
    pub async fn consume_one_assertion<M: Message>(
        &self,
        authenticated: AuthenticatedPerson,
        request: &CallerRequest<'_, M>,
        part: &str,
    ) -> Result<String, Problem> {
        let AuthenticatedPerson { method, proof } = authenticated;
        if let (Some(proof), Some(verifier)) = (proof, &self.assertions) {
            let used = AssertionUse {
                assertion: proof.assertion,
                request: request.identity(part, &*self.entropy),
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
    if let Some(unreported) = NO_REGISTER.trouble(&error.to_string()) {
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
