//! The task that publishes shared snapshots for instances that start later; revocation services run it.
//!
//! There is no leader. Each instance checks the published snapshot at random intervals, and publishes a new one if the
//! same snapshot has been there for too long since this instance first saw it (clocks of other machines are not
//! trusted), or if it is unusable. If two instances publish at once, the servers accept one. The next check of any
//! instance removes the remains of a crash.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_event_store::{EventStore, ReadError};
use citycode_jetstream::api::ApiError;
use citycode_jetstream::object_store::Committed;
use citycode_jetstream::{ConnectError, Connection};
use citycode_projection::LogIdentity;
use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::repeated::Repeated;
use citycode_token::SigningKey;

use crate::start::sequences;
use crate::{NewSnapshot, PublishError, Published, SharedSnapshots, SnapshotKeys, object};

/// The first check happens within so many milliseconds after the start; each instance draws its own delay.
const FIRST_CHECK_MS: u32 = 3_000;
/// Checks per publishing period: a snapshot is replaced at most a quarter of the period late.
const CHECKS_PER_PERIOD: u32 = 4;
/// Chunks of a replaced snapshot remain for so long for instances that are fetching it; a slow network takes minutes.
const LONGEST_GRACE: Duration = Duration::from_secs(300);

/// The file of a projection's snapshot.
#[async_trait]
pub trait SnapshotFile: Send + Sync {
    /// Writes the current state beside the file and then replaces it atomically. A failure is logged, and leaves the
    /// previous file.
    async fn write(&self);

    /// The path of the file.
    fn path(&self) -> &Path;
}

/// Publishes one kind of snapshots.
pub struct Publisher {
    /// The kind.
    pub kind: ProjectionKind,
    /// The servers, and the credentials of this client.
    pub connection: Connection,
    /// The keys of the kind; the public key of `signing` is one of the signers.
    pub keys: SnapshotKeys,
    /// The key that signs statements.
    pub signing: SigningKey,
    /// The snapshot to publish.
    pub snapshot: Arc<dyn SnapshotFile>,
    /// The log of the snapshot.
    pub identity: LogIdentity,
    /// The same log; a published snapshot that is ahead of it is replaced.
    pub log: Arc<dyn EventStore>,
    /// Measures how long a snapshot has been published, and is recorded in new ones.
    pub clock: Arc<dyn Clock>,
    /// Randomness for salts and pauses.
    pub entropy: Arc<dyn Entropy>,
    /// A snapshot is replaced after this time.
    pub every: Duration,
}

/// A running publisher.
struct Publishing {
    publisher: Publisher,
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

impl Publisher {
    /// Runs forever. A failed check is repeated.
    pub async fn run(self) {
        let publishing = Publishing {
            publisher: self,
            shared: None,
            seen: None,
        };
        publishing.run().await;
    }
}

impl Publishing {
    async fn run(mut self) {
        let projection = object(self.publisher.kind);
        let between = self.publisher.every / CHECKS_PER_PERIOD;
        let mut pause = Duration::from_millis(u64::from(self.publisher.entropy.below(FIRST_CHECK_MS)));
        pause = pause.min(between);
        let repeated = Repeated::default();
        loop {
            tokio::time::sleep(pause).await;
            match self.check().await {
                Ok(()) => repeated.over(),
                Err(error) => {
                    metrics::counter!("citycode_shared_snapshot_failures_total", "projection" => projection)
                        .increment(1);
                    let now = self.publisher.clock.monotonic();
                    if let Some(unreported) = repeated.failed(&error.to_string(), now) {
                        tracing::warn!(%error, projection, unreported, "no snapshot was published; the earlier one remains");
                    }
                }
            }
            // The pause varies by a quarter in both directions, so that instances do not stay synchronised.
            pause = between * (750 + self.publisher.entropy.below(500)) / 1_000;
        }
    }

    async fn check(&mut self) -> Result<(), CheckError> {
        let shared = match &self.shared {
            Some(shared) => shared.clone(),
            None => {
                let connected = SharedSnapshots::connect(
                    &self.publisher.connection,
                    self.publisher.kind,
                    self.publisher.keys.clone(),
                )
                .await?;
                self.shared.insert(connected).clone()
            }
        };
        let published = shared.current().await?;
        if self.is_due(&shared, &published).await? {
            self.publish(&shared, published.sequence()).await?;
        }
        let removed = shared.sweep(LONGEST_GRACE.min(self.publisher.every)).await?;
        if removed > 0 {
            tracing::debug!(
                removed,
                projection = object(self.publisher.kind),
                "unused objects were removed"
            );
        }
        Ok(())
    }

    async fn is_due(&mut self, shared: &SharedSnapshots, published: &Published) -> Result<bool, CheckError> {
        let projection = object(self.publisher.kind);
        let (found, sequence) = match published {
            Published::Nothing => return Ok(true),
            Published::Refused { why, .. } => {
                tracing::error!(%why, projection, "THE SHARED SNAPSHOT IS NOT FROM THIS CITY: it is replaced");
                return Ok(true);
            }
            Published::Signed { found, sequence } => (found, *sequence),
        };
        let heads = self.publisher.log.heads().await?;
        if let Err(why) = found
            .statement
            .check(self.publisher.kind, &self.publisher.identity, &sequences(&heads))
        {
            tracing::warn!(%why, projection, "the shared snapshot is unusable: it is replaced");
            return Ok(true);
        }
        if !shared.is_whole(found).await? {
            tracing::warn!(projection, "the shared snapshot is incomplete: it is replaced");
            return Ok(true);
        }
        let now = self.publisher.clock.monotonic();
        match self.seen {
            Some((seen, since)) if seen == sequence => Ok(now.saturating_sub(since) >= self.publisher.every),
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
        let (projection, clock) = (object(self.publisher.kind), &self.publisher.clock);
        let start = clock.monotonic();
        self.publisher.snapshot.write().await;
        let new = NewSnapshot {
            // The next save replaces the file by a rename, so the open file does not change.
            file: File::open(self.publisher.snapshot.path())?,
            identity: self.publisher.identity,
            signing: &self.publisher.signing,
            salt: self.publisher.entropy.array(),
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
