//! Folds that follow the log, each in a task of its own.

use std::path::Path;
use std::sync::Arc;

use citycode_audit::{Audit, AuditIndex};
use citycode_domain::policy::Policy;
use citycode_event_store::follow::{Continuity, Fold, Progress, follow};
use citycode_event_store::{BucketId, EventStore, Layout, LogPosition, RecordedCommit, Revision, foreign};
use citycode_log_folds::{RegisterFold, SystemFold, events_of, holder_of, keys_stream};
use citycode_log_tree::LogTrees;
use citycode_projection::register::HolderRegister;
use citycode_query_stream::Queries;
use citycode_scan_records::RecordArchive;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::health::Component;
use tokio::task::JoinHandle;

use super::StartError;
use super::lag::Lag;
use super::snapshots::RegisterSnapshot;

/// The name of the projection that scans read, in [`Lag`].
const VERIFIER: &str = "verifier";
/// The number of confined buckets that health names.
const MOST_NAMED: usize = 8;

/// The scan records, the stream of queries and the log's trees, where the process has them.
pub type AuditStores = (
    Option<Arc<dyn RecordArchive>>,
    Option<Arc<Queries>>,
    Option<Arc<LogTrees>>,
);

/// Follows the log in a task of its own, reports its state to health, and measures its lag.
pub fn spawn_follower(
    store: &Arc<dyn EventStore>,
    fold: impl Fold + 'static,
    progress: &Progress,
    health: Component,
    lag: Lag,
) -> JoinHandle<()> {
    let (store, progress) = (Arc::clone(store), progress.clone());
    health.starting("the log is being folded");
    let mut fold = Reported::of(fold, health.clone(), lag.projection(), store.layout());
    tokio::spawn(async move {
        let error = tokio::select! {
            error = follow(&*store, &mut fold, &progress) => error,
            never = lag.keep_measuring(&*store, &progress) => match never {},
        };
        metrics::counter!("citycode_followers_stopped_total").increment(1);
        tracing::error!(%error, "FOLLOWING THE LOG STOPPED: the projection is not updated any more");
        // A restart does not repair a log. A verifier goes on answering from its state until that is too old (R24).
        health.stopped(error.to_string());
    })
}

/// A fold that reports foreign messages in log lines, metrics and health.
struct Reported<F> {
    fold: F,
    health: Component,
    projection: &'static str,
    /// The bucket of signing keys.
    keys: BucketId,
    live: bool,
}

impl<F: Fold> Reported<F> {
    fn of(fold: F, health: Component, projection: &'static str, layout: Layout) -> Self {
        Self {
            fold,
            health,
            projection,
            keys: layout.bucket_of(&keys_stream()),
            live: false,
        }
    }

    /// Reports confined buckets in health; all other buckets are served.
    fn report(&self) {
        let confined = self.fold.confined();
        metrics::gauge!("citycode_log_confined_buckets", "projection" => self.projection)
            .set(u32::try_from(confined.len()).map_or(f64::MAX, f64::from));
        if !self.live {
            return;
        }
        if confined.is_empty() {
            self.health.ready();
        } else {
            let buckets: Vec<String> = confined.iter().take(MOST_NAMED).map(ToString::to_string).collect();
            let said = format!(
                "foreign messages confine {} buckets of the log ({}); see citycode log inspect",
                confined.len(),
                buckets.join(", ")
            );
            // The foreign message may have marked a key as compromised, so no code can be checked.
            if self.projection == VERIFIER && confined.contains(&self.keys) {
                self.health.not_ready(said);
            } else {
                self.health.ready_saying(said);
            }
        }
    }
}

