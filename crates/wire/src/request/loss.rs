//! The report of a lost code (R14, R15).

use citycode_domain::ids::CommandId;

use super::person::{Authentication, authentication, given};
use super::{InvalidRequest, command_id};
use crate::proto::revocation::v1;

/// Reports a holder's code of a kind as lost.
#[derive(Clone, PartialEq, Eq)]
pub struct ReportLossCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the acting person was authenticated.
    pub authentication: Authentication,
    /// Name of the kind, which the policy resolves.
    pub kind: String,
    /// The holder's ID number, unchecked. Personal.
    pub id_number: String,
    /// The ID number of a guardian who acts for the holder, unchecked. Personal.
    pub guardian_id_number: Option<String>,
}

impl TryFrom<v1::ReportLossRequest> for ReportLossCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::ReportLossRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            command_id: command_id(&request.command_id)?,
            channel: given(request.channel),
            authentication: authentication("authentication.method", request.authentication)?,
            kind: request.kind,
            id_number: request.id_number,
            guardian_id_number: given(request.guardian_id_number),
        })
    }
}
