//! A small town in this process: writers as issuers and revocation services are inside (register, decision, append,
//! fold), watchers as verifiers are inside (fold of the status, proved freshness), residents who issue, reissue, lose
//! and revoke codes through all writers at once. Whatever anybody is told is written down for the checker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use citycode_domain::event::{CodeIssued, CodeRef, CodeReportedLost, CodeRevoked, EligibilityGround, Event};
use citycode_domain::event::{HolderRegistered, Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, StatusRef};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::status::{Life, Status};
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Fold, Progress, follow};
use citycode_event_store::{
    CommandId, EventStore, Layout, LogId, LogPosition, Partition, Position, RecordedCommit, Sequence,
};
use citycode_event_store_jetstream::{Config, EchoAnswers, JetStreamEventStore, NewLog, provision};
use citycode_holder_log::{
    CommandContext, ExecuteError, HolderLog, PureDecision, RegisterFold, folded_events, projected,
};
use citycode_projection::LogIdentity;
use citycode_projection::register::HolderRegister;
use citycode_projection::status::{self, FingerprintKey, StatusReader, StatusWriter};
use citycode_service_kit::clock::{Clock, SystemClock};
use citycode_service_kit::health::HealthRegistry;
use citycode_testkit::checker::{Answer, Attempt, Command, Run, SavedProjection, SeenVerdict, WholeLog, check};
use citycode_testkit::{Draw, eventually, eventually_some};
use citycode_verifier::{Freshness, FreshnessWatch};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// Elections on a busy machine of two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// As old as a watcher's knowledge may be when it lets somebody in.
const LIMIT: Duration = Duration::from_secs(3);
const PARTITIONS: u16 = 2;
const HOLDERS: usize = 8;
const WRITERS: usize = 2;
const WATCHERS: usize = 2;
/// Residents at each writer.
const RESIDENTS: u64 = 3;
/// Between two commands of a resident, and between two scans at a watcher.
const PACE: Duration = Duration::from_millis(20);
/// A resident who hears nothing for so long goes away.
const GIVES_UP: Duration = Duration::from_secs(20);
const VALID_SECONDS: i64 = 30 * 86_400;
/// Of all codes the newest are shown, dead ones among them.
const SHOWN: usize = 48;
/// A run says something only if so many commands were done, and so many people let in.
const ENOUGH_DONE: u64 = 100;
const ENOUGH_ADMITTED: u64 = 20;

/// A code as somebody shows it.
#[derive(Clone, Copy)]
struct Shown {
    code_id: CodeId,
    status: StatusRef,
    digest: ClaimsDigest,
}

/// What residents and watchers share.
struct Common {
    clock: SystemClock,
    holders: Vec<HolderId>,
    places: AtomicU32,
    codes: Mutex<Vec<Shown>>,
    stop: AtomicBool,
    done: AtomicU64,
    admitted: AtomicU64,
}

struct Writer {
    log: Arc<HolderLog>,
    tasks: Vec<JoinHandle<()>>,
}

struct Watcher {
    progress: Progress,
    freshness: Arc<Freshness>,
    status: Arc<Mutex<StatusWriter>>,
    judging: JoinHandle<Vec<SeenVerdict>>,
}

/// The town, going about its day.
pub(crate) struct Town {
    config: Config,
    seed: u64,
    common: Arc<Common>,
    writers: Vec<Writer>,
    watchers: Vec<Watcher>,
    residents: Vec<JoinHandle<Vec<Command>>>,
}

