//! One test for each kind of fault: a correct history with one change, and the expected fault.

use std::time::Duration;

use citycode_domain::event::{CodeIssued, Event};
use citycode_domain::ids::CodeId;
use citycode_event_store::{CommandId, CommitHash, Partition, Position, RecordedCommit, Revision, Sequence, codec};
use citycode_log_folds::events_of;

use super::super::{Answer, Attempt, Fault, Run, SeenVerdict, check};
use super::good::good;
use crate::commit_of;

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// Makes positions, revisions and hashes consistent again, so that only the inserted fault remains.
fn rechain(run: &mut Run) {
    let mut tails = std::collections::BTreeMap::new();
    let mut heads = std::collections::BTreeMap::<Partition, u64>::new();
    for commit in &mut run.log.commits {
        let head = heads.entry(commit.position.partition).or_default();
        *head += 1;
        commit.position.sequence = Sequence(*head);
        commit.revision = Revision::from_raw(*head);
        commit.previous_hash = tails.get(&commit.bucket).copied().unwrap_or(CommitHash::NONE);
        commit.hash = codec::encode(&commit.commit, &commit.previous_hash).unwrap().1;
        tails.insert(commit.bucket, commit.hash);
    }
}

fn issued(commit: &RecordedCommit) -> Option<CodeIssued> {
    match events_of(commit).unwrap().as_slice() {
        [Event::CodeIssued(issued)] => Some(issued.clone()),
        _ => None,
    }
}

/// The index of the first commit that matches.
fn find(run: &Run, wanted: impl Fn(&RecordedCommit) -> bool) -> usize {
    run.log.commits.iter().position(wanted).expect("the history has one")
}

fn acknowledged(run: &Run, commit: &RecordedCommit) -> bool {
    let of_it = |command: &&super::super::Command| command.command_id == commit.commit.command_id;
    run.commands
        .iter()
        .find(of_it)
        .is_some_and(|command| command.acknowledged().is_some())
}

fn with_event(commit: &RecordedCommit, event: &Event) -> RecordedCommit {
    let mut changed = commit.clone();
    changed.commit.events = commit_of(commit.commit.stream, event, 0, 0).events;
    changed
}

/// Inserts a fault into the correct history of each seed and expects the checker to find it.
fn detected(insert: impl Fn(&mut Run) -> Fault) {
    for seed in SEEDS {
        let mut run = good(seed);
        let expected = insert(&mut run);
        let found = check(&run);
        assert!(
            found.contains(&expected),
            "seed {seed}: {expected:?} is not among {found:?}"
        );
    }
}

#[test]
fn an_acknowledged_commit_that_is_lost() {
    detected(|run| {
        let last = find(run, |commit| acknowledged(run, commit));
        let lost = run.log.commits.remove(last);
        rechain(run);
        Fault::Lost(lost.commit.command_id)
    });
}

#[test]
fn a_duplicated_commit() {
    detected(|run| {
        let first = find(run, |commit| acknowledged(run, commit));
        let again = run.log.commits[first].clone();
        let (command, partition) = (again.commit.command_id, again.position.partition);
        let end = find(run, |commit| commit.position.partition == partition)
            + run
                .log
                .commits
                .iter()
                .filter(|commit| commit.position.partition == partition)
                .count();
        run.log.commits.insert(end, again);
        rechain(run);
        Fault::Duplicated(command, run.log.commits[first].position, run.log.commits[end].position)
    });
}

/// Two adjacent acknowledged commits of one partition and of different buckets.
fn neighbours(run: &Run) -> usize {
    let commits = &run.log.commits;
    let pair = commits.windows(2).position(|pair| {
        pair[0].position.partition == pair[1].position.partition
            && pair[0].bucket != pair[1].bucket
            && pair.iter().all(|commit| acknowledged(run, commit))
    });
    pair.expect("the history has such commits")
}

#[test]
fn commits_in_another_order_than_they_were_acknowledged() {
    detected(|run| {
        let first = neighbours(run);
        run.log.commits.swap(first, first + 1);
        rechain(run);
        Fault::OutOfOrder {
            earlier: run.log.commits[first + 1].position,
            later: run.log.commits[first].commit.command_id,
        }
    });
}

#[test]
fn a_commit_at_another_position_than_acknowledged() {
    detected(|run| {
        let first = neighbours(run);
        let (acknowledged, command) = (
            run.log.commits[first].position,
            run.log.commits[first].commit.command_id,
        );
        run.log.commits.swap(first, first + 1);
        rechain(run);
        Fault::WrongPosition {
            command,
            acknowledged,
            found: run.log.commits[first + 1].position,
        }
    });
}

#[test]
fn another_code_than_acknowledged() {
    detected(|run| {
        let at = find(run, |commit| issued(commit).is_some() && acknowledged(run, commit));
        let mut issued = issued(&run.log.commits[at]).unwrap();
        let acknowledged = std::mem::replace(&mut issued.code.code_id, CodeId([7; 8]));
        run.log.commits[at] = with_event(&run.log.commits[at], &Event::CodeIssued(issued));
        rechain(run);
        Fault::OtherCode(run.log.commits[at].commit.command_id, acknowledged)
    });
}

