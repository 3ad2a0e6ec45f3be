//! Starts from a shared snapshot, which revocation services publish on the log's servers, if that avoids replaying much
//! of the log.
//!
//! No failure here prevents the start of a service: an unavailable or refused snapshot is logged, and the instance
//! starts from its own snapshot, or replays the whole log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_event_store::LogPosition;
use citycode_event_store::follow::FollowError;
use citycode_projection::LogIdentity;
use citycode_projection::snapshot::{self, ProjectionKind};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::files;
use citycode_service_kit::health::{Component, HealthRegistry};
use citycode_shared_snapshot::seal::SealKey;
use citycode_shared_snapshot::{FetchError, Published, Refusal, SharedSnapshots, SnapshotKeys, Statement};
use data_encoding::HEXLOWER_PERMISSIVE;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use crate::wiring::{StartError, Surroundings};

/// Replaying so many commits takes as long as fetching the snapshot of a whole city: a verifier replays about 270,000
/// commits per second, and fetches a hundred million codes in two or three seconds (docs/benchmarks.md).
const WORTH_FETCHING: u64 = 500_000;
/// Attempts to fetch, because a snapshot may be replaced while it is fetched.
const ATTEMPTS: usize = 3;

/// File of the accepted public keys of signers, one per line in hexadecimal digits.
pub(super) const SIGNERS: &str = "snapshot-signing.pub";
/// File of the signing key of revocation services.
pub(super) const SIGNING: &str = "snapshot-signing.key";

/// The projection's name in logs, metrics and health.
pub(super) const fn name_of(kind: ProjectionKind) -> &'static str {
    match kind {
        ProjectionKind::Status => "status",
        ProjectionKind::Register => "register",
    }
}

const fn seal_file(kind: ProjectionKind) -> &'static str {
    match kind {
        ProjectionKind::Status => "status-snapshot.key",
        ProjectionKind::Register => "register-snapshot.key",
    }
}

/// The keys of a kind's snapshots; none, with a warning in the log, if this service does not have them.
///
/// # Errors
/// An existing key cannot be read, or is invalid.
pub(super) fn keys(dependencies: &Dependencies, kind: ProjectionKind) -> Result<Option<SnapshotKeys>, StartError> {
    let folder = dependencies.keys_folder();
    for name in [SIGNERS, seal_file(kind)] {
        if !folder.join(name).exists() {
            tracing::warn!(
                missing = name,
                "shared snapshots are not used: this service does not have their keys"
            );
            return Ok(None);
        }
    }
    let path = folder.join(SIGNERS);
    let text = files::read_private(&path)?;
    let lines = String::from_utf8_lossy(&text);
    let signers = lines.split_ascii_whitespace().map(|line| {
        let key = HEXLOWER_PERMISSIVE.decode(line.as_bytes()).ok();
        key.and_then(|key| key.try_into().ok())
    });
    let signers: Option<Vec<[u8; 32]>> = signers.collect();
    Ok(Some(SnapshotKeys {
        seal: SealKey::new(*dependencies.secret(seal_file(kind))?),
        signers: signers.ok_or(StartError::SnapshotSigners(path))?,
    }))
}

/// The progress of a start, for the log, metrics and health.
pub(super) struct Starting {
    kind: ProjectionKind,
    clock: Arc<dyn Clock>,
    component: Component,
    started_at: std::time::Duration,
    fetched: Option<Statement>,
    loaded: u64,
    origin: String,
}

