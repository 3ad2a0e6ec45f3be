//! That an assertion is good for one request.
//!
//! A use is registered before the act, durable for all instances. A request that is sent again (the same caller, command
//! id and words, the same assertion) is no second use: it goes on to the log, which answers it as it did before. Without a
//! command id nothing is a repeat.

use std::sync::Arc;

use citycode_assertion_uses::{AssertionUse, AssertionUses, Used};
use citycode_auth::Caller;
use citycode_auth::assertion::{AssertionError, Assertions, PersonProof};
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_service_kit::repeated::RepeatedInCalls;
use prost::Message;

use crate::person::Desk;

/// When to try again: servers have elected a leader, or some uses of a full register have expired.
const RETRY_SECONDS: u64 = 5;
/// While the register does not answer, every call meets it.
static NO_REGISTER: RepeatedInCalls = RepeatedInCalls::new();

/// Where assertions are checked and their uses are registered.
pub struct AssertionDesk {
    /// Whose assertions are taken.
    pub assertions: Assertions,
    /// Which were used.
    pub uses: Arc<dyn AssertionUses>,
}

/// How whoever acts was authenticated, checked. An assertion is not used up yet.
pub struct Authenticated {
    /// The word for the record.
    pub(crate) method: String,
    pub(crate) proof: Option<PersonProof>,
}

/// A request as its caller sends it: by it a repeat is told from another request with the same assertion.
pub struct CallersRequest<'a, M> {
    /// Who sends it.
    pub caller: &'a Caller,
    /// The method that is called.
    pub method: &'static str,
    /// The caller's name for this attempt; empty for none, and then nothing is a repeat.
    pub command_id: &'a [u8],
    /// Everything that it says.
    pub message: &'a M,
}

impl<M: Message> CallersRequest<'_, M> {
    /// A digest of the request, for the use of one of its assertions; `part` tells several apart, and is empty where there
    /// is one. Never to be stored as it is: ID numbers are in it.
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

impl Desk {
    /// Uses an assertion up for this request, durably, where the channel needed one; gives the word for the record.
    ///
    /// # Errors
    /// `not_allowed` where it was used for another request, `unavailable` where nobody can say.
    pub async fn use_up<M: Message>(
        &self,
        authenticated: Authenticated,
        request: &CallersRequest<'_, M>,
    ) -> Result<String, Problem> {
        self.use_up_part(authenticated, request, "").await
    }

    /// As [`Desk::use_up`], for one of several assertions of a request.
    ///
    /// # Errors
    /// As [`Desk::use_up`].
    pub async fn use_up_part<M: Message>(
        &self,
        authenticated: Authenticated,
        request: &CallersRequest<'_, M>,
        part: &str,
    ) -> Result<String, Problem> {
        let Authenticated { method, proof } = authenticated;
        if let (Some(proof), Some(desk)) = (proof, &self.assertions) {
            let used = AssertionUse {
                assertion: proof.assertion,
                request: request.identity(part, &*self.entropy),
                made_at: proof.made_at.0,
                expires_at: proof.refused_from.0,
            };
            let registered = desk.uses.register(used, self.clock.now().0).await;
            match registered.map_err(|error| unavailable(&error))? {
                Used::Now | Used::Before => {}
                Used::ForAnother => {
                    tracing::warn!(
                        provider = proof.issuer,
                        "an assertion was shown again for another request"
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
        tracing::error!(%error, unreported, "whether assertions were used before cannot be told: none is taken");
    }
    Problem::new(
        Code::Unavailable,
        "whether the person's assertion was used before cannot be told",
    )
    // Whether the use was written is not known. The same assertion is taken again only with the same command id.
    .with_fix("authenticate the person again, and send the request with the new assertion in a few seconds")
    .with_retry_after(RETRY_SECONDS)
    .with_outcome(Outcome::NotDone)
}
