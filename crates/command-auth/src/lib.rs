//! Authorisation of commands on behalf of a person: what issuer and revocation check before a command is decided.
//!
//! A call names a person by ID number, and says through which channel it acts and how the person was authenticated.
//! The [`Authorizer`] checks in this order, so that errors reveal nothing to an unauthorised caller (R31): the caller's
//! role, the channel, the limits, the form of the ID number, the person's assertion if the policy requires one, and
//! only then whether the person is registered. The result is a holder and a
//! [`CommandContext`](citycode_holder_log::CommandContext) for the log.
//!
//! What a command does is not decided here but by the domain, which each service calls.

mod authorizer;
mod digest;
mod parties;
mod problems;
mod single_use;

pub use authorizer::{Actor, Authorizer, CommandLimits};
pub use digest::RequestDigest;
pub use parties::{Parties, RequestedParties};
pub use problems::{problem_of_catch_up, problem_of_execute, problem_of_refusal, problem_of_request, problem_of_vault};
pub use single_use::{AssertionVerifier, AuthenticatedPerson, Received, RequestIdentity};
