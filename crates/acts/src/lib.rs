//! Acts for a person: what issuer and revocation check before a command is decided.
//!
//! A call names a person by ID number and says through which channel it acts and how the person was authenticated.
//! The [`Desk`] checks in this order, so that an error tells a stranger nothing (R31): the caller's role, the
//! channel, the limits, the form of the ID number, the person's assertion where the policy asks for one, and only
//! then whether the person is known. What comes out is a holder and a [`CommandContext`](citycode_holder_log::CommandContext) for the log.
//!
//! It leaves out what an act means: that is the domain's, through each service.

mod digest;
mod parties;
mod person;
mod refusal;
mod single_use;

pub use digest::RequestMeaning;
pub use parties::{Asked, Parties};
pub use person::{Acting, Authentication, Desk, DeskLimits};
pub use refusal::{problem_of_catch_up, problem_of_execute, problem_of_refusal, problem_of_request, problem_of_vault};
pub use single_use::{AssertionDesk, Authenticated, CallersRequest};
