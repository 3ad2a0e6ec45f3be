//! Checks which parts of a data folder exist, and decides which of the missing ones the start may create.
//!
//! Everything is inspected before anything is created: with a silently recreated vault, people who are registered in
//! the log could register a second time and get a second valid code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use citycode_event_store::LogId;
use citycode_projection::snapshot::log_of;
use citycode_service_kit::files::{self, FileError};
use citycode_vault::log_binding::{self, BindingError, ForLog};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::begin_anew::BeginAnew;
use super::folder_manifest::{FolderManifest, ManifestError, Part, parse_log_id};
use super::marks::Mark;

/// Why the parts of a data folder cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The folder's manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file of the folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A part is missing.
    #[error(
        "the part `{part}` of this data folder is missing or empty ({}): restore it from the backup{}",
        path.display(), begin_anew_hint(*part, log_id)
    )]
    Missing {
        /// The part.
        part: Part,
        /// The missing file.
        path: PathBuf,
        /// The folder's log, if it is known.
        log_id: Option<LogId>,
    },
    /// A part belongs to another log.
    #[error(
        "the part `{part}` in {} belongs to another log than {log_id} ({why}): replace it by the part of this folder{}",
        path.display(), begin_anew_hint(*part, &Some(*log_id))
    )]
    Foreign {
        /// The part.
        part: Part,
        /// Its path.
        path: PathBuf,
        /// The folder's log.
        log_id: LogId,
        /// The evidence.
        why: String,
    },
    /// A part is older than another part or the mark.
    #[error(
        "the part `{part}` is older than {newer}: {what}. Replace it by the newest copy of `{part}`; if there is none, \
         `citycode up --accept-loss {log_id}` starts once and makes the loss safe (docs/operations.md, \"Restoring a data folder\")"
    )]
    Older {
        /// The part.
        part: Part,
        /// The newer part or mark.
        newer: String,
        /// The missing changes and their period.
        what: String,
        /// The folder's log.
        log_id: LogId,
    },
    /// The files of a part are copies from different times.
    #[error(
        "the files of the part `{part}` are copies from different times ({why}): replace all of them by the newest copy of `{part}`{}",
        begin_anew_hint(*part, &Some(*log_id))
    )]
    Torn {
        /// The part.
        part: Part,
        /// The folder's log.
        log_id: LogId,
        /// The older file.
        why: String,
    },
    /// `--begin-anew` names another log.
    #[error("--begin-anew {part}={given}: the log of this data folder is {}", log_text(log_id))]
    OtherLogNamed {
        /// The part.
        part: Part,
        /// The named log.
        given: LogId,
        /// The folder's log, if it is known.
        log_id: Option<LogId>,
    },
    /// `--begin-anew` names a part that is not lost.
    #[error("--begin-anew {part}: the part `{part}` is intact, so it is not recreated; start without --begin-anew")]
    Intact {
        /// The part.
        part: Part,
    },
    /// `--accept-loss` although nothing is lost, or for another log.
    #[error("--accept-loss: {0}; start without --accept-loss")]
    NothingLost(String),
    /// A part cannot be inspected or set aside.
    #[error("the part `{part}` cannot be used: {why}")]
    Unusable {
        /// The part.
        part: Part,
        /// The reason.
        why: String,
    },
}

fn begin_anew_hint(part: Part, log_id: &Option<LogId>) -> String {
    if part == Part::Keys {
        return String::new();
    }
    let log_id = log_id.map_or_else(|| LogId([0; 16]).to_string(), |log_id| log_id.to_string());
    format!(
        "; if there is no backup, `citycode up --begin-anew {part}={log_id}` starts once without it \
         (see docs/operations.md, \"A part of the data folder is lost\", for the consequences)"
    )
}

fn log_text(log_id: &Option<LogId>) -> String {
    log_id.map_or_else(|| format!("unknown; give {}", LogId([0; 16])), |id| id.to_string())
}

/// The parts of a data folder, and what the start may do with each.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    /// The manifest, or the one that will be written once everything is open.
    pub(super) manifest: FolderManifest,
    /// Whether this is the first start. Only then are missing secrets created, because no data depends on them yet.
    pub(super) first: bool,
    /// Whether the folder is of an earlier release without manifests.
    pub(super) adopted: bool,
}

impl Opening {
    /// Whether the log may be created, with the manifest's identity.
    pub(super) fn makes_log(&self) -> bool {
        self.first || self.manifest.is_beginning(Part::Log)
    }

    /// Whether a part must exist. Folders of earlier releases have no stream of queries; nothing else depends on it.
    fn requires(&self, part: Part) -> bool {
        part != Part::Queries || (!self.adopted && self.manifest.parts.contains(&part))
    }

