//! Revocation services publish shared snapshots for instances that start later.
//!
//! There is no leader. Each instance checks the published snapshot at random intervals, and publishes a new one if the
//! same snapshot has been there for too long since this instance first saw it (clocks of other machines are not
//! trusted), or if it is unusable. If two instances publish at once, the servers accept one. The next check of any
//! instance removes the remains of a crash.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::{EventStore, ReadError};
use citycode_jetstream::ConnectError;
use citycode_jetstream::Connection;
use citycode_jetstream::api::ApiError;
use citycode_jetstream::object_store::Committed;
use citycode_projection::LogIdentity;
use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::repeated::Repeated;
use citycode_shared_snapshot::{NewSnapshot, PublishError, Published, SharedSnapshots, SnapshotKeys};
use citycode_token::SigningKey;
use tokio::task::JoinHandle;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use super::shared_snapshot::{self, name_of, sequences};
use crate::wiring::snapshots::SnapshotFile;
use crate::wiring::{StartError, Surroundings};

/// The first check happens within so many milliseconds after the start; each instance draws its own delay.
const FIRST_CHECK_MS: u32 = 3_000;
/// Checks per publishing period: a snapshot is replaced at most a quarter of the period late.
const CHECKS_PER_PERIOD: u32 = 4;
/// Chunks of a replaced snapshot remain for so long for instances that are fetching it; a slow network takes minutes.
const LONGEST_GRACE: Duration = Duration::from_secs(300);

/// Publishes one kind of snapshots.
struct Publisher {
    kind: ProjectionKind,
    connection: Connection,
    keys: SnapshotKeys,
    signing: SigningKey,
    snapshot: Arc<dyn SnapshotFile>,
    identity: LogIdentity,
    log: Arc<dyn EventStore>,
    surroundings: Surroundings,
    every: Duration,
    shared: Option<SharedSnapshots>,
    /// Sequence of the published snapshot, and when this instance first saw it.
    seen: Option<(u64, Duration)>,
}

/// Why a check failed; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Store(#[from] ApiError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("there is no snapshot to publish: {0}")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Spawns a publisher for each snapshot for which this service has the keys.
///
/// # Errors
/// An existing key cannot be read, or is invalid.
pub(super) fn spawn(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
    surroundings: &Surroundings,
    snapshots: [(ProjectionKind, Arc<dyn SnapshotFile>); 2],
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut tasks = Vec::new();
    if !dependencies.keys_folder().join(shared_snapshot::SIGNING).exists() {
        tracing::warn!(
            missing = shared_snapshot::SIGNING,
            "no snapshots are published: this service does not have the key"
        );
        return Ok(tasks);
    }
    let signing = SigningKey::from_seed(*dependencies.secret(shared_snapshot::SIGNING)?);
    for (kind, snapshot) in snapshots {
        let Some(keys) = shared_snapshot::keys(dependencies, kind)? else {
            continue;
        };
        if !keys.signers.contains(&signing.public_key()) {
            tracing::error!(
                "{} IS NOT IN {}: readers would refuse its snapshots",
                shared_snapshot::SIGNING,
                shared_snapshot::SIGNERS
            );
            continue;
        }
        let publisher = Publisher {
            kind,
            connection: settings.log.connection(dependencies.role().program())?,
            keys,
            signing: signing.clone(),
            snapshot,
            identity: dependencies.identity,
            log: Arc::clone(&dependencies.log),
            surroundings: surroundings.clone(),
            every: settings.publish_every(),
            shared: None,
            seen: None,
        };
        tasks.push(tokio::spawn(publisher.run()));
    }
    Ok(tasks)
}

