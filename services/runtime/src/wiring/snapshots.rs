//! Snapshots of projections: taken while a process runs and at its end, used at the next start.
//!
//! A snapshot that is damaged, foreign or newer is thrown away, said loudly, and the log replayed.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_event_store::{EventStore, LogPosition, Sequence};
use citycode_projection::LogIdentity;
use citycode_projection::register::HolderRegister;
use citycode_service_kit::files;
use citycode_service_kit::shutdown::Signal;
use tokio::sync::Mutex;

/// Buffer for reading snapshot files: few system calls, little memory.
pub const BUFFER_BYTES: usize = 1 << 20;

/// Something that can be written down for the next start.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// Writes it beside the old one and then in its place. A crash leaves the old one; so does a failure, which is
    /// said in the log.
    async fn save(&self);
}

/// One that stands in a file, which others may be given.
pub trait SnapshotFile: Snapshot {
    /// Where it stands.
    fn file(&self) -> &Path;
}

/// Saves all of them every so often, for ever, until the signal. The last time is the caller's.
pub async fn keep_saving(snapshots: Vec<Arc<dyn Snapshot>>, every: Duration, stopped: Signal) {
    let mut tick = tokio::time::interval(every);
    tick.tick().await;
    loop {
        tokio::select! {
            _ = tick.tick() => save_all(&snapshots).await,
            () = stopped.clone().wait() => return,
        }
    }
}

/// Saves all of them.
pub async fn save_all(snapshots: &[Arc<dyn Snapshot>]) {
    for snapshot in snapshots {
        snapshot.save().await;
    }
}

/// Writes one on a thread that may block, and says in the log where that failed. `turn` is the file's: whoever saves
/// for the next start and whoever saves for others write it one after the other.
pub async fn save_blocking(
    what: &'static str,
    turn: &Mutex<()>,
    write: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) {
    let _turn = turn.lock().await;
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, what, "no snapshot was written; the old one stands"),
        Err(_) => tracing::error!(what, "writing a snapshot panicked"),
    }
}

/// The identity of a log as snapshots carry it.
#[must_use]
pub fn identity_of(store: &dyn EventStore) -> LogIdentity {
    let layout = store.layout();
    LogIdentity {
        log_id: store.log_id().0,
        partitions: layout.partitions(),
        buckets_per_partition: layout.buckets_per_partition(),
        hash_version: layout.hash_version(),
    }
}

/// The register of holders and its file.
#[derive(Clone)]
pub struct RegisterSnapshot {
    file: PathBuf,
    identity: LogIdentity,
    register: Arc<HolderRegister>,
    turn: Arc<Mutex<()>>,
}

impl RegisterSnapshot {
    /// The register from its file, or an empty one.
    pub fn open(file: PathBuf, identity: LogIdentity) -> Self {
        let register = Arc::new(load_register(&file, &identity));
        Self {
            file,
            identity,
            register,
            turn: Arc::default(),
        }
    }

    /// The projection that is saved.
    #[must_use]
    pub fn register(&self) -> &Arc<HolderRegister> {
        &self.register
    }

    /// Everything up to here is folded.
    pub fn reaches(&self) -> LogPosition {
        let sequences = (0..self.identity.partitions)
            .map(|partition| Sequence(self.register.point(partition).map_or(0, |point| point.sequence)))
            .collect();
        LogPosition::from_sequences(sequences)
    }
}

#[async_trait]
impl Snapshot for RegisterSnapshot {
    async fn save(&self) {
        let this = self.clone();
        save_blocking("register", &self.turn, move || {
            files::stream_private(&this.file, |out| {
                this.register.save(&this.identity, out).map_err(std::io::Error::other)
            })
        })
        .await;
    }
}

impl SnapshotFile for RegisterSnapshot {
    fn file(&self) -> &Path {
        &self.file
    }
}

fn load_register(path: &Path, identity: &LogIdentity) -> HolderRegister {
    let loaded = File::open(path)
        .ok()
        .map(|file| HolderRegister::load(identity, BufReader::with_capacity(BUFFER_BYTES, file)));
    match loaded {
        Some(Ok(register)) => register,
        Some(Err(error)) => {
            tracing::warn!(%error, file = %path.display(), "SNAPSHOT THROWN AWAY: the register is rebuilt from the log");
            HolderRegister::new(identity.partitions)
        }
        None => HolderRegister::new(identity.partitions),
    }
}
