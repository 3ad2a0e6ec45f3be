//! Maps refusals and failures to problems with the stable codes of the public API. No other file does so.

use citycode_domain::lifecycle::Refusal;
use citycode_holder_log::ExecuteError;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_service_kit::repeated::RepeatedInCalls;
use citycode_vault::VaultError;
use citycode_wire::request::{FieldFault, InvalidRequest};

/// While the log accepts no commits, every call fails in the same way.
static NOT_DONE: RepeatedInCalls = RepeatedInCalls::new();
/// A command that is retried every second, such as the end of a relationship, fails on the same message each time.
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

/// The problem of a request with an invalid field, which it names.
#[must_use]
pub fn problem_of_request(invalid: InvalidRequest) -> Problem {
    match invalid.fault {
        FieldFault::Name(name) => Problem::new(Code::InvalidName, name.to_string()),
        _ => Problem::invalid_request(&invalid),
    }
}

/// The problem of a command that failed.
#[must_use]
pub fn problem_of_execute<R: Into<Problem>>(error: ExecuteError<R>) -> Problem {
    match error {
        ExecuteError::Refused(refusal) => refusal.into(),
        ExecuteError::IdempotencyKeyReused => Problem::new(
            Code::IdempotencyKeyReused,
            "this command id was used before for another request; give every new request an id of its own",
        ),
        ExecuteError::Confined(position) => {
            // The position is logged for operators but not returned: it reveals the person's partition.
            if let Some(unreported) = CONFINED.failed(&position.to_string()) {
                tracing::warn!(%position, unreported, "a change was refused: a foreign message confines the bucket");
            }
            Problem::new(
                Code::Unavailable,
                "the change was not made: this person's part of the log contains a message that is not a commit",
            )
            .with_fix("an operator has to inspect it first (citycode log inspect); other persons are not affected")
            .with_outcome(Outcome::NotDone)
        }
        ExecuteError::NotDone(why) => {
            if let Some(unreported) = NOT_DONE.failed(&why.to_string()) {
                tracing::error!(%why, unreported, "a command was not executed");
            }
            Problem::new(
                Code::Unavailable,
                "the change was not made: the log did not accept the commit",
            )
            .with_fix("try again; the same command id is safe to use")
            .with_outcome(Outcome::NotDone)
        }
        ExecuteError::Unknown => Problem::change_unknown(),
    }
}

/// The problem if this process cannot prove that it has read every acknowledged commit.
#[must_use]
pub fn problem_of_catch_up(error: &ExecuteError<std::convert::Infallible>) -> Problem {
    tracing::error!(%error, "cannot determine whether every acknowledged commit has been read");
    Problem::new(Code::Unavailable, "the end of the log cannot be determined").with_fix("try again")
}

/// The problem of a vault that cannot answer.
#[must_use]
pub fn problem_of_vault(error: &VaultError) -> Problem {
    if let Some(unreported) = NO_VAULT.failed(&error.to_string()) {
        tracing::error!(%error, unreported, "the vault does not answer");
    }
    Problem::new(Code::Unavailable, "the register of persons cannot be reached")
}
