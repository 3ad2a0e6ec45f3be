//! Ends codes of people who are not in the vault. Such a person can register again, so their valid codes are suspended
//! or revoked first. Otherwise the same person would have two valid codes, and a loss report would affect only one
//! (R3). A family code depends on its guardian too, who would get another one as a new holder.

use std::collections::HashSet;

use citycode_command_auth::RequestDigest;
use citycode_domain::event::{CodeRevoked, CodeSuspended, Event, Sealed};
use citycode_domain::ids::{CodeId, CommandId, HolderId};
use citycode_domain::lifecycle::{HolderState, SlotState};
use citycode_domain::time::Timestamp;
use citycode_event_store::Position;
use citycode_holder_log::{Begun, CommandContext, ExecuteError, HolderLog};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_vault::{Vault, VaultError};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::vault_age::{VaultAgeError, unknown_among};

/// Holders whose codes are ended concurrently, enough for commits to share syncs.
const CONCURRENT: usize = 256;
/// Codes that an error message names.
const MAX_NAMED: usize = 16;

/// How a code is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It is suspended, and an officer can reinstate it.
    Suspended,
    /// It is revoked permanently.
    Revoked,
}

impl End {
    /// Whether it changes this code: a suspended one is not suspended again.
    fn changes(self, slot: &SlotState) -> bool {
        self == Self::Revoked || !slot.held
    }
}

/// The people whose codes are ended.
#[derive(Clone, Copy, Debug)]
pub enum AffectedPeople<'a> {
    /// All people.
    All,
    /// These people, as holders or as guardians.
    Of(&'a HashSet<HolderId>),
}

impl AffectedPeople<'_> {
    fn includes(self, holder: HolderId, slot: &SlotState) -> bool {
        match self {
            Self::All => true,
            Self::Of(people) => {
                let guardian = slot.slot.guardian;
                people.contains(&holder) || guardian.is_some_and(|guardian| people.contains(&guardian))
            }
        }
    }
}

/// Codes of one holder that are not dead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldersCodes {
    holder: HolderId,
    /// Ids of the codes.
    pub codes: Vec<CodeId>,
}

/// The codes that are not dead and that `end` would change. Codes that were ended before are not returned again.
pub fn codes_to_end(log: &HolderLog, people: AffectedPeople<'_>, end: End, now: Timestamp) -> Vec<HoldersCodes> {
    let holders = log.register().holders().into_iter();
    let found = holders.filter_map(|holder| {
        let (state, _) = log.register().get(holder)?;
        let slots = state.all_alive(now);
        let affected = slots.filter(|slot| people.includes(holder, slot) && end.changes(slot));
        let codes: Vec<CodeId> = affected.map(|slot| slot.code.code_id).collect();
        (!codes.is_empty()).then_some(HoldersCodes { holder, codes })
    });
    found.collect()
}

/// The number of codes that are not dead.
pub fn living_codes(log: &HolderLog, now: Timestamp) -> u64 {
    let holders = log.register().holders().into_iter();
    let of_each = holders.filter_map(|holder| Some(log.register().get(holder)?.0.all_alive(now).count() as u64));
    of_each.sum()
}

/// The holders and guardians of codes that are not dead who are missing from the vault. A person is stored in the vault
/// before the log registers them, so concurrent registrations are not reported.
///
/// # Errors
/// [`VaultError`].
pub async fn unknown_people(
    vault: &dyn Vault,
    log: &HolderLog,
    now: Timestamp,
) -> Result<HashSet<HolderId>, VaultError> {
    let mut people = HashSet::new();
    for holder in log.register().holders() {
        let Some((state, _)) = log.register().get(holder) else {
            continue;
        };
        for slot in state.all_alive(now) {
            people.insert(holder);
            people.extend(slot.slot.guardian);
        }
    }
    unknown_among(vault, people).await
}

/// Ends these codes, and returns how many were ended; codes that ended meanwhile are skipped. If a foreign message
/// confines a holder's bucket, all other codes are ended nevertheless.
///
/// # Errors
/// [`VaultAgeError::Log`]; some codes may be ended by then. It names the confined codes: no calls may be served while
/// these could become valid again in addition to a second code of the same person (R3).
pub async fn end_codes(
    log: &HolderLog,
    codes: Vec<HoldersCodes>,
    end: End,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<u64, VaultAgeError> {
    let ended = futures::stream::iter(codes).map(|codes| end_codes_of(log, codes, end, clock, entropy));
    let mut ended = ended.buffer_unordered(CONCURRENT);
    let (mut count, mut confined) = (0, Vec::new());
    while let Some(result) = ended.try_next().await? {
        match result {
            Ended::Codes(more) => count += more,
            Ended::Confined(position, codes) => confined.push((position, codes)),
        }
    }
    match confined.first() {
        None => Ok(count),
        Some((position, _)) => Err(VaultAgeError::Log(still_alive(*position, &confined))),
    }
}

/// The result for one holder's codes.
enum Ended {
    /// The number of ended codes.
    Codes(u64),
    /// A foreign message confines their bucket.
    Confined(Position, Vec<CodeId>),
}

fn still_alive(position: Position, confined: &[(Position, Vec<CodeId>)]) -> String {
    let codes = confined.iter().flat_map(|(_, codes)| codes);
    let codes: Vec<String> = codes.map(ToString::to_string).collect();
    let (named, count) = (codes[..codes.len().min(MAX_NAMED)].join(", "), codes.len());
    let more = if count > MAX_NAMED { " and others" } else { "" };
    format!(
        "{count} codes could not be ended, {named}{more}: foreign messages confine their buckets in the log, the first at \
         {position}; every other code was ended. Inspect it with citycode log inspect {position}, declare it with \
         citycode log declare-foreign, and then repeat this"
    )
}

async fn end_codes_of(
    log: &HolderLog,
    HoldersCodes { holder, codes }: HoldersCodes,
    end: End,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Ended, VaultAgeError> {
    let context = CommandContext {
        caller: "recovery".into(),
        command_id: CommandId(entropy.array()),
        request_digest: RequestDigest::of("unknown_to_vault").holder(Some(holder)).finish(),
        actor: "recovery".into(),
        trace_context: None,
        now: Timestamp(clock.now().0),
        begun: Begun::default(),
    };
    let decide = |state: &HolderState, now| Ok::<_, std::convert::Infallible>(endings(state, &codes, end, now));
    match log.execute(holder, &context, &decide).await {
        Ok(executed) => Ok(Ended::Codes(executed.events.len() as u64)),
        Err(ExecuteError::Confined(position)) => Ok(Ended::Confined(position, codes)),
        Err(error) => Err(VaultAgeError::Log(error.to_string())),
    }
}

/// The events that end these codes. They have no reason, because the key that would seal it was lost with the person.
fn endings(state: &HolderState, codes: &[CodeId], end: End, now: Timestamp) -> Vec<Event> {
    let affected = state
        .all_alive(now)
        .filter(|slot| codes.contains(&slot.code.code_id) && end.changes(slot));
    affected
        .map(|slot| {
            let (code, reason) = (slot.code_ref(), Sealed::default());
            match end {
                End::Suspended => Event::CodeSuspended(CodeSuspended { code, reason }),
                End::Revoked => Event::CodeRevoked(CodeRevoked { code, reason }),
            }
        })
        .collect()
}
