//! Who an act is for and who acts: the holder, or a family member who acts for the holder.
//!
//! Whoever acts is the one who must have been authenticated: where a guardian is named, an assertion is checked against
//! the guardian. Such an assertion proves nothing of the holder, so a holder whom the city does not know is answered as
//! a known one of whom the guardian is no relative (R31).

use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::{HolderState, Refusal, guardian_right};
use citycode_domain::policy::{ChannelAct, ChannelPolicy, KindPolicy};
use citycode_domain::time::Timestamp;
use citycode_holder_log::CommandContext;
use citycode_service_kit::problem::{Code, Problem};
use prost::Message;

use crate::person::{Authentication, Desk};
use crate::refusal::{problem_of_catch_up, problem_of_refusal, problem_of_vault};
use crate::single_use::CallersRequest;

/// An act for a person, as a request names the people of it.
pub struct Asked<'a, M> {
    /// The channel through which it is asked.
    pub channel: &'a ChannelPolicy,
    /// How whoever acts was authenticated.
    pub authentication: Authentication<'a>,
    /// The holder's ID number.
    pub id_number: &'a str,
    /// The ID number of a family member who acts for the holder; empty for none.
    pub guardian_id_number: &'a str,
    /// The request: an assertion is used up for it.
    pub request: CallersRequest<'a, M>,
}

/// The people of an act, checked.
pub struct Parties {
    /// The holder's ID number.
    pub id_number: IdNumber,
    /// The holder; an id that nobody has where the city does not know the person, which only a guardian of
    /// [`Parties::guardian_is_asserted`] meets.
    pub holder: HolderId,
    /// Who acts for the holder.
    pub guardian: Option<HolderId>,
    /// The word for how whoever acts was authenticated.
    pub method: String,
    /// Whether an assertion proved the guardian, and so nothing of the holder.
    pub guardian_is_asserted: bool,
}

impl Desk {
    /// The people named in a request: the form of the numbers checked, the right to ask proved, holder and guardian found.
    ///
    /// # Errors
    /// `rate_limited`, `invalid_id_number`, `not_allowed`, `invalid_request`, `unavailable`; `not_registered`, unless an
    /// assertion proved a guardian.
    pub async fn parties<M: Message>(&self, asked: Asked<'_, M>, now: Timestamp) -> Result<Parties, Problem> {
        let caller = asked.request.caller;
        let id_number = self.id_number(caller, asked.id_number, now)?;
        let guardian = match asked.guardian_id_number {
            "" => None,
            number => Some(self.id_number(caller, number, now)?),
        };
        let acting = guardian.as_ref().unwrap_or(&id_number);
        let authenticated = self.authenticate(asked.channel, asked.authentication, acting)?;
        let method = self.use_up(authenticated, &asked.request).await?;
        let guardian_is_asserted = asked.channel.needs_assertion && guardian.is_some();
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
            holder: found.unwrap_or_else(|| self.stand_in(&id_number)),
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

    /// Refuses an act of a guardian, proved by an assertion, who has no right to it. It comes before the holder's record is
    /// opened and before a command is decided: a registered stranger and a person whom the city does not know cost the
    /// same work (R31). A command that may have been done before is left to the log, which answers it as it did then.
    ///
    /// # Errors
    /// The refusal of the rules; `unavailable`.
    pub async fn refuse_stranger(
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
        // A refusal rests on everything that the log holds.
        let state = self.log.current_state(parties.holder).await;
        let state = state.map_err(|error| problem_of_catch_up(&error))?;
        if !state.is_known() {
            return Err(refusal_of_stranger(parties.guardian, kind, channel, act, context.now));
        }
        let right = check_right(&state, parties.guardian, kind, channel, act, context.now);
        right.map_err(problem_of_refusal)
    }
}

impl Parties {
    /// A problem as whoever acts may see it: to a guardian proved by an assertion, a person who is not registered is
    /// like a stranger (R31).
    #[must_use]
    pub fn hide(
        &self,
        problem: Problem,
        kind: &KindPolicy,
        channel: &ChannelPolicy,
        act: ChannelAct,
        now: Timestamp,
    ) -> Problem {
        if self.guardian_is_asserted && problem.code() == Code::NotRegistered {
            return refusal_of_stranger(self.guardian, kind, channel, act, now);
        }
        problem
    }
}

/// What a guardian hears of a registered person of whom nothing else is known.
fn refusal_of_stranger(
    guardian: Option<HolderId>,
    kind: &KindPolicy,
    channel: &ChannelPolicy,
    act: ChannelAct,
    now: Timestamp,
) -> Problem {
    let right = check_right(&HolderState::default(), guardian, kind, channel, act, now);
    problem_of_refusal(right.err().unwrap_or(Refusal::RelationshipUnknown))
}

/// Whether the channel may do this for codes of the kind, and the guardian for a holder of this state.
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