/// Fetches a shared snapshot to `file` if that is worth it.
///
/// # Errors
/// The keys or the seed of this service cannot be read.
pub(super) async fn fetch(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
    surroundings: &Surroundings,
    health: &HealthRegistry,
    kind: ProjectionKind,
    file: &Path,
) -> Result<Starting, StartError> {
    let component = health.component(&format!("{}_start", name_of(kind)));
    component.starting("looking for a snapshot");
    let clock = Arc::clone(&surroundings.clock);
    let mut starting = Starting {
        kind,
        started_at: clock.monotonic(),
        clock,
        component,
        fetched: None,
        loaded: 0,
        origin: String::new(),
    };
    if !settings.shared_snapshots.start_from {
        return Ok(starting);
    }
    let Some(keys) = keys(dependencies, kind)? else {
        return Ok(starting);
    };
    let servers = dependencies.role().servers_of_log(settings);
    let connection = servers.connection(dependencies.role().program())?;
    let projection = name_of(kind);
    match SharedSnapshots::connect(&connection, kind, keys).await {
        Ok(shared) => starting.fetched = fetch_if_worth(dependencies, &shared, file, &starting.component).await,
        Err(error) => tracing::warn!(%error, projection, "shared snapshots cannot be reached"),
    }
    Ok(starting)
}

async fn fetch_if_worth(
    dependencies: &Dependencies,
    shared: &SharedSnapshots,
    file: &Path,
    component: &Component,
) -> Option<Statement> {
    let own = own_commits(shared.kind(), dependencies.identity, file.to_owned()).await;
    let mut failed = None;
    for _ in 0..ATTEMPTS {
        match fetch_once(dependencies, shared, own.as_deref(), file, component).await {
            Ok(fetched) => return fetched,
            // The snapshot may have been replaced and its chunks removed meanwhile.
            Err(error @ FetchError::Refused(Refusal::Truncated)) => failed = Some(error),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let (projection, error) = (name_of(shared.kind()), failed?);
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
async fn fetch_once(
    dependencies: &Dependencies,
    shared: &SharedSnapshots,
    own: Option<&[u64]>,
    file: &Path,
    component: &Component,
) -> Result<Option<Statement>, FetchError> {
    let projection = name_of(shared.kind());
    let found = match shared.current().await? {
        Published::Nothing => {
            tracing::info!(projection, "there is no shared snapshot yet");
            return Ok(None);
        }
        Published::Refused { why, .. } => return Err(why.into()),
        Published::Signed { found, .. } => found,
    };
    let statement = &found.statement;
    // The heads are read after the statement, so an honest statement cannot be ahead of them.
    match dependencies.log.heads().await {
        Ok(heads) => statement.check(shared.kind(), &dependencies.identity, &sequences(&heads))?,
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
    component.starting(format!("fetching the shared snapshot of {} bytes", statement.length));
    shared.fetch(&found, &dependencies.identity, file).await?;
    Ok(Some(found.statement))
}

/// The position of the own snapshot; none if it is missing or damaged.
async fn own_commits(kind: ProjectionKind, identity: LogIdentity, file: PathBuf) -> Option<Vec<u64>> {
    let checking = tokio::task::spawn_blocking(move || {
        let points = snapshot::check(kind, &identity, File::open(file).ok()?).ok()?;
        Some(points.iter().map(|point| point.sequence).collect())
    });
    checking.await.ok().flatten()
}

pub(super) fn sequences(position: &LogPosition) -> Vec<u64> {
    position.iter().map(|(_, sequence)| sequence.0).collect()
}

impl Starting {
    /// Records that the projection was loaded at `position`, from where the log is followed.
    pub(super) fn loaded(&mut self, position: &LogPosition) {
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
        let (projection, seconds) = (name_of(self.kind), self.seconds());
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
    pub(super) fn caught_up(&self, position: &LogPosition) {
        let (projection, seconds) = (name_of(self.kind), self.seconds());
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
    pub(super) fn stopped(&self, error: &FollowError) {
        let (projection, origin, loaded) = (name_of(self.kind), &self.origin, self.loaded);
        let summary = format!("started from {origin}, {loaded} commits; the log cannot be followed further: {error}");
        tracing::error!(projection, "{summary}");
        self.component.stopped(summary);
    }

    fn seconds(&self) -> f64 {
        self.clock.monotonic().saturating_sub(self.started_at).as_secs_f64()
    }
}
