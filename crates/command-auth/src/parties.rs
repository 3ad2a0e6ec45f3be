//! The two people of a command: the holder, and the family member (guardian) who may act for the holder.
//!
//! The acting person must have been authenticated: if the request names a guardian, the assertion is checked against
//! the guardian. Such an assertion proves nothing about the holder, so the answer for an unregistered holder is the
//! same as for a registered holder to whom the guardian is not related (R31).

use citycode_auth::Caller;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::{HolderState, Refusal, guardian_right};
use citycode_domain::policy::{ChannelAct, ChannelPolicy, KindPolicy};
use citycode_domain::time::Timestamp;
use citycode_holder_log::CommandContext;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::request::Authentication;

use crate::authorizer::Authorizer;
use crate::problems::{problem_of_catch_up, problem_of_refusal, problem_of_vault};
use crate::single_use::RequestIdentity;

/// The people of a command as a request names them, before any check.
#[derive(Clone, Copy)]
pub struct RequestedParties<'a> {
    /// The sender of the request.
    pub caller: &'a Caller,
    /// What identifies the request for which an assertion is consumed.
    pub identity: &'a RequestIdentity,
    /// The channel through which it is requested.
    pub channel: &'a ChannelPolicy,
    /// How the acting person was authenticated.
    pub authentication: &'a Authentication,
    /// The holder's ID number.
    pub id_number: &'a str,
    /// The ID number of a family member who acts for the holder.
    pub guardian_id_number: Option<&'a str>,
}

/// The people of a command, checked.
pub struct Parties {
    /// The holder's ID number.
    pub id_number: IdNumber,
    /// The holder. If the person is not registered, this is a placeholder id that no holder has; that occurs only if
    /// [`Parties::guardian_is_asserted`].
    pub holder: HolderId,
    /// The family member who acts for the holder.
    pub guardian: Option<HolderId>,
    /// The method by which the acting person was authenticated.
    pub method: String,
    /// Whether an assertion authenticated the guardian, and therefore proves nothing about the holder.
    pub guardian_is_asserted: bool,
}

impl Authorizer {
    /// Checks the form of the ID numbers and the authentication of the acting person, then finds holder and guardian.
    ///
    /// # Errors
    /// `rate_limited`, `invalid_id_number`, `not_allowed`, `unavailable`; `not_registered`, unless an assertion proved a
    /// guardian.
    pub async fn parties(&self, requested: RequestedParties<'_>, now: Timestamp) -> Result<Parties, Problem> {
        let caller = requested.caller;
        let id_number = self.id_number(caller, requested.id_number, now)?;
        let guardian = requested.guardian_id_number;
        let guardian = guardian.map(|number| self.id_number(caller, number, now)).transpose()?;
        let actor = guardian.as_ref().unwrap_or(&id_number);
        let authenticated = self.authenticate(requested.channel, requested.authentication, actor)?;
        let method = self.consume_assertion(authenticated, requested.identity).await?;
        let guardian_is_asserted = requested.channel.needs_assertion && guardian.is_some();
        let found = if guardian_is_asserted {
            self.find_evenly(&id_number).await?
        } else {
            Some(self.holder(&id_number).await?)
        };
        let guardian = match guardian {
            Some(number) => Some(self.guardian_of_number(&number).await?),
            None => None,
        };
        Ok(Parties {
            holder: found.unwrap_or_else(|| self.placeholder_holder(&id_number)),
            id_number,
            guardian,
            method,
            guardian_is_asserted,
        })
    }

    pub(crate) async fn find_evenly(&self, id_number: &IdNumber) -> Result<Option<HolderId>, Problem> {
        let found = self.vault.find_evenly(id_number).await;
        found.map_err(|error| problem_of_vault(&error))
    }

    /// Refuses a command of a guardian who was authenticated by an assertion and has no right to it. It runs before the
    /// holder's record is opened and before the command is decided, so that an unrelated registered holder and an
    /// unregistered person cost the same work (R31). A command that may be a repeat passes: the log repeats its answer.
    ///
    /// # Errors
    /// The refusal of the rules; `unavailable`.
    pub async fn refuse_unrelated_guardian(
        &self,
        parties: &Parties,
        kind: &KindPolicy,
        channel: &ChannelPolicy,
        act: ChannelAct,
        context: &CommandContext,
    ) -> Result<(), Problem> {
        if !parties.guardian_is_asserted || self.log.may_be_repeat(parties.holder, context) {
            return Ok(());
        }
        // A refusal must take every acknowledged commit into account.
        let state = self.log.current_state(parties.holder).await;
        let state = state.map_err(|error| problem_of_catch_up(&error))?;
        if !state.is_known() {
            return Err(refusal_for_unrelated(parties.guardian, kind, channel, act, context.now));
        }
        let right = check_right(&state, parties.guardian, kind, channel, act, context.now);
        right.map_err(problem_of_refusal)
    }
}

impl Parties {
    /// Replaces `not_registered` by the refusal for an unrelated guardian if an assertion authenticated the guardian,
    /// who must not learn whether the holder is registered (R31).
    #[must_use]
    pub fn mask_unregistered(
        &self,
        problem: Problem,
        kind: &KindPolicy,
        channel: &ChannelPolicy,
        act: ChannelAct,
        now: Timestamp,
    ) -> Problem {
        if self.guardian_is_asserted && problem.code() == Code::NotRegistered {
            return refusal_for_unrelated(self.guardian, kind, channel, act, now);
        }
        problem
    }
}

/// The refusal of a guardian to whom the holder, registered or not, is not related.
fn refusal_for_unrelated(
    guardian: Option<HolderId>,
    kind: &KindPolicy,
    channel: &ChannelPolicy,
    act: ChannelAct,
    now: Timestamp,
) -> Problem {
    let right = check_right(&HolderState::default(), guardian, kind, channel, act, now);
    problem_of_refusal(right.err().unwrap_or(Refusal::RelationshipUnknown))
}

/// Checks that the channel may do this for codes of the kind, and the guardian for a holder in this state.
fn check_right(
    state: &HolderState,
    guardian: Option<HolderId>,
    kind: &KindPolicy,
    channel: &ChannelPolicy,
    act: ChannelAct,
    now: Timestamp,
) -> Result<(), Refusal> {
    if !channel.may(act, kind.kind) {
        return Err(Refusal::ChannelNotAllowed);
    }
    guardian_right::slot_for(state, kind, guardian, now).map(drop)
}
