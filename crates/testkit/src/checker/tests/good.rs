//! Correct histories: a small city on the in-memory log with lost answers, and verifiers.

use std::time::Duration;

use citycode_domain::event::{
    CodeIssued, CodeRef, CodeReportedLost, CodeRevoked, Event, HolderRegistered, Sealed, Slot, StandingChanged,
};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, Position};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::memory::{AppendFault, MemoryEventStore};
use citycode_event_store::{
    AppendError, AppendOutcome, CommandId, EventStore, Layout, LogId, LogPosition, NewCommit, Partition, message_id,
};
use citycode_log_folds::holder_stream;
use citycode_projection::status::{FingerprintKey, PartitionPoint};

use super::super::projections::replay;
use super::super::{Answer, Attempt, Command, Moment, Run, SavedProjection, SeenVerdict, WholeLog};
use crate::{Draw, code_at, code_issued, commit_of};

const HOLDERS: usize = 6;
const STEPS: usize = 160;
const LIMIT_MS: u64 = 10_000;
const VALID_SECONDS: i64 = 30 * 86_400;

struct Person {
    holder: HolderId,
    state: HolderState,
}

struct World {
    draw: Draw,
    store: MemoryEventStore,
    people: Vec<Person>,
    now: Timestamp,
    moment: Moment,
    codes: Vec<(CodeId, HolderId, Partition)>,
    /// The proved positions of the verifiers, each with the time of its proof.
    proofs: Vec<(Moment, LogPosition)>,
    run: Run,
}

/// The correct history of a seed.
pub(super) fn good(seed: u64) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.end().await
    })
}

