//! Residents, who issue, reissue, lose and revoke codes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use citycode_domain::event::{CodeIssued, CodeRef, CodeReportedLost, CodeRevoked, Event};
use citycode_domain::event::{Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::time::Timestamp;
use citycode_event_store::{CommandId, Partition};
use citycode_holder_log::{Begun, CommandContext, ExecuteError, HolderLog};
use citycode_service_kit::clock::Clock as _;
use citycode_testkit::checker::{Answer, Attempt, Command};
use citycode_testkit::{Draw, code_at, code_issued};

use super::{Common, PACE, Shown};

/// A resident gives up without an answer after this time.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);
const VALID_SECONDS: i64 = 30 * 86_400;

pub(super) fn context(command_id: CommandId, common: &Common) -> CommandContext {
    CommandContext {
        caller: "town".into(),
        command_id: citycode_domain::ids::CommandId(command_id.0),
        request_digest: [1; 32],
        actor: "test".into(),
        trace_context: None,
        now: Timestamp(common.clock.now().0),
        begun: Begun::default(),
    }
}

/// Runs a resident; returns every command with all its answers.
pub(super) async fn live(log: Arc<HolderLog>, common: Arc<Common>, seed: u64) -> Vec<Command> {
    let (mut draw, mut pace) = (Draw::new(seed), tokio::time::interval(PACE));
    let mut commands = Vec::new();
    while !common.stop.load(Ordering::SeqCst) {
        pace.tick().await;
        let mut command = Command::new(CommandId(draw.bytes()));
        let (holder, choice) = (*draw.pick(&common.holders), draw.below(10));
        let context = context(command.command_id, &common);
        loop {
            let invoked_at = common.clock.monotonic();
            let answer = ask(&log, &common, holder, choice, &context, draw.bits()).await;
            command.attempts.push(Attempt {
                invoked_at,
                answered_at: common.clock.monotonic(),
                answer,
            });
            match answer {
                Answer::Done { .. } => {
                    common.done.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                // Some retry with the same id, others give up.
                Answer::Unknown | Answer::NotDone if draw.below(3) > 0 => {}
                _ => break,
            }
            if common.stop.load(Ordering::SeqCst) {
                break;
            }
            pace.tick().await;
        }
        commands.push(command);
    }
    commands
}

async fn ask(
    log: &HolderLog,
    common: &Common,
    holder: HolderId,
    choice: u64,
    context: &CommandContext,
    seed: u64,
) -> Answer {
    let partition = log.partition_of(holder);
    // Decided again after a conflict, with the same draws.
    let decision =
        |state: &HolderState, now| decide(state, choice, now, partition, common, &mut Draw::new(seed)).ok_or(());
    let executing = log.execute(holder, context, &decision);
    // Giving up undoes nothing: the outcome is unknown.
    let Ok(executed) = tokio::time::timeout(GIVE_UP_AFTER, executing).await else {
        return Answer::Unknown;
    };
    match executed {
        Ok(executed) => {
            let born = executed.events.iter().find_map(|event| match event {
                Event::CodeIssued(issued) => Some(issued),
                _ => None,
            });
            if let Some(born) = born {
                common.codes.lock().push(Shown {
                    code_id: born.code.code_id,
                    status: born.code.status,
                    digest: born.claims_digest,
                });
            }
            Answer::Done {
                position: executed.position,
                code_id: born.map(|born| born.code.code_id),
            }
        }
        Err(ExecuteError::Refused(())) => Answer::Refused,
        Err(ExecuteError::NotDone(_) | ExecuteError::Confined(_)) => Answer::NotDone,
        Err(ExecuteError::Unknown) => Answer::Unknown,
        Err(ExecuteError::IdempotencyKeyReused) => panic!("command ids are drawn"),
    }
}

/// The events of a command; none if there is no code to act on.
fn decide(
    state: &HolderState,
    choice: u64,
    now: Timestamp,
    partition: Partition,
    common: &Common,
    draw: &mut Draw,
) -> Option<Vec<Event>> {
    let kind = CodeKind::new(1 + u8::try_from(choice % 3).expect("small")).expect("a kind");
    // The third kind is issued through guardians, one code for each.
    let guardian = (kind.number() == 3).then(|| common.holders[usize::try_from(choice % 2).expect("small")]);
    let slot = Slot { kind, guardian };
    let alive = state.alive(slot, now).map(|alive| alive.code_ref());
    match draw.below(10) {
        0..7 => Some(vec![Event::CodeIssued(birth(
            slot, alive, now, partition, common, draw,
        ))]),
        7..9 => alive.map(|code| {
            vec![Event::CodeReportedLost(CodeReportedLost {
                code,
                acting_guardian: None,
            })]
        }),
        _ => alive.map(|code| {
            vec![Event::CodeRevoked(CodeRevoked {
                code,
                reason: Sealed::default(),
            })]
        }),
    }
}

fn birth(
    slot: Slot,
    supersedes: Option<CodeRef>,
    now: Timestamp,
    partition: Partition,
    common: &Common,
    draw: &mut Draw,
) -> CodeIssued {
    let expires_at = now.plus_seconds(VALID_SECONDS);
    let partition = u8::try_from(partition.0).expect("few partitions");
    // Each attempt uses up an index.
    let index = common.places.fetch_add(1, Ordering::SeqCst);
    let code = CodeRef {
        slot,
        code_id: CodeId(draw.bytes()),
        ..code_at(partition, slot.kind, expires_at, index)
    };
    CodeIssued {
        supersedes,
        claims_digest: ClaimsDigest(draw.bytes()),
        ..code_issued(code, now, expires_at)
    }
}
