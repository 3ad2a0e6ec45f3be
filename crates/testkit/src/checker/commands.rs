//! Every client's commands against the log.

use std::collections::BTreeMap;

use citycode_domain::event::Event;
use citycode_event_store::{CommandId, MessageId, Position, RecordedCommit};
use citycode_log_folds::folded_events;

use super::{Answer, Command, Fault, Run};

pub(super) fn check(run: &Run, faults: &mut Vec<Fault>) {
    let mut there = BTreeMap::<CommandId, &RecordedCommit>::new();
    let mut messages = BTreeMap::<MessageId, Position>::new();
    let asked: BTreeMap<CommandId, &Command> = run
        .commands
        .iter()
        .map(|command| (command.command_id, command))
        .collect();
    for commit in &run.log.commits {
        let command_id = commit.commit.command_id;
        // Of what the system writes for itself the message id says what is the same.
        let twice = messages.insert(commit.commit.message_id, commit.position);
        let before = asked.get(&command_id).and_then(|_| there.insert(command_id, commit));
        if let Some(first) = twice.or(before.map(|before| before.position)) {
            faults.push(Fault::Twice(command_id, first, commit.position));
        }
    }
    for command in &run.commands {
        let found = there.get(&command.command_id).copied();
        for attempt in &command.attempts {
            if let Answer::Done { position, code_id } = attempt.answer {
                match found {
                    None => faults.push(Fault::Lost(command.command_id)),
                    Some(found) => {
                        told_right(command, found, position, faults);
                        if let Some(code_id) = code_id
                            && !gives_birth_to(found, code_id)
                        {
                            faults.push(Fault::OtherCode(command.command_id, code_id));
                        }
                    }
                }
            }
        }
        if let Some(found) = found
            && command.is_surely_not_done()
        {
            faults.push(Fault::DoneAfterAll(command.command_id, found.position));
        }
    }
}

fn told_right(command: &Command, found: &RecordedCommit, told: Option<Position>, faults: &mut Vec<Fault>) {
    if let Some(told) = told.filter(|told| *told != found.position) {
        faults.push(Fault::Elsewhere {
            command: command.command_id,
            told,
            found: found.position,
        });
    }
}

fn gives_birth_to(commit: &RecordedCommit, code_id: citycode_domain::ids::CodeId) -> bool {
    let is_it = |event: &Event| matches!(event, Event::CodeIssued(issued) if issued.code.code_id == code_id);
    folded_events(commit).is_ok_and(|events| events.iter().any(is_it))
}
