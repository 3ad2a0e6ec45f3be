//! A vault that is begun anew: everybody may register again, so every code that lives is suspended first. Otherwise the
//! same person would hold two valid codes, and a loss report would reach only one (R3).

use citycode_acts::RequestMeaning;
use citycode_domain::event::{CodeSuspended, Event, Sealed};
use citycode_domain::ids::{CommandId, HolderId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::time::Timestamp;
use citycode_holder_log::{Begun, CommandContext, HolderLog, PureDecision};
use citycode_service_kit::entropy::Draw as _;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::compose::{StartError, Surroundings};

/// Holders whose codes are suspended at once: enough that commits share syncs.
const AT_ONCE: usize = 256;

/// Suspends every living code of these holders; those that are suspended already stay so, which makes it repeatable.
/// How many codes were suspended.
///
/// # Errors
/// [`StartError::Log`]; some may be suspended by then.
pub(super) async fn suspend_living_codes(
    log: &HolderLog,
    holders: Vec<HolderId>,
    surroundings: &Surroundings,
) -> Result<u64, StartError> {
    let now = Timestamp(surroundings.clock.now().0);
    let living = holders.into_iter().filter(|holder| {
        let state = log.register().get(*holder);
        state.is_some_and(|(state, _)| !suspensions(&state, now).is_empty())
    });
    let suspended = futures::stream::iter(living).map(|holder| suspend(log, holder, surroundings, now));
    suspended
        .buffer_unordered(AT_ONCE)
        .try_fold(0, |sum, one| std::future::ready(Ok(sum + one)))
        .await
}

async fn suspend(
    log: &HolderLog,
    holder: HolderId,
    surroundings: &Surroundings,
    now: Timestamp,
) -> Result<u64, StartError> {
    let context = CommandContext {
        caller: "up".into(),
        command_id: CommandId(surroundings.entropy.array()),
        request_digest: RequestMeaning::of("suspend_unknown_to_vault")
            .holder(Some(holder))
            .finish(),
        actor: "up".into(),
        trace_context: None,
        now,
        begun: Begun::default(),
    };
    let mut decide =
        PureDecision(|state: &HolderState, now| Ok::<_, std::convert::Infallible>(suspensions(state, now)));
    let executed = log.execute(holder, &context, &mut decide).await;
    let executed = executed.map_err(|error| StartError::Log(error.to_string()))?;
    Ok(executed.events.len() as u64)
}

/// The key under which a reason would be sealed was lost with the vault, so none is given.
fn suspensions(state: &HolderState, now: Timestamp) -> Vec<Event> {
    let living = state.all_alive(now).filter(|slot| !slot.held);
    living
        .map(|slot| {
            Event::CodeSuspended(CodeSuspended {
                code: slot.code_ref(),
                reason: Sealed::default(),
            })
        })
        .collect()
}
