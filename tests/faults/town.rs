//! A small town in this process: writers with the core of issuers and revocation services (register, decision, append,
//! fold), watchers with the core of verifiers (status projection, proved freshness), and residents who issue, reissue,
//! lose and revoke codes through all writers concurrently. All answers are recorded for the checker.

mod resident;
mod watcher;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use citycode_domain::event::{Event, HolderRegistered};
use citycode_domain::ids::{ClaimsDigest, CodeId, HolderId, StatusRef};
use citycode_domain::lifecycle::HolderState;
use citycode_event_store::{CommandId, EventStore as _, Layout, LogId, Partition, Position};
use citycode_event_store_jetstream::{Config, JetStreamEventStore, NewLog, provision};
use citycode_projection::LogIdentity;
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_testkit::checker::{Answer, Command, Run, SavedProjection, WholeLog, check};
use citycode_testkit::{Draw, eventually, eventually_some};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use resident::{context, live};
use watcher::Watcher;
use writer::Writer;

/// Time limit, e.g. for an election on a busy machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// The largest age of a watcher's state at which it admits.
const LIMIT: Duration = Duration::from_secs(3);
const PARTITIONS: u16 = 2;
const HOLDERS: usize = 8;
const WRITERS: usize = 2;
const WATCHERS: usize = 2;
/// Residents at each writer.
const RESIDENTS: u64 = 3;
/// Pause between two commands of a resident, and between two scans at a watcher.
const PACE: Duration = Duration::from_millis(20);
/// The number of newest codes that are presented, including dead ones.
const SHOWN: usize = 48;
/// A run is meaningful only with so many acknowledged commands and admitted scans.
const ENOUGH_DONE: u64 = 100;
const ENOUGH_ADMITTED: u64 = 20;

/// A presented code.
#[derive(Clone, Copy)]
struct Shown {
    code_id: CodeId,
    status: StatusRef,
    digest: ClaimsDigest,
}

/// State shared by residents and watchers.
struct Common {
    clock: SystemClock,
    holders: Vec<HolderId>,
    places: AtomicU32,
    codes: Mutex<Vec<Shown>>,
    stop: AtomicBool,
    done: AtomicU64,
    admitted: AtomicU64,
}

/// A running town.
pub(crate) struct Town {
    config: Config,
    seed: u64,
    common: Arc<Common>,
    writers: Vec<Writer>,
    watchers: Vec<Watcher>,
    residents: Vec<JoinHandle<Vec<Command>>>,
}

impl Town {
    /// Creates the log and starts the town. Writers connect with `ways`, in turn; watchers and the checker connect with
    /// `config`.
    pub(crate) async fn start_by(config: &Config, ways: &[Config], seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let new = NewLog::new(LogId(draw.bytes()), Layout::new(PARTITIONS, 64).expect("a layout"));
        // Servers that have just started may answer late.
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
            let decision =
                |_: &HolderState, _| Ok::<_, ()>(vec![Event::HolderRegistered(HolderRegistered { holder: *holder })]);
            writers[0]
                .log
                .execute(*holder, &context, &decision)
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

    /// As [`Town::start_by`], with the same connection for all.
    pub(crate) async fn start(config: &Config, seed: u64) -> Self {
        Self::start_by(config, std::slice::from_ref(config), seed).await
    }

    /// Waits for so many more acknowledged commands.
    pub(crate) async fn progress(&self, commands: u64) {
        let wanted = self.common.done.load(Ordering::SeqCst) + commands;
        let what = format!("seed {}: the town goes on", self.seed);
        eventually(&what, PATIENCE, || async {
            self.common.done.load(Ordering::SeqCst) >= wanted
        })
        .await;
    }

    /// Waits until no watcher admits, because none can prove its freshness.
    pub(crate) async fn becomes_stale(&self) {
        let what = format!("seed {}: watchers are stale", self.seed);
        eventually(&what, PATIENCE, || async { self.ages().all(|age| age > LIMIT) }).await;
    }

    /// Waits until every watcher has proved its freshness.
    pub(crate) async fn becomes_fresh(&self) {
        let what = format!("seed {}: watchers prove their freshness", self.seed);
        eventually(&what, PATIENCE, || async { self.ages().all(|age| age <= LIMIT) }).await;
    }

    /// The age of each watcher's state of each partition.
    fn ages(&self) -> impl Iterator<Item = Duration> {
        let now = self.common.clock.reading();
        let all = self
            .watchers
            .iter()
            .flat_map(|watcher| (0..PARTITIONS).map(move |partition| (watcher, Partition(partition))));
        all.map(move |(watcher, partition)| Duration::from_millis(watcher.freshness.of(partition, &now).age_ms))
    }

    /// Stops the town after enough commands: watchers fold the whole log, and the checker must find nothing.
    pub(crate) async fn end(self) {
        self.becomes_fresh().await;
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

/// Prints a summary of the run, and checks that watchers judged at many positions of the log.
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

/// Opens the log; servers during an election answer late.
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
