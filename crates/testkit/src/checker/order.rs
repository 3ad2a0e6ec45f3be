//! Checks sequences, chains, times, and the order of acknowledged commands.

use std::collections::BTreeMap;

use citycode_event_store::{BucketId, CommandId, CommitHash, Partition, Position, Sequence, StreamName, codec};

use citycode_log_folds::holder_of;

use super::{Command, Fault, Moment, Run};

pub(super) fn check(run: &Run, faults: &mut Vec<Fault>) {
    sequences(run, faults);
    chains(run, faults);
    times(run, faults);
    real_time(run, faults);
}

fn sequences(run: &Run, faults: &mut Vec<Fault>) {
    let mut last = BTreeMap::<Partition, Sequence>::new();
    for commit in &run.log.commits {
        let Position { partition, sequence } = commit.position;
        let expected = last.get(&partition).copied().unwrap_or(Sequence::START).next();
        if sequence != expected {
            faults.push(Fault::Gap {
                partition,
                expected,
                found: sequence,
            });
        }
        last.insert(partition, sequence);
    }
}

fn chains(run: &Run, faults: &mut Vec<Fault>) {
    let mut tails = BTreeMap::<BucketId, CommitHash>::new();
    for commit in &run.log.commits {
        let bucket = run.log.layout.bucket_of(&commit.commit.stream);
        let before = tails.insert(bucket, commit.hash).unwrap_or(CommitHash::NONE);
        if commit.previous_hash != before || commit.bucket != bucket {
            faults.push(Fault::ChainBroken(commit.position));
        }
        let encoded = codec::encode(&commit.commit, &commit.previous_hash);
        if encoded.map(|(_, hash)| hash) != Ok(commit.hash) {
            faults.push(Fault::HashWrong(commit.position));
        }
    }
}

/// Checks times within holders' streams, on which rules depend. Several writers with clocks of their own append to
/// system streams (keys, leases, heartbeats), and no rule depends on the times there.
fn times(run: &Run, faults: &mut Vec<Fault>) {
    let mut last = BTreeMap::<&StreamName, i64>::new();
    for commit in &run.log.commits {
        if holder_of(&commit.commit.stream).is_none() {
            continue;
        }
        let decided_at = commit.commit.decided_at;
        if last
            .insert(&commit.commit.stream, decided_at)
            .is_some_and(|last| last > decided_at)
        {
            faults.push(Fault::TimeWentBack(commit.position));
        }
    }
}

/// Checks that within a partition a command precedes every command that was first sent after its acknowledgement.
fn real_time(run: &Run, faults: &mut Vec<Fault>) {
    let commands: BTreeMap<CommandId, &Command> = run
        .commands
        .iter()
        .map(|command| (command.command_id, command))
        .collect();
    // The latest time of a first attempt among the commits so far.
    let mut latest = BTreeMap::<Partition, (Moment, CommandId)>::new();
    for commit in &run.log.commits {
        let Some(command) = commands.get(&commit.commit.command_id) else {
            continue;
        };
        let seen = latest.get(&commit.position.partition).copied();
        if let (Some(acknowledged), Some((sent, later))) = (command.acknowledged(), seen)
            && acknowledged < sent
        {
            faults.push(Fault::OutOfOrder {
                earlier: commit.position,
                later,
            });
        }
        let Some(first) = command.attempts.first() else {
            continue;
        };
        if seen.is_none_or(|(sent, _)| sent < first.invoked_at) {
            latest.insert(commit.position.partition, (first.invoked_at, command.command_id));
        }
    }
}
