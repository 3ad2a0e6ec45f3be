//! `ListCodes`: lists a holder's codes and their states.

use citycode_auth::Caller;
use citycode_command_auth::{Received, RequestedParties, problem_of_execute};
use citycode_domain::event::{Event, Slot};
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::{HolderState, SlotState, guardian_right};
use citycode_domain::name::mask;
use citycode_domain::status::Life;
use citycode_domain::time::Timestamp;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::answer::{code_life, standing_value};
use citycode_wire::proto::issuer::v1::{CodeState, ListCodesResponse};
use citycode_wire::request::ListCodesQuery;

use crate::Issuer;

impl Issuer {
    /// The last code of every kind of a holder, or only those of one guardian. Allowed through a channel, and for an
    /// officer, auditor or admin without one. Only a channel that acts for the holder gets the details.
    ///
    /// # Errors
    /// `not_allowed`, `invalid_id_number`, `not_registered`, `unavailable`.
    pub async fn list_codes(
        &self,
        caller: &Caller,
        request: Received<ListCodesQuery>,
    ) -> Result<ListCodesResponse, Problem> {
        let Received {
            command: query,
            identity,
        } = request;
        let guardian_id_number = query.guardian_id_number.as_deref();
        let now = self.authorizer.now()?;
        let reads_history = query.channel.is_none() && caller.may_read_history();
        let (holder, guardian, guardian_is_asserted) = if reads_history {
            let id_number = self.authorizer.id_number(caller, &query.id_number, now)?;
            let holder = self.authorizer.holder(&id_number).await?;
            let guardian = self.authorizer.guardian(caller, guardian_id_number, now).await?;
            (holder, guardian, false)
        } else {
            let requested = RequestedParties {
                caller,
                identity: &identity,
                channel: self.authorizer.channel(caller, query.channel.as_deref())?,
                authentication: &query.authentication,
                id_number: &query.id_number,
                guardian_id_number,
            };
            let parties = self.authorizer.parties(requested, now).await?;
            (parties.holder, parties.guardian, parties.guardian_is_asserted)
        };
        let state = self.current_state(holder).await?;
        // To a guardian who was authenticated by an assertion, an unregistered person looks like an unrelated one
        // (R31).
        if !state.is_known() && !guardian_is_asserted {
            return Err(Problem::new(
                Code::NotRegistered,
                "no resident with this ID number is registered",
            ));
        }
        let requested = |slot: &&SlotState| {
            let own = guardian.is_none() || slot.slot.guardian == guardian;
            own || (query.actionable && self.may_act(&state, slot, guardian, now))
        };
        let codes = state.slots.iter().filter(requested);
        let mut answer = ListCodesResponse {
            codes: codes.clone().map(|slot| self.code_state(slot, now)).collect(),
            guardian_recorded: guardian.is_some_and(|guardian| state.has_guardian(guardian)),
            ..ListCodesResponse::default()
        };
        // Whoever reads a history was not authenticated as the holder, to whom the details belong.
        if query.details && guardian.is_none() && !reads_history {
            let held: Vec<Option<Slot>> = codes.map(|slot| slot.held.then_some(slot.slot)).collect();
            self.add_details(&mut answer, holder, &state, &held).await?;
        }
        Ok(answer)
    }

    /// Adds what only the holder is told. `held` has an entry for each code: its slot, if that is on hold.
    async fn add_details(
        &self,
        answer: &mut ListCodesResponse,
        holder: HolderId,
        state: &HolderState,
        held: &[Option<Slot>],
    ) -> Result<(), Problem> {
        answer.standing = standing_value(state.standing).into();
        for guardian in &state.guardians {
            match self.authorizer.open_person(*guardian).await {
                Ok(person) => answer.guardians.push(mask(&person.name)),
                // Somebody who was erased acts for nobody any more.
                Err(problem) if problem.code() == Code::NotRegistered => {}
                Err(problem) => return Err(problem),
            }
        }
        if held.iter().all(Option::is_none) {
            return Ok(());
        }
        let history = self.authorizer.log.history(holder).await;
        let history = history.map_err(|error| problem_of_execute::<Problem>(error.without_refusal()))?;
        for (code, slot) in answer.codes.iter_mut().zip(held) {
            code.suspended_since = slot.and_then(|slot| suspended_since(&history, slot));
        }
        Ok(())
    }

    /// Whether a guardian may act on this code of the holder.
    fn may_act(&self, state: &HolderState, code: &SlotState, guardian: Option<HolderId>, now: Timestamp) -> bool {
        let kind = self.authorizer.policy.kind(code.slot.kind);
        let slot = kind.and_then(|kind| guardian_right::slot_for(state, kind, guardian, now).ok());
        slot == Some(code.slot)
    }

    fn code_state(&self, slot: &SlotState, now: Timestamp) -> CodeState {
        let kind = self
            .authorizer
            .policy
            .kind(slot.slot.kind)
            .map(|kind| kind.name.clone())
            .unwrap_or_default();
        let life = match slot.code.death {
            Some(death) => Life::Dead(death),
            None if slot.held => Life::Suspended,
            None => Life::Valid,
        };
        let life = code_life(life, now >= slot.code.expires_at);
        CodeState {
            code_id: slot.code.code_id.to_string(),
            kind,
            through_guardian: slot.slot.guardian.is_some(),
            issued_at: slot.code.issued_at.0,
            expires_at: slot.code.expires_at.0,
            state: life.into(),
            suspended_since: None,
        }
    }
}

/// When the hold of a slot began. A hold that is repeated while it lasts does not begin again.
fn suspended_since(history: &[(Timestamp, Event)], slot: Slot) -> Option<i64> {
    let mut since = None;
    for (at, event) in history {
        match event {
            Event::CodeSuspended(suspended) if suspended.code.slot == slot => since = since.or(Some(at.0)),
            Event::CodeReinstated(reinstated) if reinstated.slot == slot => since = None,
            Event::CodeRevoked(revoked) if revoked.code.slot == slot => since = None,
            _ => {}
        }
    }
    since
}
