//! Checks verdicts against the knowledge that they claimed (R24, R26).

use std::collections::BTreeMap;
use std::time::Duration;

use citycode_domain::ids::CodeId;
use citycode_event_store::{CommandId, Partition, Position, Sequence};

use super::codes::Validity;
use super::{Fault, Moment, Run, SeenVerdict};

/// An age is the difference of two clock readings that are each truncated to milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

pub(super) fn check(run: &Run, codes: &BTreeMap<CodeId, Validity>, faults: &mut Vec<Fault>) {
    let acknowledged = acknowledged(run);
    let mut heads = BTreeMap::<Partition, Sequence>::new();
    for commit in &run.log.commits {
        heads.insert(commit.position.partition, commit.position.sequence);
    }
    for verdict in &run.verdicts {
        let head = heads.get(&verdict.position.partition).copied().unwrap_or_default();
        check_freshness(verdict, head, &acknowledged, faults);
        if verdict.admitted {
            check_admission(verdict, codes.get(&verdict.code_id), faults);
        }
    }
}

/// For each partition, the times of acknowledgements, each with the greatest sequence that was acknowledged until then.
fn acknowledged(run: &Run) -> BTreeMap<Partition, Vec<(Moment, Sequence)>> {
    let positions: BTreeMap<CommandId, Position> = run
        .log
        .commits
        .iter()
        .map(|commit| (commit.commit.command_id, commit.position))
        .collect();
    let mut all = BTreeMap::<Partition, Vec<(Moment, Sequence)>>::new();
    for command in &run.commands {
        if let (Some(moment), Some(position)) = (command.acknowledged(), positions.get(&command.command_id)) {
            all.entry(position.partition)
                .or_default()
                .push((moment, position.sequence));
        }
    }
    for of_partition in all.values_mut() {
        of_partition.sort_unstable();
        let mut greatest = Sequence::START;
        for (_, sequence) in of_partition {
            greatest = greatest.max(*sequence);
            *sequence = greatest;
        }
    }
    all
}

/// A verdict claims that its position includes every commit that was acknowledged at least `age_ms` before the verdict,
/// which was given after its request.
fn check_freshness(
    verdict: &SeenVerdict,
    head: Sequence,
    acknowledged: &BTreeMap<Partition, Vec<(Moment, Sequence)>>,
    faults: &mut Vec<Fault>,
) {
    let claimed = verdict.position;
    let forged = |at_least| Fault::ForgedFreshness {
        verifier: verdict.verifier.clone(),
        claimed,
        at_least,
    };
    if claimed.sequence > head {
        faults.push(forged(head));
    }
    let age = Duration::from_millis(verdict.age_ms).saturating_add(ROUNDING);
    let Some(known_until) = verdict.asked_at.checked_sub(age) else {
        return;
    };
    let of_partition = acknowledged.get(&claimed.partition).map_or(&[][..], Vec::as_slice);
    let count = of_partition.partition_point(|(moment, _)| *moment < known_until);
    if let Some((_, at_least)) = of_partition[..count].last()
        && claimed.sequence < *at_least
    {
        faults.push(forged(*at_least));
    }
}

fn check_admission(verdict: &SeenVerdict, validity: Option<&Validity>, faults: &mut Vec<Fault>) {
    let verifier = verdict.verifier.clone();
    if verdict.age_ms > verdict.limit_ms {
        faults.push(Fault::AdmittedStale {
            verifier: verifier.clone(),
            age_ms: verdict.age_ms,
        });
    }
    let known = |position: Position| {
        position.partition == verdict.position.partition && position.sequence <= verdict.position.sequence
    };
    match validity {
        Some(validity) if known(validity.issued_at) => {
            if let Some(ended_at) = validity.ended_at.filter(|ended_at| known(*ended_at)) {
                faults.push(Fault::AdmittedInvalid {
                    verifier,
                    code_id: verdict.code_id,
                    ended_at,
                });
            }
        }
        _ => faults.push(Fault::AdmittedUnissued {
            verifier,
            code_id: verdict.code_id,
        }),
    }
}
