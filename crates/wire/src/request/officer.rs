//! Acts of officers and of the health authority: revoke, suspend, reinstate, standing.

use core::fmt;

use citycode_domain::ids::{CodeId, CommandId};
use citycode_domain::reason::ActReason;
use citycode_domain::standing::Standing;

use super::{FieldFault, InvalidRequest, code_id, command_id, reason};
use crate::answer;
use crate::proto::revocation::v1;

/// An officer's act on one kind of one holder (R22).
#[derive(Clone, PartialEq, Eq)]
pub struct OfficerAct {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// Name of the kind, which the policy resolves.
    pub kind: String,
    /// The holder's ID number, unchecked. Personal.
    pub id_number: String,
    /// The guardian's ID number, unchecked. Personal.
    pub guardian_id_number: Option<String>,
    /// The officer's reason. Personal.
    pub reason: ActReason,
}

impl fmt::Debug for OfficerAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfficerAct")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Sets a holder's standing, by the health authority (R21).
#[derive(Clone, PartialEq, Eq)]
pub struct StandingAct {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The holder's ID number, unchecked. Personal.
    pub id_number: String,
    /// The standing from now on.
    pub standing: Standing,
    /// The authority's reason. Personal.
    pub reason: ActReason,
}

impl fmt::Debug for StandingAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandingAct").finish_non_exhaustive()
    }
}

/// Revokes a code that an officer names by its id (R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevokeCodeAct {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The code.
    pub code_id: CodeId,
}

macro_rules! officer_act {
    ($($request:ident),+ $(,)?) => {
        $(impl TryFrom<v1::$request> for OfficerAct {
            type Error = InvalidRequest;

            fn try_from(request: v1::$request) -> Result<Self, InvalidRequest> {
                let v1::$request {
                    command_id: command,
                    kind,
                    id_number,
                    guardian_id_number,
                    reason: words,
                } = request;
                Ok(Self {
                    command_id: command_id(&command)?,
                    kind,
                    id_number,
                    guardian_id_number: Some(guardian_id_number).filter(|text| !text.is_empty()),
                    reason: reason(&words)?,
                })
            }
        })+
    };
}

officer_act!(RevokeRequest, SuspendRequest, ReinstateRequest);

impl TryFrom<v1::SetStandingRequest> for StandingAct {
    type Error = InvalidRequest;

    fn try_from(request: v1::SetStandingRequest) -> Result<Self, InvalidRequest> {
        let v1::SetStandingRequest {
            command_id: command,
            id_number,
            standing,
            reason: words,
        } = request;
        Ok(Self {
            command_id: command_id(&command)?,
            id_number,
            standing: answer::standing(standing).ok_or(InvalidRequest::new("standing", FieldFault::UnknownValue))?,
            reason: reason(&words)?,
        })
    }
}

/// The reason is checked and not kept: the key under which it would be sealed is the holder's.
impl TryFrom<v1::RevokeCodeRequest> for RevokeCodeAct {
    type Error = InvalidRequest;

    fn try_from(request: v1::RevokeCodeRequest) -> Result<Self, InvalidRequest> {
        let v1::RevokeCodeRequest {
            command_id: command,
            code_id: code,
            reason: words,
        } = request;
        reason(&words)?;
        Ok(Self {
            command_id: command_id(&command)?,
            code_id: code_id("code_id", &code)?,
        })
    }
}
