//! Compares the clients' commands with the log.

use std::collections::BTreeMap;

use citycode_domain::event::Event;
use citycode_event_store::{CommandId, MessageId, Position, RecordedCommit};
use citycode_log_folds::folded_events;

use super::{Answer, Command, Fault, Run};

pub(super) fn check(run: &Run, faults: &mut Vec<Fault>) {
    let mut recorded = BTreeMap::<CommandId, &RecordedCommit>::new();
    let mut messages = BTreeMap::<MessageId, Position>::new();
    let commands: BTreeMap<CommandId, &Command> = run
        .commands
        .iter()
        .map(|command| (command.command_id, command))
        .collect();
    for commit in &run.log.commits {
        let command_id = commit.commit.command_id;
        // Commits without a client's command are compared by their message ids.
        let same_message = messages.insert(commit.commit.message_id, commit.position);
        let same_command = commands
            .get(&command_id)
            .and_then(|_| recorded.insert(command_id, commit));
        if let Some(first) = same_message.or(same_command.map(|first| first.position)) {
            faults.push(Fault::Duplicated(command_id, first, commit.position));
        }
    }
    for command in &run.commands {
        let found = recorded.get(&command.command_id).copied();
        for attempt in &command.attempts {
            if let Answer::Done { position, code_id } = attempt.answer {
                match found {
                    None => faults.push(Fault::Lost(command.command_id)),
                    Some(found) => {
                        check_position(command, found, position, faults);
                        if let Some(code_id) = code_id
                            && !issues(found, code_id)
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

fn check_position(command: &Command, found: &RecordedCommit, acknowledged: Option<Position>, faults: &mut Vec<Fault>) {
    if let Some(acknowledged) = acknowledged.filter(|position| *position != found.position) {
        faults.push(Fault::WrongPosition {
            command: command.command_id,
            acknowledged,
            found: found.position,
        });
    }
}

fn issues(commit: &RecordedCommit, code_id: citycode_domain::ids::CodeId) -> bool {
    let is_it = |event: &Event| matches!(event, Event::CodeIssued(issued) if issued.code.code_id == code_id);
    folded_events(commit).is_ok_and(|events| events.iter().any(is_it))
}