#[test]
fn a_command_that_was_answered_not_done_and_is_in_the_log() {
    for answer in [Answer::NotDone, Answer::Refused] {
        detected(|run| {
            let at = find(run, |commit| acknowledged(run, commit));
            let (command_id, position) = (run.log.commits[at].commit.command_id, run.log.commits[at].position);
            let command = run
                .commands
                .iter_mut()
                .find(|command| command.command_id == command_id)
                .unwrap();
            command.attempts = vec![Attempt {
                answer,
                ..command.attempts[0]
            }];
            Fault::DoneAfterAll(command_id, position)
        });
    }
}

#[test]
fn two_valid_codes() {
    detected(|run| {
        let at = find(run, |commit| {
            issued(commit).is_some_and(|birth| birth.supersedes.is_some())
        });
        let holder = citycode_log_folds::holder_of(&run.log.commits[at].commit.stream).unwrap();
        let mut birth = issued(&run.log.commits[at]).unwrap();
        let first = birth.supersedes.take().unwrap().code_id;
        let (slot, second) = (birth.code.slot, birth.code.code_id);
        run.log.commits[at] = with_event(&run.log.commits[at], &Event::CodeIssued(birth));
        rechain(run);
        Fault::TwoValid {
            holder,
            slot,
            first,
            second,
        }
    });
}

#[test]
fn a_code_that_ends_without_being_valid_and_a_code_that_is_issued_twice() {
    detected(|run| {
        let at = find(run, |commit| {
            issued(commit).is_some_and(|birth| birth.supersedes.is_some())
        });
        let mut birth = issued(&run.log.commits[at]).unwrap();
        birth.supersedes.as_mut().unwrap().code_id = CodeId([9; 8]);
        run.log.commits[at] = with_event(&run.log.commits[at], &Event::CodeIssued(birth));
        Fault::NotValid(CodeId([9; 8]), run.log.commits[at].position)
    });
    detected(|run| {
        let at = find(run, |commit| {
            issued(commit).is_some_and(|birth| birth.supersedes.is_some())
        });
        let mut birth = issued(&run.log.commits[at]).unwrap();
        birth.code.status = birth.supersedes.unwrap().status;
        let code_id = birth.code.code_id;
        run.log.commits[at] = with_event(&run.log.commits[at], &Event::CodeIssued(birth));
        Fault::IssuedTwice(code_id, run.log.commits[at].position)
    });
}

#[test]
fn a_holder_who_is_registered_twice() {
    detected(|run| {
        let registered = |commit: &RecordedCommit| matches!(events_of(commit).unwrap()[0], Event::HolderRegistered(_));
        let first = find(run, registered);
        let stream = run.log.commits[first].commit.stream;
        let holder = citycode_log_folds::holder_of(&stream).unwrap();
        let again = events_of(&run.log.commits[first]).unwrap().remove(0);
        let later = find(run, |commit| commit.commit.stream == stream && !registered(commit));
        run.log.commits[later] = with_event(&run.log.commits[later], &again);
        Fault::RegisteredTwice(holder, run.log.commits[later].position)
    });
}

#[test]
fn a_gap_a_broken_chain_a_wrong_hash_and_a_time_that_went_back() {
    detected(|run| {
        let removed = run.log.commits.remove(0).position;
        Fault::Gap {
            partition: removed.partition,
            expected: Sequence(1),
            found: Sequence(2),
        }
    });
    let follows = |commit: &RecordedCommit| commit.previous_hash != CommitHash::NONE;
    detected(|run| {
        let at = find(run, follows);
        run.log.commits[at].previous_hash = CommitHash([5; 32]);
        let (commit, previous) = (&run.log.commits[at].commit, &run.log.commits[at].previous_hash);
        run.log.commits[at].hash = codec::encode(commit, previous).unwrap().1;
        Fault::ChainBroken(run.log.commits[at].position)
    });
    detected(|run| {
        run.log.commits[3].commit.actor.push('x');
        Fault::HashWrong(run.log.commits[3].position)
    });
    detected(|run| {
        let at = find(run, follows);
        run.log.commits[at].commit.decided_at = 5;
        rechain(run);
        Fault::TimeWentBack(run.log.commits[at].position)
    });
}

#[test]
fn an_event_that_cannot_be_decoded() {
    detected(|run| {
        run.log.commits[2].commit.events[0].event_type = "CodeForgotten".into();
        Fault::Unreadable(run.log.commits[2].position)
    });
}

