//! Codes of people whom the vault does not know: such a person may register again, so the codes that live are suspended or
//! revoked first. Otherwise the same person would hold two valid ones, and a loss report would reach only one (R3). A
//! family code rests on its guardian too, who would get another one as a new holder.

use std::collections::HashSet;

use citycode_command_auth::RequestDigest;
use citycode_domain::event::{CodeRevoked, CodeSuspended, Event, Sealed};
use citycode_domain::ids::{CodeId, CommandId, HolderId};
use citycode_domain::lifecycle::{HolderState, SlotState};
use citycode_domain::time::Timestamp;
use citycode_event_store::Position;
use citycode_holder_log::{Begun, CommandContext, ExecuteError, HolderLog, PureDecision};
use citycode_service_kit::entropy::Draw as _;
use citycode_vault::{Vault, VaultError};
use futures::{StreamExt as _, TryStreamExt as _};

use super::vault_age::unknown_among;
use super::{StartError, Surroundings};

/// Holders whose codes are ended at once: enough that commits share syncs.
const AT_ONCE: usize = 256;
/// Codes that a message names.
const MOST_NAMED: usize = 16;

/// What becomes of a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It refuses, and an officer may let it live again.
    Suspended,
    /// It is dead for good.
    Revoked,
}

impl End {
    /// Whether it changes this code: a suspended one is not suspended again.
    fn changes(self, slot: &SlotState) -> bool {
        self == Self::Revoked || !slot.held
    }
}

/// Whose codes are meant.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// Everybody's.
    All,
    /// Those that rest on one of these people, as holder or as guardian.
    Of(&'a HashSet<HolderId>),
}

impl Whose<'_> {
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

/// Living codes of one holder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldersCodes {
    holder: HolderId,
    /// Ids of the codes.
    pub codes: Vec<CodeId>,
}

/// The living codes that an ending would change. It is repeatable: what ended is not found again.
pub fn codes_to_end(log: &HolderLog, whose: Whose<'_>, end: End, now: Timestamp) -> Vec<HoldersCodes> {
    let holders = log.register().holders().into_iter();
    let found = holders.filter_map(|holder| {
        let (state, _) = log.register().get(holder)?;
        let slots = state.all_alive(now);
        let meant = slots.filter(|slot| whose.includes(holder, slot) && end.changes(slot));
        let codes: Vec<CodeId> = meant.map(|slot| slot.code.code_id).collect();
        (!codes.is_empty()).then_some(HoldersCodes { holder, codes })
    });
    found.collect()
}

/// How many codes live.
pub fn living_codes(log: &HolderLog, now: Timestamp) -> u64 {
    let holders = log.register().holders().into_iter();
    let of_each = holders.filter_map(|holder| Some(log.register().get(holder)?.0.all_alive(now).count() as u64));
    of_each.sum()
}

/// The people, holders of living codes or guardians of such, whom the vault does not know. A person is in the vault before
/// the log names them, so nobody is missed who registers meanwhile.
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

/// Ends these codes; one that ended meanwhile stays so. How many were ended. Where a message that is no commit confines
/// a holder's part of the log, every other code is ended all the same.
///
/// # Errors
/// [`StartError::Log`]; some may be ended by then. It names the codes that are confined: nobody may serve while they can
/// live again beside a second one of the same person (R3).
pub async fn end_codes(
    log: &HolderLog,
    codes: Vec<HoldersCodes>,
    end: End,
    surroundings: &Surroundings,
) -> Result<u64, StartError> {
    let ended = futures::stream::iter(codes).map(|codes| end_codes_of(log, codes, end, surroundings));
    let mut ended = ended.buffer_unordered(AT_ONCE);
    let (mut count, mut confined) = (0, Vec::new());
    while let Some(one) = ended.try_next().await? {
        match one {
            Ended::Codes(more) => count += more,
            Ended::Confined(position, codes) => confined.push((position, codes)),
        }
    }
    match confined.first() {
        None => Ok(count),
        Some((position, _)) => Err(StartError::Log(still_alive(*position, &confined))),
    }
}

/// What became of one holder's codes.
enum Ended {
    /// So many were ended.
    Codes(u64),
    /// A message that is no commit confines them.
    Confined(Position, Vec<CodeId>),
}

fn still_alive(position: Position, confined: &[(Position, Vec<CodeId>)]) -> String {
    let codes = confined.iter().flat_map(|(_, codes)| codes);
    let codes: Vec<String> = codes.map(ToString::to_string).collect();
    let (named, count) = (codes[..codes.len().min(MOST_NAMED)].join(", "), codes.len());
    let more = if count > MOST_NAMED { " and others" } else { "" };
    format!(
        "{count} codes could not be ended, {named}{more}: a message that is no commit stands in their part of the log, the \
         first at {position}; every other code was ended. Look at it with citycode log inspect {position}, end it with \
         citycode log declare-foreign, and then do this again"
    )
}

async fn end_codes_of(
    log: &HolderLog,
    HoldersCodes { holder, codes }: HoldersCodes,
    end: End,
    surroundings: &Surroundings,
) -> Result<Ended, StartError> {
    let context = CommandContext {
        caller: "recovery".into(),
        command_id: CommandId(surroundings.entropy.array()),
        request_digest: RequestDigest::of("unknown_to_vault").holder(Some(holder)).finish(),
        actor: "recovery".into(),
        trace_context: None,
        now: Timestamp(surroundings.clock.now().0),
        begun: Begun::default(),
    };
    let mut decide =
        PureDecision(|state: &HolderState, now| Ok::<_, std::convert::Infallible>(endings(state, &codes, end, now)));
    match log.execute(holder, &context, &mut decide).await {
        Ok(executed) => Ok(Ended::Codes(executed.events.len() as u64)),
        Err(ExecuteError::Confined(position)) => Ok(Ended::Confined(position, codes)),
        Err(error) => Err(StartError::Log(error.to_string())),
    }
}

/// The key under which a reason would be sealed was lost with the person, so none is given.
fn endings(state: &HolderState, codes: &[CodeId], end: End, now: Timestamp) -> Vec<Event> {
    let meant = state
        .all_alive(now)
        .filter(|slot| codes.contains(&slot.code.code_id) && end.changes(slot));
    meant
        .map(|slot| {
            let (code, reason) = (slot.code_ref(), Sealed::default());
            match end {
                End::Suspended => Event::CodeSuspended(CodeSuspended { code, reason }),
                End::Revoked => Event::CodeRevoked(CodeRevoked { code, reason }),
            }
        })
        .collect()
}
