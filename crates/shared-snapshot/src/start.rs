//! The start of a projection: from a shared snapshot if that avoids replaying much of the log.
//!
//! No failure here prevents the start of a service: an unavailable or refused snapshot is logged, and the instance
//! starts from its own snapshot, or replays the whole log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::follow::FollowError;
use citycode_event_store::{EventStore, LogPosition};
use citycode_jetstream::Connection;
use citycode_projection::LogIdentity;
use citycode_projection::snapshot::{self, FORMAT_WITHOUT_TREES, ProjectionKind};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::health::{Component, HealthRegistry};

use crate::{FetchError, Published, Refusal, SharedSnapshots, SnapshotKeys, Statement, object};

/// A shared snapshot is fetched only if it saves replaying more commits than this: replaying so many takes as long as
/// fetching. A verifier replays about 127,000 commits per second, and fetches a snapshot of 100 million codes in two or
/// three seconds (docs/benchmarks.md).
const WORTH_FETCHING: u64 = 500_000;
/// Attempts to fetch, because a snapshot may be replaced while it is fetched.
const ATTEMPTS: usize = 3;

/// The progress of a start, for the log, metrics and health.
pub struct Starting {
    kind: ProjectionKind,
    clock: Arc<dyn Clock>,
    component: Component,
    started_at: Duration,
    fetched: Option<Statement>,
    /// Whether only snapshots with the trees of the log can be used.
    needs_trees: bool,
    loaded: u64,
    origin: String,
}

impl Starting {
    /// A start that begins now; `health` lists it as `status_start` or `register_start`.
    #[must_use]
    pub fn begin(kind: ProjectionKind, clock: Arc<dyn Clock>, health: &HealthRegistry) -> Self {
        let component = health.component(&format!("{}_start", object(kind)));
        component.starting("looking for a snapshot");
        Self {
            kind,
            started_at: clock.monotonic(),
            clock,
            component,
            fetched: None,
            needs_trees: false,
            loaded: 0,
            origin: String::new(),
        }
    }

    /// As this start, for a projection that can use only snapshots with the trees of the log.
    #[must_use]
    pub fn with_trees(mut self, needs_trees: bool) -> Self {
        self.needs_trees = needs_trees;
        self
    }

    /// Fetches the shared snapshot to `file` if that avoids replaying much of `log`. A failure is logged; then `file`,
    /// this instance's own snapshot, is unchanged.
    pub async fn fetch(
        &mut self,
        connection: &Connection,
        keys: SnapshotKeys,
        log: &dyn EventStore,
        identity: LogIdentity,
        file: &Path,
    ) {
        match SharedSnapshots::connect(connection, self.kind, keys).await {
            Ok(shared) => {
                let target = Target {
                    shared: &shared,
                    log,
                    identity,
                    file,
                    component: &self.component,
                    needs_trees: self.needs_trees,
                };
                self.fetched = target.fetch_if_worth().await;
            }
            Err(error) => {
                let projection = object(self.kind);
                tracing::warn!(%error, projection, "shared snapshots cannot be reached");
            }
        }
    }
}

/// A shared snapshot and the file to which it is fetched.
struct Target<'a> {
    shared: &'a SharedSnapshots,
    log: &'a dyn EventStore,
    identity: LogIdentity,
    file: &'a Path,
    component: &'a Component,
    needs_trees: bool,
}

