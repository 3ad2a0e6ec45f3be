//! Verdicts against what they claimed to know (R24, R26).

use std::collections::BTreeMap;
use std::time::Duration;

use citycode_domain::ids::CodeId;
use citycode_event_store::{CommandId, Partition, Position, Sequence};

use super::codes::Life;
use super::{Fault, Moment, Run, SeenVerdict};

/// An age is told in whole milliseconds of two readings that are each cut.
const ROUNDING: Duration = Duration::from_millis(2);

pub(super) fn check(run: &Run, lives: &BTreeMap<CodeId, Life>, faults: &mut Vec<Fault>) {
    let acknowledged = acknowledged(run);
    let mut heads = BTreeMap::<Partition, Sequence>::new();
    for commit in &run.log.commits {
        heads.insert(commit.position.partition, commit.position.sequence);
    }
    for verdict in &run.verdicts {
        let head = heads.get(&verdict.position.partition).copied().unwrap_or_default();
        claimed_rightly(verdict, head, &acknowledged, faults);
        if verdict.admitted {
            admitted_rightly(verdict, lives.get(&verdict.code_id), faults);
        }
    }
}

/// By partition: when a commit's command was acknowledged, and the greatest sequence acknowledged until then.
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

/// A verdict says: of everything that was acknowledged `age_ms` before it was given, nothing is missing here. It was
/// given after it was asked for.
fn claimed_rightly(
    verdict: &SeenVerdict,
    head: Sequence,
    acknowledged: &BTreeMap<Partition, Vec<(Moment, Sequence)>>,
    faults: &mut Vec<Fault>,
) {
    let claimed = verdict.position;
    let forged = |surely| Fault::ForgedFreshness {
        verifier: verdict.verifier.clone(),
        claimed,
        surely,
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
    if let Some((_, surely)) = of_partition[..count].last()
        && claimed.sequence < *surely
    {
        faults.push(forged(*surely));
    }
}

fn admitted_rightly(verdict: &SeenVerdict, life: Option<&Life>, faults: &mut Vec<Fault>) {
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
    match life {
        Some(life) if known(life.born_at) => {
            if let Some(died_at) = life.died_at.filter(|died_at| known(*died_at)) {
                faults.push(Fault::AdmittedDead {
                    verifier,
                    code_id: verdict.code_id,
                    died_at,
                });
            }
        }
        _ => faults.push(Fault::AdmittedUnborn {
            verifier,
            code_id: verdict.code_id,
        }),
    }
}