impl Publisher {
    async fn run(mut self) {
        let projection = name_of(self.kind);
        let between = self.every / CHECKS_PER_PERIOD;
        let mut pause = Duration::from_millis(u64::from(self.surroundings.entropy.below(FIRST_CHECK_MS)));
        pause = pause.min(between);
        let repeated = Repeated::default();
        loop {
            tokio::time::sleep(pause).await;
            match self.check().await {
                Ok(()) => repeated.over(),
                Err(error) => {
                    metrics::counter!("citycode_shared_snapshot_failures_total", "projection" => projection)
                        .increment(1);
                    let now = self.surroundings.clock.monotonic();
                    if let Some(unreported) = repeated.trouble(&error.to_string(), now) {
                        tracing::warn!(%error, projection, unreported, "no snapshot was published; the earlier one remains");
                    }
                }
            }
            // The pause varies by a quarter in both directions, so that instances do not stay synchronised.
            pause = between * (750 + self.surroundings.entropy.below(500)) / 1_000;
        }
    }

    async fn check(&mut self) -> Result<(), CheckError> {
        let shared = match &self.shared {
            Some(shared) => shared.clone(),
            None => {
                let connected = SharedSnapshots::connect(&self.connection, self.kind, self.keys.clone()).await?;
                self.shared.insert(connected).clone()
            }
        };
        let published = shared.current().await?;
        if self.is_due(&shared, &published).await? {
            self.publish(&shared, published.sequence()).await?;
        }
        let removed = shared.sweep(LONGEST_GRACE.min(self.every)).await?;
        if removed > 0 {
            tracing::debug!(removed, projection = name_of(self.kind), "unused objects were removed");
        }
        Ok(())
    }

    async fn is_due(&mut self, shared: &SharedSnapshots, published: &Published) -> Result<bool, CheckError> {
        let projection = name_of(self.kind);
        let (found, sequence) = match published {
            Published::Nothing => return Ok(true),
            Published::Refused { why, .. } => {
                tracing::error!(%why, projection, "THE SHARED SNAPSHOT IS NOT FROM THIS CITY: it is replaced");
                return Ok(true);
            }
            Published::Signed { found, sequence } => (found, *sequence),
        };
        let heads = self.log.heads().await?;
        if let Err(why) = found.statement.check(self.kind, &self.identity, &sequences(&heads)) {
            tracing::warn!(%why, projection, "the shared snapshot is unusable: it is replaced");
            return Ok(true);
        }
        if !shared.is_whole(found).await? {
            tracing::warn!(projection, "the shared snapshot is incomplete: it is replaced");
            return Ok(true);
        }
        let now = self.surroundings.clock.monotonic();
        match self.seen {
            Some((seen, since)) if seen == sequence => Ok(now.saturating_sub(since) >= self.every),
            _ => {
                tracing::info!(
                    projection,
                    commits = found.statement.commits(),
                    "there is a shared snapshot"
                );
                self.seen = Some((sequence, now));
                Ok(false)
            }
        }
    }

    async fn publish(&self, shared: &SharedSnapshots, replaces: u64) -> Result<(), CheckError> {
        let (projection, clock) = (name_of(self.kind), &self.surroundings.clock);
        let start = clock.monotonic();
        self.snapshot.save().await;
        let new = NewSnapshot {
            // The next save replaces the file by a rename, so the open file does not change.
            file: File::open(self.snapshot.file())?,
            identity: self.identity,
            signing: &self.signing,
            salt: self.surroundings.entropy.array(),
            made_at: clock.now().0,
            replaces,
        };
        let (committed, statement) = shared.publish(new).await?;
        let seconds = clock.monotonic().saturating_sub(start).as_secs_f64();
        let (commits, bytes) = (statement.commits(), statement.length);
        match committed {
            Committed::Now => {
                metrics::counter!("citycode_shared_snapshots_published_total", "projection" => projection).increment(1);
                tracing::info!(projection, commits, bytes, seconds, "published a shared snapshot");
            }
            Committed::Conflict => {
                tracing::info!(
                    projection,
                    "another instance published a snapshot meanwhile; this one is discarded"
                );
            }
        }
        Ok(())
    }
}