impl Town {
    /// Makes the log, and goes about its day from then on. `ways` are how writers reach the servers, one after the
    /// other; watchers and the checker reach them as `config` says.
    pub(crate) async fn start_by(config: &Config, ways: &[Config], seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let new = NewLog {
            log_id: LogId(draw.bytes()),
            layout: Layout::new(PARTITIONS, 64).expect("a layout"),
        };
        // Servers that just came up may answer late.
        eventually_some("the log is made", PATIENCE, || async {
            provision(config, &new).await.ok()
        })
        .await;
        let common = Arc::new(Common {
            clock: SystemClock::new(),
            holders: (0..HOLDERS).map(|_| HolderId(draw.bytes())).collect(),
            places: AtomicU32::new(0),
            codes: Mutex::default(),
            stop: AtomicBool::new(false),
            done: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
        });
        let mut writers = Vec::new();
        for way in ways.iter().cycle().take(WRITERS) {
            writers.push(Writer::open(way, &common).await);
        }
        for holder in &common.holders {
            let context = context(CommandId(draw.bytes()), &common);
            let mut decision = PureDecision(|_: &HolderState, _| {
                Ok::<_, ()>(vec![Event::HolderRegistered(HolderRegistered { holder: *holder })])
            });
            writers[0]
                .log
                .execute(*holder, &context, &mut decision)
                .await
                .expect("a holder is registered");
        }
        let mut watchers = Vec::new();
        for number in 0..WATCHERS {
            watchers.push(Watcher::open(config, number, draw.bits(), &common).await);
        }
        let mut residents = Vec::new();
        for writer in &writers {
            for _ in 0..RESIDENTS {
                let (log, common) = (Arc::clone(&writer.log), Arc::clone(&common));
                residents.push(tokio::spawn(live(log, common, draw.bits())));
            }
        }
        Self {
            config: config.clone(),
            seed,
            common,
            writers,
            watchers,
            residents,
        }
    }

    /// As [`Town::start_by`], where all reach the servers alike.
    pub(crate) async fn start(config: &Config, seed: u64) -> Self {
        Self::start_by(config, std::slice::from_ref(config), seed).await
    }

    /// Until so many more commands were acknowledged.
    pub(crate) async fn progress(&self, commands: u64) {
        let wanted = self.common.done.load(Ordering::SeqCst) + commands;
        let what = format!("seed {}: the town goes on", self.seed);
        eventually(&what, PATIENCE, || async {
            self.common.done.load(Ordering::SeqCst) >= wanted
        })
        .await;
    }

    /// Until no watcher lets anybody in, because none can prove what it knows.
    pub(crate) async fn goes_blind(&self) {
        let what = format!("seed {}: watchers know that they cannot know", self.seed);
        eventually(&what, PATIENCE, || async { self.ages().all(|age| age > LIMIT) }).await;
    }

    /// Until every watcher has proved that it knows everything.
    pub(crate) async fn sees_again(&self) {
        let what = format!("seed {}: watchers prove what they know", self.seed);
        eventually(&what, PATIENCE, || async { self.ages().all(|age| age <= LIMIT) }).await;
    }

    fn ages(&self) -> impl Iterator<Item = Duration> {
        let now = self.common.clock.monotonic();
        self.watchers
            .iter()
            .map(move |watcher| Duration::from_millis(watcher.freshness.age_ms(now)))
    }

    /// The day ends once it was something: everybody comes home, watchers see everything, and the checker finds nothing.
    pub(crate) async fn end(self) {
        self.sees_again().await;
        let what = format!("seed {}: enough is done, and enough let in", self.seed);
        eventually(&what, PATIENCE, || async {
            self.common.done.load(Ordering::SeqCst) >= ENOUGH_DONE
                && self.common.admitted.load(Ordering::SeqCst) >= ENOUGH_ADMITTED
        })
        .await;
        self.common.stop.store(true, Ordering::SeqCst);
        let mut commands = Vec::new();
        for resident in self.residents {
            commands.extend(resident.await.expect("a resident comes home"));
        }
        for task in self.writers.iter().flat_map(|writer| &writer.tasks) {
            task.abort();
        }
        let reader = opened(&self.config).await;
        let heads = reader.heads().await.expect("the log says where it ends");
        let (mut verdicts, mut projections) = (Vec::new(), Vec::new());
        for (number, watcher) in self.watchers.into_iter().enumerate() {
            tokio::time::timeout(PATIENCE, watcher.progress.wait_for_all(&heads))
                .await
                .expect("a watcher sees all in time")
                .expect("a watcher follows to the end");
            verdicts.extend(watcher.judging.await.expect("a watcher comes home"));
            let mut bytes = Vec::new();
            let saved = watcher.status.lock().save(&identity(&reader), &mut bytes);
            saved.expect("memory takes a snapshot");
            projections.push(SavedProjection {
                verifier: format!("watcher-{number}"),
                bytes,
            });
        }
        let log = WholeLog::read(&reader).await.expect("the log can be read");
        let run = Run {
            log,
            commands,
            verdicts,
            projections,
        };
        summarise(&run, self.seed);
        assert_eq!(check(&run), Vec::new(), "seed {}", self.seed);
    }
}