impl World {
    fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let (log_id, layout) = (LogId(draw.bytes()), Layout::new(2, 64).unwrap());
        let people = (0..HOLDERS).map(|_| Person {
            holder: HolderId(draw.bytes()),
            state: HolderState::default(),
        });
        let people = people.collect();
        Self {
            draw,
            store: MemoryEventStore::new(log_id, layout),
            people,
            now: Timestamp(1_700_000_000),
            moment: Duration::ZERO,
            codes: Vec::new(),
            proofs: vec![(Duration::ZERO, LogPosition::start(2))],
            run: Run {
                log: WholeLog {
                    log_id,
                    layout,
                    commits: Vec::new(),
                },
                commands: Vec::new(),
                verdicts: Vec::new(),
                projections: Vec::new(),
            },
        }
    }

    fn pass(&mut self) -> Moment {
        self.moment += Duration::from_millis(1 + self.draw.below(40));
        self.moment
    }

    async fn step(&mut self) {
        self.pass();
        self.now = self.now.plus_seconds(match self.draw.below(40) {
            0 => VALID_SECONDS,
            _ => i64::try_from(self.draw.below(5)).unwrap(),
        });
        match self.draw.below(10) {
            0..6 => self.command().await,
            6 => {
                let heads = self.store.heads().await.unwrap();
                self.proofs.push((self.moment, heads));
            }
            _ => self.scan(),
        }
    }

    /// Executes one command, with its attempts and answers.
    async fn command(&mut self) {
        let person = usize::try_from(self.draw.below(HOLDERS as u64)).unwrap();
        let mut command = Command::new(CommandId(self.draw.bytes()));
        let invoked_at = self.moment;
        let Some(event) = self.decide(person) else {
            let answered_at = self.pass();
            command.attempts.push(Attempt {
                invoked_at,
                answered_at,
                answer: Answer::Refused,
            });
            self.run.commands.push(command);
            return;
        };
        let commit = self.commit(person, &event, command.command_id);
        let mut invoked_at = invoked_at;
        loop {
            let answer = self.append(person, &commit, &event).await;
            let answered_at = self.pass();
            command.attempts.push(Attempt {
                invoked_at,
                answered_at,
                answer,
            });
            let again = matches!(answer, Answer::Unknown | Answer::NotDone) && self.draw.below(3) > 0;
            if !again {
                break;
            }
            invoked_at = self.pass();
        }
        self.run.commands.push(command);
    }

    fn decide(&mut self, person: usize) -> Option<Event> {
        let choice = self.draw.below(10);
        let kind = CodeKind::new(1 + u8::try_from(self.draw.below(3)).unwrap()).unwrap();
        // The third kind is issued through a guardian.
        let guardian = (kind.number() == 3).then(|| self.people[0].holder);
        let slot = Slot { kind, guardian };
        let Person { holder, state } = &self.people[person];
        let (holder, now) = (*holder, self.now.max(state.last_decided_at));
        if !state.registered {
            return Some(Event::HolderRegistered(HolderRegistered { holder }));
        }
        let alive = state.alive(slot, now).map(|alive| alive.code_ref());
        match (choice, alive) {
            (0..6, supersedes) => Some(Event::CodeIssued(self.issue(holder, slot, supersedes, now))),
            (6, Some(code)) => Some(Event::CodeReportedLost(CodeReportedLost {
                code,
                acting_guardian: None,
            })),
            (7, Some(code)) => Some(Event::CodeRevoked(CodeRevoked {
                code,
                reason: Sealed::default(),
            })),
            (8, _) => {
                let codes = self.people[person]
                    .state
                    .all_alive(now)
                    .map(|alive| alive.code_ref())
                    .collect();
                Some(Event::StandingChanged(StandingChanged {
                    standing: *self.draw.pick(&[Standing::Green, Standing::Yellow, Standing::Red]),
                    codes,
                    reason: Sealed::default(),
                }))
            }
            _ => None,
        }
    }

    fn issue(&mut self, holder: HolderId, slot: Slot, supersedes: Option<CodeRef>, now: Timestamp) -> CodeIssued {
        let partition = self.run.log.layout.bucket_of(&holder_stream(holder)).partition;
        let expires_at = now.plus_seconds(VALID_SECONDS);
        let code_id = CodeId(self.draw.bytes());
        self.codes.push((code_id, holder, partition));
        let index = u32::try_from(self.codes.len()).unwrap();
        let partition = u8::try_from(partition.0).unwrap();
        let code = CodeRef {
            slot,
            code_id,
            ..code_at(partition, slot.kind, expires_at, index)
        };
        let person = self.people.iter().find(|person| person.holder == holder).unwrap();
        CodeIssued {
            supersedes,
            standing: person.state.standing,
            claims_digest: ClaimsDigest(self.draw.bytes()),
            ..code_issued(code, now, expires_at)
        }
    }

    fn commit(&self, person: usize, event: &Event, command_id: CommandId) -> NewCommit {
        let Person { holder, state } = &self.people[person];
        let stream = holder_stream(*holder);
        let decided_at = self.now.max(state.last_decided_at);
        NewCommit {
            message_id: message_id("test", &stream, &command_id),
            command_id,
            ..commit_of(stream, event, 0, decided_at.0)
        }
    }

    async fn append(&mut self, person: usize, commit: &NewCommit, event: &Event) -> Answer {
        match self.draw.below(12) {
            0 => self.store.fail_next_append(AppendFault::CommittedButUnknown),
            1 => self.store.fail_next_append(AppendFault::LostAndUnknown),
            2 => self.store.fail_next_append(AppendFault::Unavailable),
            _ => {}
        }
        let before = self.store.heads().await.unwrap();
        let tail = self
            .store
            .bucket_tail(self.run.log.layout.bucket_of(&commit.stream))
            .await
            .unwrap();
        let outcome = self.store.append_at(commit.clone(), tail).await;
        let after = self.store.heads().await.unwrap();
        if after != before {
            let (partition, sequence) = after
                .iter()
                .find(|(partition, sequence)| before.sequence(*partition) != *sequence)
                .unwrap();
            let position = Position { partition, sequence };
            self.people[person]
                .state
                .apply(event, position, Timestamp(commit.decided_at));
        }
        match outcome {
            Ok(AppendOutcome::Appended { position, .. }) => Answer::Done {
                position: Some(position),
                code_id: match event {
                    Event::CodeIssued(issued) => Some(issued.code.code_id),
                    _ => None,
                },
            },
            Ok(AppendOutcome::Unknown) => Answer::Unknown,
            Err(AppendError::Unavailable(_)) => Answer::NotDone,
            other => panic!("{other:?}"),
        }
    }

    /// Adds a verdict of a verifier with the last proof or the one before it.
    fn scan(&mut self) {
        if self.codes.is_empty() {
            return;
        }
        let (code_id, holder, partition) = *self.draw.pick(&self.codes);
        let newest = self.proofs.len() - 1;
        let proof = newest.saturating_sub(usize::try_from(self.draw.below(2)).unwrap());
        let (proved_at, known) = self.proofs[proof].clone();
        let sequence = known.sequence(partition);
        let age_ms = u64::try_from((self.moment - proved_at).as_millis()).unwrap();
        self.run.verdicts.push(SeenVerdict {
            verifier: format!("verifier-{}", self.draw.below(2)),
            asked_at: self.moment,
            code_id,
            // Completed at the end, from the log up to that position.
            admitted: age_ms <= LIMIT_MS && holder != HolderId([0; 16]),
            position: citycode_event_store::Position { partition, sequence },
            age_ms,
            limit_ms: LIMIT_MS,
        });
    }

    async fn end(mut self) -> Run {
        self.run.log = WholeLog::read(&self.store).await.unwrap();
        let codes = super::super::codes::check(&self.run.log, &mut Vec::new());
        for verdict in &mut self.run.verdicts {
            let validity = codes.get(&verdict.code_id).copied();
            let known = |position: citycode_event_store::Position| position.sequence <= verdict.position.sequence;
            verdict.admitted &=
                validity.is_some_and(|validity| known(validity.issued_at) && !validity.ended_at.is_some_and(known));
        }
        for (number, share) in [(0u8, 1), (1, 2)] {
            let key = FingerprintKey(self.draw.bytes());
            let points: Vec<PartitionPoint> = (0..2u16)
                .map(|partition| {
                    let of_partition = self.run.log.commits.iter();
                    let count = of_partition
                        .filter(|commit| commit.position.partition.0 == partition)
                        .count() as u64;
                    PartitionPoint {
                        sequence: count / share,
                        ..PartitionPoint::START
                    }
                })
                .collect();
            self.run.projections.push(SavedProjection {
                verifier: format!("verifier-{number}"),
                bytes: replay(&self.run.log, key, &points).unwrap(),
            });
        }
        self.run
    }
}