impl<F: Fold> Fold for Reported<F> {
    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        self.fold.fold(commit)?;
        if let Some(message) = &commit.foreign {
            metrics::counter!("citycode_log_foreign_messages_total", "projection" => self.projection).increment(1);
            tracing::error!(
                position = %commit.position, bucket = %commit.bucket, digest = %message.digest, bytes = message.length,
                reason = %message.reason,
                "A FOREIGN MESSAGE IS IN THE LOG: its bucket is confined until an operator declares it"
            );
            self.report();
        } else if foreign::is_declarations(&commit.commit.stream) {
            tracing::warn!(position = %commit.position, bucket = %commit.bucket, "a foreign message was declared");
            self.report();
        }
        Ok(())
    }

    fn received(&mut self, message: &RecordedCommit) -> Result<(), String> {
        self.fold.received(message)
    }

    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        self.fold.continuity(commit)
    }

    fn confined(&self) -> Vec<BucketId> {
        self.fold.confined()
    }

    fn confine(&mut self, bucket: BucketId, commits: &[RecordedCommit]) -> Result<(), String> {
        self.fold.confine(bucket, commits)
    }

    fn batch_ended(&mut self) -> Result<(), String> {
        self.fold.batch_ended()
    }

    fn caught_up(&mut self, position: &LogPosition) {
        self.fold.caught_up(position);
        self.live = true;
        self.report();
    }
}

/// The register of holders and the task that folds the log into it.
pub struct FollowedRegister {
    /// The projection.
    pub register: Arc<HolderRegister>,
    /// How far the log was folded.
    pub progress: Progress,
    /// Folds until it is aborted.
    pub follower: JoinHandle<()>,
}

/// The register from its snapshot, followed from its position on. `refolded` hold state that a snapshot does not contain
/// (keys, leases) and are folded from the beginning; `erasures` are not folded twice.
pub async fn follow_register(
    store: &Arc<dyn EventStore>,
    snapshot: &RegisterSnapshot,
    refolded: Vec<Arc<dyn SystemFold>>,
    erasures: Option<Arc<dyn SystemFold>>,
    health: Component,
    clock: &Arc<dyn Clock>,
) -> Result<FollowedRegister, StartError> {
    let (register, from) = (Arc::clone(snapshot.register()), snapshot.reaches());
    refold_system(&**store, &from, &refolded).await?;
    let keepers: Vec<Arc<dyn SystemFold>> = refolded.into_iter().chain(erasures).collect();
    let progress = Progress::new(&from);
    let fold = RegisterFold::new(Arc::clone(&register), keepers);
    let follower = spawn_follower(store, fold, &progress, health, Lag::of("register", clock));
    Ok(FollowedRegister {
        register,
        progress,
        follower,
    })
}

/// The auditors' index, followed from its position on.
pub async fn follow_index(
    store: &Arc<dyn EventStore>,
    folder: &Path,
    policy: &Arc<Policy>,
    (records, queries, trees): AuditStores,
    health: Component,
    clock: &Arc<dyn Clock>,
) -> Result<(Audit, JoinHandle<()>), StartError> {
    let opened = AuditIndex::open(folder, &**store).await;
    let (index, from) = opened.map_err(|error| StartError::Log(error.to_string()))?;
    let progress = Progress::new(&from);
    let audit = Audit {
        store: Arc::clone(store),
        index: index.reader(),
        progress: progress.clone(),
        policy: Arc::clone(policy),
        records,
        queries,
        trees,
        clock: Arc::clone(clock),
    };
    let lag = Lag::of("audit", clock);
    Ok((audit, spawn_follower(store, index, &progress, health, lag)))
}

/// Folds the state that a snapshot of the register does not contain, up to the snapshot's position: keys and leases. Those
/// events are few, and their buckets are read whole.
async fn refold_system(
    store: &dyn EventStore,
    from: &LogPosition,
    keepers: &[Arc<dyn SystemFold>],
) -> Result<(), StartError> {
    if keepers.is_empty() {
        return Ok(());
    }
    let layout = store.layout();
    let buckets = layout.all_partitions().map(|partition| layout.lease_bucket(partition));
    for bucket in buckets.chain([layout.bucket_of(&keys_stream())]) {
        for commit in store.read_bucket(bucket, Revision::EMPTY).await? {
            if !from.includes(commit.position) || holder_of(&commit.commit.stream).is_some() {
                continue;
            }
            for event in events_of(&commit).map_err(|error| StartError::Log(error.to_string()))? {
                for keeper in keepers {
                    keeper.fold_system(&event, commit.position).map_err(StartError::Log)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