/// Says what the run was, and makes sure that watchers did not judge by what they knew at the beginning alone.
fn summarise(run: &Run, seed: u64) {
    let answers = run.commands.iter().flat_map(|command| &command.attempts);
    let mut counts = [0; 4];
    for attempt in answers {
        counts[match attempt.answer {
            Answer::Done { .. } => 0,
            Answer::NotDone => 1,
            Answer::Refused => 2,
            Answer::Unknown => 3,
        }] += 1;
    }
    let admitted = run.verdicts.iter().filter(|verdict| verdict.admitted).count();
    eprintln!(
        "seed {seed}: {} commits; answers {counts:?} (done, not done, refused, unknown); {admitted} of {} verdicts \
         admit",
        run.log.commits.len(),
        run.verdicts.len()
    );
    let positions: BTreeSet<Position> = run.verdicts.iter().map(|verdict| verdict.position).collect();
    assert!(positions.len() > 20, "watchers saw little: {}", positions.len());
}

/// Servers amid an election answer late.
async fn opened(config: &Config) -> JetStreamEventStore {
    eventually_some("the log opens", PATIENCE, || async {
        JetStreamEventStore::open(config).await.ok()
    })
    .await
}

fn identity(store: &JetStreamEventStore) -> LogIdentity {
    let layout = store.layout();
    LogIdentity {
        log_id: store.log_id().0,
        partitions: layout.partitions(),
        buckets_per_partition: layout.buckets_per_partition(),
        hash_version: layout.hash_version(),
    }
}

fn context(command_id: CommandId, common: &Common) -> CommandContext {
    CommandContext {
        caller: "town".into(),
        command_id: citycode_domain::ids::CommandId(command_id.0),
        request_digest: [1; 32],
        actor: "test".into(),
        trace_context: None,
        now: Timestamp(common.clock.now().0),
    }
}

impl Writer {
    async fn open(config: &Config, common: &Arc<Common>) -> Self {
        let store = Arc::new(opened(config).await);
        let register = Arc::new(HolderRegister::new(PARTITIONS));
        let progress = Progress::new(&LogPosition::start(PARTITIONS));
        let mut fold = RegisterFold::new(Arc::clone(&register), Vec::new());
        let (followed, told) = (Arc::clone(&store), progress.clone());
        let following = tokio::spawn(async move {
            let error = follow(&*followed, &mut fold, &told).await;
            eprintln!("a writer stopped following: {error}");
        });
        let (answering, clock) = (Arc::clone(&store), Arc::clone(common));
        let answers = EchoAnswers {
            watermark_every: LIMIT / 3,
            patience: Duration::from_millis(50),
            now: Box::new(move || clock.clock.now().0),
        };
        let answering = tokio::spawn(async move {
            let reason = answering.answer_echoes(answers).await;
            eprintln!("a writer stopped answering: {reason}");
        });
        progress.wait_until_live().await.expect("the log is followed");
        Self {
            log: Arc::new(HolderLog::new(store, register, progress, Vec::new())),
            tasks: vec![following, answering],
        }
    }
}

struct StatusFold(Arc<Mutex<StatusWriter>>);

impl Fold for StatusFold {
    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        let events = folded_events(commit).map_err(|error| error.to_string())?;
        let alarms = self
            .0
            .lock()
            .apply(&projected(commit, &events))
            .map_err(|error| error.to_string())?;
        if alarms.is_empty() {
            Ok(())
        } else {
            Err(format!("{alarms:?}"))
        }
    }
}

impl Watcher {
    async fn open(config: &Config, number: usize, seed: u64, common: &Arc<Common>) -> Self {
        let store: Arc<dyn EventStore> = Arc::new(opened(config).await);
        let mut draw = Draw::new(seed);
        let (writer, reader) = status::new(PARTITIONS, FingerprintKey(draw.bytes()));
        let status = Arc::new(Mutex::new(writer));
        let progress = Progress::new(&LogPosition::start(PARTITIONS));
        let (mut fold, followed, told) = (StatusFold(Arc::clone(&status)), Arc::clone(&store), progress.clone());
        tokio::spawn(async move {
            let error = follow(&*followed, &mut fold, &told).await;
            eprintln!("a watcher stopped following: {error}");
        });
        let freshness = Arc::new(Freshness::default());
        let limit = u64::try_from(LIMIT.as_millis()).expect("seconds");
        let watch = FreshnessWatch::new(limit, HealthRegistry::new().component("freshness"));
        let clock: Arc<dyn Clock> = Arc::new(CommonClock(Arc::clone(common)));
        tokio::spawn(Arc::clone(&freshness).keep_probing(store, progress.clone(), clock, watch));
        let (proved, common) = (Arc::clone(&freshness), Arc::clone(common));
        let judging = tokio::spawn(judge(format!("watcher-{number}"), reader, proved, common, draw));
        Self {
            progress,
            freshness,
            status,
            judging,
        }
    }
}