/// The index of a verdict that admits a code which became invalid later, and the position and command of that end.
fn admission_before_end(run: &Run) -> (usize, Position, CommandId) {
    let mut ends = Vec::new();
    for commit in &run.log.commits {
        for event in events_of(commit).unwrap() {
            let ended = match event {
                Event::CodeIssued(issued) => issued.supersedes,
                Event::CodeReportedLost(lost) => Some(lost.code),
                Event::CodeRevoked(revoked) => Some(revoked.code),
                _ => None,
            };
            ends.extend(ended.map(|ended| (ended.code_id, commit.position, commit.commit.command_id)));
        }
    }
    let found = run.verdicts.iter().enumerate().find_map(|(at, verdict)| {
        let end = ends
            .iter()
            .find(|(ended, ..)| verdict.admitted && *ended == verdict.code_id);
        end.map(|(_, position, command)| (at, *position, *command))
    });
    found.expect("the history has such a verdict")
}

#[test]
fn a_verdict_that_admits_an_invalid_or_unissued_code() {
    detected(|run| {
        let (at, ended_at, _) = admission_before_end(run);
        let verdict = &mut run.verdicts[at];
        verdict.position = ended_at;
        Fault::AdmittedInvalid {
            verifier: verdict.verifier.clone(),
            code_id: verdict.code_id,
            ended_at,
        }
    });
    detected(|run| {
        let (at, ..) = admission_before_end(run);
        let verdict = &mut run.verdicts[at];
        verdict.code_id = CodeId([3; 8]);
        Fault::AdmittedUnissued {
            verifier: verdict.verifier.clone(),
            code_id: verdict.code_id,
        }
    });
}

/// The end of the code was acknowledged before the request, but the verdict claims current knowledge without that end.
#[test]
fn a_verdict_that_claims_to_be_fresher_than_it_is() {
    detected(|run| {
        let (at, ended_at, command) = admission_before_end(run);
        let ending = run
            .commands
            .iter_mut()
            .find(|ending| ending.command_id == command)
            .unwrap();
        let acknowledged = Attempt {
            invoked_at: Duration::from_secs(900),
            answered_at: Duration::from_secs(901),
            answer: Answer::Done {
                position: Some(ended_at),
                code_id: None,
            },
        };
        ending.attempts = vec![acknowledged];
        let correct = run.verdicts[at].clone();
        run.verdicts.push(SeenVerdict {
            asked_at: Duration::from_secs(902),
            age_ms: 500,
            ..correct.clone()
        });
        Fault::ForgedFreshness {
            verifier: correct.verifier,
            claimed: correct.position,
            at_least: last_acknowledged(run, ended_at),
        }
    });
    detected(|run| {
        let verdict = &mut run.verdicts[0];
        verdict.position.sequence = Sequence(100_000);
        let (verifier, claimed) = (verdict.verifier.clone(), verdict.position);
        let of_partition = |commit: &&RecordedCommit| commit.position.partition == claimed.partition;
        let head = run.log.commits.iter().filter(of_partition).count() as u64;
        Fault::ForgedFreshness {
            verifier,
            claimed,
            at_least: Sequence(head),
        }
    });
}

/// The greatest acknowledged sequence of the partition.
fn last_acknowledged(run: &Run, within: Position) -> Sequence {
    let commits = run.log.commits.iter();
    let of_partition = commits.filter(|commit| commit.position.partition == within.partition);
    of_partition
        .filter(|commit| acknowledged(run, commit))
        .map(|commit| commit.position.sequence)
        .max()
        .unwrap()
}

#[test]
fn a_verdict_that_admits_on_old_knowledge() {
    detected(|run| {
        let (at, ..) = admission_before_end(run);
        let verdict = &mut run.verdicts[at];
        verdict.age_ms = verdict.limit_ms + 1;
        Fault::AdmittedStale {
            verifier: verdict.verifier.clone(),
            age_ms: verdict.age_ms,
        }
    });
}

#[test]
fn an_unreadable_projection_and_one_of_another_history() {
    detected(|run| {
        let verifier = run.projections[0].verifier.clone();
        run.projections[0].bytes[60] ^= 1;
        Fault::ProjectionUnreadable(verifier)
    });
    // The snapshot of another history is consistent in itself, but not with this log.
    detected(|run| {
        let mut other = run.clone();
        let at = find(&other, |commit| issued(commit).is_some());
        let mut birth = issued(&other.log.commits[at]).unwrap();
        birth.claims_digest.0[0] ^= 1;
        other.log.commits[at] = with_event(&other.log.commits[at], &Event::CodeIssued(birth));
        let key = citycode_projection::status::FingerprintKey([4; 16]);
        let points = vec![
            citycode_projection::status::PartitionPoint {
                sequence: u64::MAX,
                ..citycode_projection::status::PartitionPoint::START
            };
            2
        ];
        let [fresh, bytes] =
            [&*run, &other].map(|run| super::super::projections::replay(&run.log, key, &points).unwrap());
        run.projections[0].bytes.clone_from(&bytes);
        Fault::ProjectionDiffers {
            verifier: run.projections[0].verifier.clone(),
            at: fresh
                .iter()
                .zip(&bytes)
                .take_while(|(fresh, bytes)| fresh == bytes)
                .count(),
        }
    });
}
