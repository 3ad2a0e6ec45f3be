//! Backup and restore of the vault with the servers' stream snapshots: a backup contains every current page,
//! sealed, and no key. A backup of a vault in use is consistent.
//!
//! A backup contains people whom the log erased later: the first issuer after a restore erases them again, by
//! the mark in the vault ([`crate::Vault::erased_up_to`]).

use citycode_jetstream::snapshot::{self, Description, SnapshotError};
use citycode_jetstream::{Client, api};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use super::manifest::Manifest;
use super::open::{OpenError, check, connect};
use super::{STREAM, VaultConfig};

/// Why a vault was not backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The stream is not the expected vault, or the servers did not answer.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backup is not one of a vault.
    #[error("it is not a backup of a vault: {0}")]
    NoVault(String),
    /// The backup is the vault of another log.
    #[error("it is the vault of another log")]
    OtherLog,
    /// The servers already have a vault.
    #[error("the servers already have a vault, which is not overwritten")]
    AlreadyExists,
    /// The snapshot request failed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Writes a complete backup of the vault to `to`; returns the description that a restore needs.
///
/// # Errors
/// [`BackupError`]; the partial output is unusable.
pub async fn back_up(
    config: &VaultConfig,
    to: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<Description, BackupError> {
    let client = connect(config).await?;
    check(&client, config).await?;
    Ok(snapshot::take(&client, STREAM, to).await?)
}

/// Restores the vault from a backup, with the number of replicas of the configuration. An existing vault is not
/// changed.
///
/// # Errors
/// [`BackupError`].
pub async fn bring_back(
    config: &VaultConfig,
    description: &Description,
    from: &mut (impl AsyncRead + Unpin + Send),
) -> Result<(), BackupError> {
    let manifest = Manifest::from_metadata(&description.metadata()).map_err(BackupError::NoVault)?;
    if config
        .expected_log_id
        .is_some_and(|expected| expected != manifest.log_id)
    {
        return Err(BackupError::OtherLog);
    }
    let client = connect(config).await?;
    if exists(&client).await? {
        return Err(BackupError::AlreadyExists);
    }
    let mut description = description.clone();
    description.config.insert("num_replicas".into(), json!(config.replicas));
    snapshot::restore(&client, STREAM, &description, from).await?;
    check(&client, config).await?;
    Ok(())
}

/// Whether the existing vault is that of a backup and not older: it contains the backup's last message,
/// unchanged unless it was superseded.
///
/// # Errors
/// [`BackupError`].
pub async fn is_at_or_after(config: &VaultConfig, description: &Description) -> Result<bool, BackupError> {
    let backup = Manifest::from_metadata(&description.metadata()).map_err(BackupError::NoVault)?;
    let client = connect(config).await?;
    let standing = check(&client, config).await?;
    let info = api::stream_info(&client, STREAM).await.map_err(OpenError::Unanswered)?;
    let last = description.state.get("last_seq").and_then(serde_json::Value::as_u64);
    let last = last.ok_or_else(|| BackupError::NoVault("it does not state its last sequence".into()))?;
    if standing.vault_id != backup.vault_id || info.state.last_seq < last {
        return Ok(false);
    }
    let stored = description.state.get("last_ts").and_then(serde_json::Value::as_str);
    let there = api::get_from_leader(&client, STREAM, &json!({ "seq": last })).await;
    let there = there.map_err(OpenError::Unanswered)?.and_then(|message| message.time);
    // A vault that is older but was written to since may have another message at that sequence.
    Ok(stored
        .zip(there.as_deref())
        .is_none_or(|(stored, there)| stored == there))
}

async fn exists(client: &Client) -> Result<bool, OpenError> {
    match api::stream_info(client, STREAM).await {
        Ok(_) => Ok(true),
        Err(error) if error.has_code(api::code::STREAM_NOT_FOUND) => Ok(false),
        Err(error) => Err(OpenError::Unanswered(error)),
    }
}
