//! The vault as bytes, and back, as its servers take a snapshot of a stream: every page that stands, sealed as it is, and
//! no key. Taken from a vault that is in use it is that of one moment.
//!
//! A backup has whom the log calls erased since: the first issuer after it was brought back erases them again, by the
//! mark that stands in the vault ([`crate::Vault::erased_up_to`]).

use citycode_jetstream::snapshot::{self, Description, SnapshotError};
use citycode_jetstream::{Client, api};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use super::manifest::Manifest;
use super::open::{OpenError, check, connect};
use super::{STREAM, VaultConfig};

/// Why a vault was not backed up or brought back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What stands there is not the vault that is meant, or the servers cannot be asked.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is to be brought back is none of a vault.
    #[error("it is no backup of a vault: {0}")]
    NoVault(String),
    /// What is to be brought back is the vault of another log.
    #[error("it is the vault of another log")]
    OtherLog,
    /// There is a vault already.
    #[error("the servers have a vault; nothing is put over it")]
    Stands,
    /// The snapshot itself.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Writes the vault to `to`, whole once this returns; gives what is needed to bring it back.
///
/// # Errors
/// [`BackupError`]; what was written is of no use then.
pub async fn back_up(
    config: &VaultConfig,
    to: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<Description, BackupError> {
    let client = connect(config).await?;
    check(&client, config).await?;
    Ok(snapshot::take(&client, STREAM, to).await?)
}

/// Makes the vault of a backup, kept by as many servers as the configuration says. Nothing is changed where there is one.
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
    if stands(&client).await? {
        return Err(BackupError::Stands);
    }
    let mut description = description.clone();
    description.config.insert("num_replicas".into(), json!(config.replicas));
    snapshot::restore(&client, STREAM, &description, from).await?;
    check(&client, config).await?;
    Ok(())
}

/// Whether the vault that stands is the one of a backup, and not older than it: its last message was stored there, and is
/// still what it was where nothing superseded it.
///
/// # Errors
/// [`BackupError`].
pub async fn is_at_or_after(config: &VaultConfig, description: &Description) -> Result<bool, BackupError> {
    let backup = Manifest::from_metadata(&description.metadata()).map_err(BackupError::NoVault)?;
    let client = connect(config).await?;
    let standing = check(&client, config).await?;
    let info = api::stream_info(&client, STREAM).await.map_err(OpenError::Unanswered)?;
    let last = description.state.get("last_seq").and_then(serde_json::Value::as_u64);
    let last = last.ok_or_else(|| BackupError::NoVault("it does not say where it ends".into()))?;
    if standing.vault_id != backup.vault_id || info.state.last_seq < last {
        return Ok(false);
    }
    let stored = description.state.get("last_ts").and_then(serde_json::Value::as_str);
    let there = api::get_from_leader(&client, STREAM, &json!({ "seq": last })).await;
    let there = there.map_err(OpenError::Unanswered)?.and_then(|message| message.time);
    // An older one that was written to since may be as long, with another message at that place.
    Ok(stored
        .zip(there.as_deref())
        .is_none_or(|(stored, there)| stored == there))
}

async fn stands(client: &Client) -> Result<bool, OpenError> {
    match api::stream_info(client, STREAM).await {
        Ok(_) => Ok(true),
        Err(error) if error.has_code(api::code::STREAM_NOT_FOUND) => Ok(false),
        Err(error) => Err(OpenError::Unanswered(error)),
    }
}
