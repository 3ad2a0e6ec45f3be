//! Snapshots of projections: taken while a process runs and at its end, used at the next start.
//!
//! A snapshot that is damaged, of another log or of a newer version is discarded with a log line, and the log is replayed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_event_store::{LogPosition, Sequence};
use citycode_issuer::vault_age::{ErasureMark, VaultMark};
use citycode_log_folds::load_register;
use citycode_projection::LogIdentity;
use citycode_projection::register::HolderRegister;
use citycode_service_kit::files;
use citycode_service_kit::shutdown::Signal;
use citycode_shared_snapshot::SnapshotFile;
use tokio::sync::Mutex;

/// State that is written to disk for the next start.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// Writes it beside the previous one and then replaces that atomically. A crash leaves the previous one; so does a
    /// failure, which is logged.
    async fn save(&self);
}

/// Saves all snapshots at this interval until the signal. The caller saves them once more at the end.
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

/// Saves all snapshots, one after the other.
pub async fn save_all(snapshots: &[Arc<dyn Snapshot>]) {
    for snapshot in snapshots {
        snapshot.save().await;
    }
}

/// Writes one on a thread that may block, and logs a failure. `writing` is the lock of the file: the task that saves for
/// the next start and the one that publishes the snapshot write it one after the other.
pub async fn save_blocking(
    what: &'static str,
    writing: &Mutex<()>,
    write: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) {
    let _writing = writing.lock().await;
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, what, "no snapshot was written; the previous one remains"),
        Err(_) => tracing::error!(what, "writing a snapshot panicked"),
    }
}

/// The register of holders and its file.
#[derive(Clone)]
pub struct RegisterSnapshot {
    file: PathBuf,
    identity: LogIdentity,
    register: Arc<HolderRegister>,
    writing: Arc<Mutex<()>>,
}

impl RegisterSnapshot {
    /// The register from its file, or an empty one.
    pub fn open(file: PathBuf, identity: LogIdentity) -> Self {
        let register = Arc::new(load_register(&file, &identity));
        Self {
            file,
            identity,
            register,
            writing: Arc::default(),
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
        save_blocking("register", &self.writing, move || {
            files::stream_private(&this.file, |out| {
                this.register.save(&this.identity, out).map_err(std::io::Error::other)
            })
        })
        .await;
    }
}

#[async_trait]
impl SnapshotFile for RegisterSnapshot {
    async fn write(&self) {
        self.save().await;
    }

    fn path(&self) -> &Path {
        &self.file
    }
}

// The marks are saved like snapshots, before the register's, so that its snapshot is never ahead of the vault's mark.

#[async_trait]
impl Snapshot for VaultMark {
    async fn save(&self) {
        self.advance().await;
    }
}

#[async_trait]
impl Snapshot for ErasureMark {
    async fn save(&self) {
        self.advance().await;
    }
}