    /// How a part other than the log is opened.
    pub(super) fn mode_of(&self, folder: &Path, part: Part) -> ForLog {
        if self.first || self.manifest.is_beginning(part) {
            ForLog::Make
        } else if self.manifest.is_beginning(Part::Log) {
            ForLog::Rebind
        } else if part == Part::Queries && !self.requires(part) && !has(folder, part) {
            ForLog::Make
        } else if !self.adopted {
            ForLog::Keep
        } else if part == Part::Scans && !has(folder, part) {
            // The folder may have been created by `citycode migrate`, which does not copy scan records.
            ForLog::Make
        } else {
            ForLog::Adopt
        }
    }
}

/// The files of a part.
fn files_of(folder: &Path, part: Part) -> Vec<PathBuf> {
    let names: &[&str] = match part {
        Part::Log => &["log/manifest", "log/log.redb"],
        Part::Vault => &["vault/vault.redb", "vault/vault.keys"],
        Part::Scans => &["scans/scans.redb"],
        Part::Keys => &["keys"],
        Part::Queries => &["queries/queries.redb"],
    };
    names.iter().map(|name| folder.join(name)).collect()
}

/// The first file of a part that is missing or empty.
fn missing_file(folder: &Path, part: Part) -> Option<PathBuf> {
    let mut files = files_of(folder, part).into_iter();
    files.find(|path| !path.is_dir() && log_binding::require(path).is_err())
}

fn has(folder: &Path, part: Part) -> bool {
    files_of(folder, part).iter().any(|path| path.exists())
}

/// Whether the folder contains files that are only created after the log.
fn has_traces_of_a_log(folder: &Path) -> bool {
    let signing = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("signing-");
    let entries = std::fs::read_dir(folder.join("keys"));
    let signing = entries.is_ok_and(|entries| entries.flatten().any(signing));
    let derived = [REGISTER_SNAPSHOT, "projections/status", "audit/audit.redb"];
    let derived = derived.iter().any(|name| folder.join(name).exists());
    signing || derived || has(folder, Part::Vault) || has(folder, Part::Scans)
}

/// Inspects every part of the folder, and decides what the start may do with it. `new_log` is the identity for a new
/// log;
/// `marks` is the folder of marks.
///
/// # Errors
/// [`PartError`]. Nothing is created or changed.
pub(super) fn inspect(
    folder: &Path,
    new_log: LogId,
    begin_anew: &[BeginAnew],
    marks: Option<&Path>,
) -> Result<Opening, PartError> {
    let stored = FolderManifest::read(folder)?;
    let adopted = stored.is_none();
    let manifest = match stored {
        Some(manifest) => manifest,
        None => before_manifests(folder, new_log)?,
    };
    let first = !manifest.is_complete();
    let opening = Opening {
        first,
        adopted: adopted && !first,
        manifest,
    };
    if !first {
        check_presence(folder, &opening, begin_anew, marks)?;
        check_keys(folder, &opening.manifest)?;
    }
    Ok(opening)
}

/// A folder without a manifest may be of an earlier release, or contain a log that was copied alone. It must have scan
/// records only if the mark of its log records some.
fn check_presence(
    folder: &Path,
    opening: &Opening,
    begin_anew: &[BeginAnew],
    marks: Option<&Path>,
) -> Result<(), PartError> {
    let manifest = &opening.manifest;
    for part in Part::ALL {
        let recreated = manifest.is_beginning(part) || begin_anew.iter().any(|anew| anew.part == part);
        let required = opening.requires(part) && !recreated;
        let Some(path) = missing_file(folder, part).filter(|_| required) else {
            continue;
        };
        if opening.adopted && part == Part::Scans && !scans_were_written(marks, manifest.log_id) {
            continue;
        }
        let log_id = Some(manifest.log_id).filter(|id| *id != UNKNOWN);
        return Err(PartError::Missing { part, path, log_id });
    }
    Ok(())
}

/// Whether the mark of this log records scan records.
fn scans_were_written(marks: Option<&Path>, log_id: LogId) -> bool {
    let mark = marks.and_then(|marks| Mark::read(&marks.join(log_id.to_string()), log_id));
    mark.is_some_and(|mark| mark.scans.is_some())
}

/// Placeholder for the identity of a lost log that cannot be determined from the folder.
pub(super) const UNKNOWN: LogId = LogId([0; 16]);
const REGISTER_SNAPSHOT: &str = "projections/register";

/// The manifest for a folder of an earlier release, or for a new one.
fn before_manifests(folder: &Path, new_log: LogId) -> Result<FolderManifest, PartError> {
    let complete = |log_id| FolderManifest {
        log_id,
        parts: Part::ALL.to_vec(),
        beginning: Vec::new(),
        key_marks: BTreeMap::new(),
    };
    if folder.join("log/manifest").exists() {
        let text = std::fs::read_to_string(folder.join("log/manifest"));
        let id = text.as_deref().ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("log_id "));
            line.and_then(parse_log_id)
        });
        let unusable = || PartError::Unusable {
            part: Part::Log,
            why: "its manifest cannot be read: restore it from the backup".into(),
        };
        return id.map(complete).ok_or_else(unusable);
    }
    if has(folder, Part::Log) || has_traces_of_a_log(folder) {
        return Ok(complete(lost_log(folder).unwrap_or(UNKNOWN)));
    }
    Ok(FolderManifest::first(new_log))
}