/// The town's one clock, as services are handed theirs.
struct CommonClock(Arc<Common>);

impl Clock for CommonClock {
    fn now_millis(&self) -> i64 {
        self.0.clock.now_millis()
    }

    fn monotonic(&self) -> Duration {
        self.0.clock.monotonic()
    }

    fn reading(&self) -> citycode_service_kit::clock::ClockReading {
        self.0.clock.reading()
    }
}

/// Scans, as a verifier judges them: first how old its knowledge is, then what it knows.
async fn judge(
    verifier: String,
    reader: StatusReader,
    freshness: Arc<Freshness>,
    common: Arc<Common>,
    mut draw: Draw,
) -> Vec<SeenVerdict> {
    let (mut verdicts, mut pace) = (Vec::new(), tokio::time::interval(PACE));
    while !common.stop.load(Ordering::SeqCst) {
        pace.tick().await;
        let Some(shown) = pick(&common, &mut draw) else {
            continue;
        };
        let asked_at = common.clock.monotonic();
        let age_ms = freshness.age_ms(asked_at);
        let known = reader.lookup(shown.status, &shown.digest);
        let lives = matches!(known.status, Status::Issued { life: Life::Valid, .. });
        let limit_ms = u64::try_from(LIMIT.as_millis()).expect("seconds");
        let admitted = lives && age_ms <= limit_ms;
        common.admitted.fetch_add(u64::from(admitted), Ordering::SeqCst);
        verdicts.push(SeenVerdict {
            verifier: verifier.clone(),
            asked_at,
            code_id: shown.code_id,
            admitted,
            position: Position {
                partition: Partition(u16::from(shown.status.list.partition())),
                sequence: Sequence(known.sequence),
            },
            age_ms,
            limit_ms,
        });
    }
    verdicts
}

fn pick(common: &Common, draw: &mut Draw) -> Option<Shown> {
    let codes = common.codes.lock();
    let newest = &codes[codes.len().saturating_sub(SHOWN)..];
    (!newest.is_empty()).then(|| *draw.pick(newest))
}

/// A resident's life: every command with all that was said to it.
async fn live(log: Arc<HolderLog>, common: Arc<Common>, seed: u64) -> Vec<Command> {
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
                // Some ask again under the same id, others go away for good.
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
    let mut draw = Draw::new(seed);
    let partition = log.partition_of(holder);
    let mut decision =
        PureDecision(|state: &HolderState, now| decide(state, choice, now, partition, common, &mut draw).ok_or(()));
    let executing = log.execute(holder, context, &mut decision);
    // Who goes away undoes nothing: the outcome is unknown.
    let Ok(executed) = tokio::time::timeout(GIVES_UP, executing).await else {
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
        Err(ExecuteError::NotDone(_)) => Answer::NotDone,
        Err(ExecuteError::Unknown) => Answer::Unknown,
        Err(ExecuteError::IdempotencyKeyReused) => panic!("command ids are drawn"),
    }
}

/// The events of a command; none where there is nothing to act on.
fn decide(
    state: &HolderState,
    choice: u64,
    now: Timestamp,
    partition: Partition,
    common: &Common,
    draw: &mut Draw,
) -> Option<Vec<Event>> {
    let kind = CodeKind::new(1 + u8::try_from(choice % 3).expect("small")).expect("a kind");
    // The third kind is had through guardians, one code for each.
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
    CodeIssued {
        code: CodeRef {
            slot,
            code_id: CodeId(draw.bytes()),
            status: StatusRef {
                list: ListId::new(partition, slot.kind, expires_at, 0).expect("a list"),
                // A place put into any attempt is spent.
                index: common.places.fetch_add(1, Ordering::SeqCst),
            },
        },
        issued_at: now,
        expires_at,
        supersedes,
        standing: citycode_domain::standing::Standing::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([1; 4]),
        claims_digest: ClaimsDigest(draw.bytes()),
        sealed_token: Sealed::default(),
    }
}
