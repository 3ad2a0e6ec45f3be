//! `ListCodes`: lists a holder's codes and their states.

use citycode_auth::Caller;
use citycode_command_auth::{Received, RequestedParties};
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::{HolderState, SlotState, guardian_right};
use citycode_domain::status::Life;
use citycode_domain::time::Timestamp;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::answer::code_life;
use citycode_wire::proto::issuer::v1::{CodeState, ListCodesResponse};
use citycode_wire::request::ListCodesQuery;

use crate::Issuer;

impl Issuer {
    /// The last code of every kind of a holder, or only those of one guardian. Allowed through a channel, and for an
    /// officer, auditor or admin without one.
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
        let (holder, guardian, guardian_is_asserted) = if query.channel.is_none() && caller.may_read_history() {
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
        let codes = codes.map(|slot| self.code_state(slot, now)).collect();
        Ok(ListCodesResponse {
            codes,
            guardian_recorded: guardian.is_some_and(|guardian| state.has_guardian(guardian)),
        })
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
        }
    }
}
