//! Refusals and failures as problems with the stable codes of the outside's contract. The one place for it.

use citycode_domain::lifecycle::Refusal;
use citycode_holder_log::ExecuteError;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_service_kit::repeated::RepeatedInCalls;
use citycode_vault::VaultError;
use citycode_wire::request::InvalidRequest;

/// While the log takes nothing, every call meets the same trouble.
static NOT_DONE: RepeatedInCalls = RepeatedInCalls::new();
/// A command that is tried again every second, as the end of a relationship, meets the same message each time.
static CONFINED: RepeatedInCalls = RepeatedInCalls::new();
static NO_VAULT: RepeatedInCalls = RepeatedInCalls::new();

/// The problem of a refusal by a rule.
#[must_use]
pub fn problem_of_refusal(refusal: Refusal) -> Problem {
    let code = match refusal {
        Refusal::NotRegistered => Code::NotRegistered,
        Refusal::NoValidCode => Code::NoValidCode,
        Refusal::NotEligible => Code::NotEligible,
        Refusal::ChannelNotAllowed => Code::ChannelNotAllowed,
        Refusal::RelationshipUnknown => Code::RelationshipUnknown,
        Refusal::FamilyCodeRequired => Code::FamilyCodeRequired,
        Refusal::OnHold => Code::OnHold,
        Refusal::OfficerNeeded => Code::NotAllowed,
        Refusal::HolderOnly | Refusal::GuardianNeeded | Refusal::OwnGuardian | Refusal::TooMany => Code::InvalidRequest,
    };
    Problem::new(code, refusal.to_string())
}

/// The problem of a request with a field that cannot be taken.
#[must_use]
pub fn problem_of_request(invalid: InvalidRequest) -> Problem {
    Problem::new(Code::InvalidRequest, invalid.to_string())
}

/// The problem of a command that led to nothing.
#[must_use]
pub fn problem_of_execute<R: Into<Problem>>(error: ExecuteError<R>) -> Problem {
    match error {
        ExecuteError::Refused(refusal) => refusal.into(),
        ExecuteError::IdempotencyKeyReused => Problem::new(
            Code::IdempotencyKeyReused,
            "this command id was used before for another request; give every new request an id of its own",
        ),
        ExecuteError::Confined(position) => {
            // Positions are for operators: one tells in which partition a person is.
            if let Some(unreported) = CONFINED.trouble(&position.to_string()) {
                let why = "a message that is no commit confines its bucket";
                tracing::warn!(%position, unreported, "a change was refused: {why}");
            }
            Problem::new(
                Code::Unavailable,
                "the change was not made: a message that is no commit stands in this person's part of the log",
            )
            .with_fix("an operator has to look at it first (citycode log inspect); nobody else is affected")
            .with_outcome(Outcome::NotDone)
        }
        ExecuteError::NotDone(why) => {
            if let Some(unreported) = NOT_DONE.trouble(&why.to_string()) {
                tracing::error!(%why, unreported, "a command was not done");
            }
            Problem::new(Code::Unavailable, "the change was not made: the log took no commit")
                .with_fix("try again; the same command id is safe to use")
                .with_outcome(Outcome::NotDone)
        }
        ExecuteError::Unknown => Problem::change_unknown(),
    }
}

/// The problem where it cannot be told whether everything that was done is known.
#[must_use]
pub fn problem_of_catch_up(error: &ExecuteError<std::convert::Infallible>) -> Problem {
    tracing::error!(%error, "whether all that was done is known cannot be told");
    Problem::new(Code::Unavailable, "the log cannot be asked how far it goes").with_fix("try again")
}

/// The problem of a vault that cannot answer.
#[must_use]
pub fn problem_of_vault(error: &VaultError) -> Problem {
    if let Some(unreported) = NO_VAULT.trouble(&error.to_string()) {
        tracing::error!(%error, unreported, "the vault cannot answer");
    }
    Problem::new(Code::Unavailable, "the register of persons cannot be reached")
}