impl Target<'_> {
    async fn fetch_if_worth(&self) -> Option<Statement> {
        let file = self.file.to_owned();
        let own = own_commits(self.shared.kind(), self.identity, file, self.needs_trees).await;
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            match self.fetch_once(own.as_deref()).await {
                Ok(fetched) => return fetched,
                // The snapshot may have been replaced and its chunks removed meanwhile.
                Err(error @ FetchError::Refused(Refusal::Truncated)) => failed = Some(error),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let (projection, error) = (object(self.shared.kind()), failed?);
        match error {
            FetchError::Refused(why) => {
                metrics::counter!("citycode_shared_snapshots_refused_total", "projection" => projection).increment(1);
                tracing::error!(%why, projection, "SHARED SNAPSHOT REFUSED: the own snapshot and the log are used instead");
            }
            error => tracing::warn!(%error, projection, "no shared snapshot was fetched"),
        }
        None
    }

    /// One attempt; none if there is no shared snapshot or the own one is recent enough.
    async fn fetch_once(&self, own: Option<&[u64]>) -> Result<Option<Statement>, FetchError> {
        let projection = object(self.shared.kind());
        let found = match self.shared.current().await? {
            Published::Nothing => {
                tracing::info!(projection, "there is no shared snapshot yet");
                return Ok(None);
            }
            Published::Refused { why, .. } => return Err(why.into()),
            Published::Signed { found, .. } => found,
        };
        let statement = &found.statement;
        if self.needs_trees && !statement.has_trees() {
            // Revocation services write them if their configuration has the section `witnessed_log`.
            tracing::warn!(
                projection,
                "the shared snapshot has no trees of the log, so it is not used"
            );
            return Ok(None);
        }
        // The heads are read after the statement, so the statement of this log's snapshot cannot be ahead of them.
        match self.log.heads().await {
            Ok(heads) => statement.check(self.shared.kind(), &self.identity, &sequences(&heads))?,
            Err(error) => {
                tracing::warn!(%error, projection, "the log's heads cannot be read, so no shared snapshot is used");
                return Ok(None);
            }
        }
        let behind = |own: &[u64]| -> u64 {
            let pairs = statement.points.iter().zip(own);
            pairs.map(|(shared, own)| shared.saturating_sub(*own)).sum()
        };
        if own.is_some_and(|own| behind(own) < WORTH_FETCHING) {
            tracing::info!(projection, "this instance's own snapshot is recent enough");
            return Ok(None);
        }
        self.component
            .starting(format!("fetching the shared snapshot of {} bytes", statement.length));
        self.shared.fetch(&found, &self.identity, self.file).await?;
        Ok(Some(found.statement))
    }
}

/// The position of the own snapshot; none if it is missing, damaged, or lacks the trees that are needed.
async fn own_commits(
    kind: ProjectionKind,
    identity: LogIdentity,
    file: PathBuf,
    needs_trees: bool,
) -> Option<Vec<u64>> {
    let checking = tokio::task::spawn_blocking(move || {
        let format = snapshot::format_of(File::open(&file).ok()?).ok()?;
        if needs_trees && format <= FORMAT_WITHOUT_TREES {
            return None;
        }
        let points = snapshot::check(kind, &identity, File::open(file).ok()?).ok()?;
        Some(points.iter().map(|point| point.sequence).collect())
    });
    checking.await.ok().flatten()
}

pub(crate) fn sequences(position: &LogPosition) -> Vec<u64> {
    position.iter().map(|(_, sequence)| sequence.0).collect()
}

impl Starting {
    /// Records that the projection was loaded at `position`, from where the log is followed.
    pub fn loaded(&mut self, position: &LogPosition) {
        let shared = self
            .fetched
            .as_ref()
            .filter(|statement| statement.points == sequences(position));
        self.loaded = position.commits();
        self.origin = match shared {
            Some(statement) => {
                let made = jiff::Timestamp::from_second(statement.made_at).unwrap_or_default();
                format!("the snapshot shared at {made}")
            }
            None if self.loaded == 0 => "an empty state".into(),
            None => "its own snapshot".into(),
        };
        let (projection, seconds) = (object(self.kind), self.seconds());
        tracing::info!(
            projection,
            origin = self.origin,
            commits = self.loaded,
            seconds,
            "starting from a snapshot or the log"
        );
        self.component.starting(format!(
            "loaded {}, {} commits, in {seconds:.2} s; replaying the log",
            self.origin, self.loaded
        ));
    }

    /// Records that the head of the log was reached.
    pub fn caught_up(&self, position: &LogPosition) {
        let (projection, seconds) = (object(self.kind), self.seconds());
        let tail = position.commits().saturating_sub(self.loaded);
        let labels = [("projection", projection)];
        metrics::gauge!("citycode_start_seconds", &labels).set(seconds);
        metrics::gauge!("citycode_start_snapshot_commits", &labels).set(self.loaded as f64);
        metrics::gauge!("citycode_start_tail_commits", &labels).set(tail as f64);
        let summary = format!(
            "started from {}, {} commits, and {tail} more from the log, in {seconds:.2} s",
            self.origin, self.loaded
        );
        tracing::info!(projection, "{summary}");
        self.component.ready_saying(summary);
    }

    /// Records that the log could not be followed to its head.
    pub fn stopped(&self, error: &FollowError) {
        let (projection, origin, loaded) = (object(self.kind), &self.origin, self.loaded);
        let summary = format!("started from {origin}, {loaded} commits; the log cannot be followed further: {error}");
        tracing::error!(projection, "{summary}");
        self.component.stopped(summary);
    }

    fn seconds(&self) -> f64 {
        self.clock.monotonic().saturating_sub(self.started_at).as_secs_f64()
    }
}