/// The identity of a missing log, from the rest of the folder.
fn lost_log(folder: &Path) -> Option<LogId> {
    let in_keys = std::fs::read_to_string(folder.join(KEYS_LOG_ID)).ok();
    let in_snapshot = || {
        let file = std::fs::File::open(folder.join(REGISTER_SNAPSHOT)).ok()?;
        log_of(file).map(LogId)
    };
    in_keys.and_then(|text| parse_log_id(text.trim())).or_else(in_snapshot)
}

/// File with the identity of the keys' log.
const KEYS_LOG_ID: &str = "keys/log-id";

fn check_keys(folder: &Path, manifest: &FolderManifest) -> Result<(), PartError> {
    let path = folder.join(KEYS_LOG_ID);
    let Ok(text) = std::fs::read_to_string(&path) else {
        // Backups of earlier releases do not record the log of their keys.
        return Ok(());
    };
    if parse_log_id(text.trim()) == Some(manifest.log_id) || manifest.is_beginning(Part::Log) {
        return Ok(());
    }
    Err(PartError::Foreign {
        part: Part::Keys,
        why: format!("{} says {}", path.display(), text.trim()),
        path: folder.join("keys"),
        log_id: manifest.log_id,
    })
}

/// Keys whose replacement by another city's would not be detected otherwise, because data made with them does not
/// identify them.
const MARKED_KEYS: [&str; 2] = ["id-check.key", "status-signing.key"];

/// A hash prefix of each of these keys: the first 8 hex digits of SHA-256 of its name and its 32 random bytes. It
/// reveals nothing useful about the key.
fn key_marks(folder: &Path) -> Result<BTreeMap<String, String>, PartError> {
    let mark = |name: &str| {
        let key = files::read_secret(&folder.join("keys").join(name))?;
        let digest = Sha256::new().chain_update(name).chain_update(*key).finalize();
        Ok((name.to_owned(), HEXLOWER.encode(&digest[..4])))
    };
    MARKED_KEYS.into_iter().map(mark).collect()
}

/// Refuses keys other than those with which the folder was created.
///
/// # Errors
/// [`PartError::Foreign`].
pub(super) fn check_key_marks(folder: &Path, opening: &Opening) -> Result<(), PartError> {
    let manifest = &opening.manifest;
    if manifest.key_marks.is_empty() {
        return Ok(());
    }
    let found = key_marks(folder)?;
    let other = found.iter().find(|(name, mark)| {
        let recorded = manifest.key_marks.get(*name);
        recorded.is_some_and(|recorded| recorded != *mark)
    });
    let Some((name, _)) = other else {
        return Ok(());
    };
    Err(PartError::Foreign {
        part: Part::Keys,
        path: folder.join("keys").join(name),
        log_id: manifest.log_id,
        why: "it is not the key with which this folder was created".into(),
    })
}

/// Records in the manifest that all parts exist, so that they are required from now on. A recreated vault stays
/// recorded until every valid code is suspended, and recreated scan records until the mark is written.
///
/// # Errors
/// [`PartError`].
pub(super) fn complete(folder: &Path, opening: &mut Opening) -> Result<(), PartError> {
    let manifest = &mut opening.manifest;
    let before = manifest.clone();
    manifest.parts = Part::ALL.to_vec();
    manifest.key_marks = key_marks(folder)?;
    manifest
        .beginning
        .retain(|part| matches!(part, Part::Vault | Part::Scans));
    let log_id = format!("{}\n", manifest.log_id);
    if std::fs::read_to_string(folder.join(KEYS_LOG_ID)).ok().as_deref() != Some(&log_id) {
        files::write_atomic(&folder.join(KEYS_LOG_ID), log_id.as_bytes(), files::PRIVATE_FILE_MODE)?;
    }
    if opening.adopted || before != *manifest {
        manifest.write(folder)?;
    }
    if opening.adopted {
        tracing::info!(log = %manifest.log_id, "this data folder is of an earlier release: its manifest was written");
    }
    Ok(())
}

/// The error for a part that does not fit the log.
pub(super) fn refused(part: Part, folder: &Path, log_id: LogId, error: BindingError) -> PartError {
    let path = folder.join(part.name());
    match error {
        BindingError::Missing(path) => PartError::Missing {
            part,
            path,
            log_id: Some(log_id),
        },
        BindingError::OtherLog { .. } | BindingError::Unknown => PartError::Foreign {
            part,
            path,
            log_id,
            why: error.to_string(),
        },
        BindingError::File(why) => PartError::Unusable { part, why },
    }
}
