//! The files of the keys of shared snapshots, which `citycode secrets` creates.

use std::path::{Path, PathBuf};

use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::files::{self, FileError};
use citycode_token::SigningKey;
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::SnapshotKeys;
use crate::seal::SealKey;

/// File of the accepted public keys of signers, one per line in hexadecimal digits.
pub const SIGNERS: &str = "snapshot-signing.pub";
/// File of the signing key of revocation services.
pub const SIGNING: &str = "snapshot-signing.key";

/// File of the key that seals snapshots of a kind.
#[must_use]
pub const fn seal_file(kind: ProjectionKind) -> &'static str {
    match kind {
        ProjectionKind::Status => "status-snapshot.key",
        ProjectionKind::Register => "register-snapshot.key",
    }
}

/// Why the keys of a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// An existing file cannot be read, or may be read by others.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file of signers contains something else.
    #[error("{} contains no list of public keys: replace it by the one that `citycode secrets` created", .0.display())]
    Signers(PathBuf),
}

impl SnapshotKeys {
    /// The keys of a kind's snapshots in a folder; none, with a warning in the log, if a file is missing.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(folder: &Path, kind: ProjectionKind) -> Result<Option<Self>, KeyFileError> {
        for name in [SIGNERS, seal_file(kind)] {
            if !folder.join(name).exists() {
                tracing::warn!(
                    missing = name,
                    "shared snapshots are not used: this service does not have their keys"
                );
                return Ok(None);
            }
        }
        Ok(Some(Self {
            seal: SealKey::new(*files::read_secret(&folder.join(seal_file(kind)))?),
            signers: read_signers(folder)?,
        }))
    }
}

/// The public keys of accepted signatures; none if the file is missing.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_signers(folder: &Path) -> Result<Vec<[u8; 32]>, KeyFileError> {
    let path = folder.join(SIGNERS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = files::read_private(&path)?;
    let lines = String::from_utf8_lossy(&text);
    let signers = lines.split_ascii_whitespace().map(|line| {
        let key = HEXLOWER_PERMISSIVE.decode(line.as_bytes()).ok();
        key.and_then(|key| key.try_into().ok())
    });
    let signers: Option<Vec<[u8; 32]>> = signers.collect();
    signers.ok_or(KeyFileError::Signers(path))
}

/// The key that signs snapshots; none, with a warning in the log, if its file is missing.
///
/// # Errors
/// [`FileError`].
pub fn read_signing(folder: &Path) -> Result<Option<SigningKey>, FileError> {
    let path = folder.join(SIGNING);
    if !path.exists() {
        tracing::warn!(
            missing = SIGNING,
            "no snapshots are published: this service does not have the key"
        );
        return Ok(None);
    }
    Ok(Some(SigningKey::from_seed(*files::read_secret(&path)?)))
}
