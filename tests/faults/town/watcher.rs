//! Watchers, which follow the log and judge presented codes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use citycode_domain::status::{Life, Status};
use citycode_event_store::follow::{Fold, Progress, follow};
use citycode_event_store::{EventStore, LogPosition, Partition, Position, RecordedCommit, Sequence};
use citycode_event_store_jetstream::Config;
use citycode_log_folds::{folded_events, projected};
use citycode_projection::status::{self, FingerprintKey, StatusReader, StatusWriter};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::health::HealthRegistry;
use citycode_testkit::Draw;
use citycode_testkit::checker::SeenVerdict;
use citycode_verifier::{Freshness, FreshnessWatch};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::{Common, LIMIT, PACE, PARTITIONS, SHOWN, Shown, opened};

/// The core of a verifier.
pub(super) struct Watcher {
    pub(super) progress: Progress,
    pub(super) freshness: Arc<Freshness>,
    pub(super) status: Arc<Mutex<StatusWriter>>,
    pub(super) judging: JoinHandle<Vec<SeenVerdict>>,
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
    pub(super) async fn open(config: &Config, number: usize, seed: u64, common: &Arc<Common>) -> Self {
        let store: Arc<dyn EventStore> = Arc::new(opened(config).await);
        let mut draw = Draw::new(seed);
        let (writer, reader) = status::new(PARTITIONS, FingerprintKey(draw.bytes()));
        let status = Arc::new(Mutex::new(writer));
        let progress = Progress::new(&LogPosition::start(PARTITIONS));
        let (mut fold, followed, folded) = (StatusFold(Arc::clone(&status)), Arc::clone(&store), progress.clone());
        tokio::spawn(async move {
            let error = follow(&*followed, &mut fold, &folded).await;
            eprintln!("a watcher stopped following: {error}");
        });
        let freshness = Arc::new(Freshness::new(store.layout()));
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

/// The town's clock as the clock of services.
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

/// Judges scans like a verifier: the age of the state is read before the state.
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
        let reading = common.clock.reading();
        let asked_at = reading.monotonic;
        // A code of a list that is not folded yet has no verdict.
        let Some(facts) = reader.facts(shown.status.list) else {
            continue;
        };
        let partition = Partition(facts.partition);
        let age_ms = freshness.of(partition, &reading).age_ms;
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
                partition,
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
