//! `--begin-anew PART=LOGID`: recreates a lost part, once; what its loss makes unsafe is revoked before calls are
//! served.
//!
//! The order makes each step repeatable: the remains of the part are set aside, then the manifest records that the part
//! is being recreated, then it is created. A crash before the manifest is written leaves a missing part, which the next
//! start refuses; after a crash later, the next start continues without the flag.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use citycode_event_store::LogId;
use citycode_event_store_embedded::{Config, EmbeddedEventStore, OpenError};
use citycode_query_stream::embedded::{self as queries, EmbeddedQueryStore};
use citycode_scan_records::embedded as scans;
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::files;
use citycode_vault::VaultError;
use citycode_vault::embedded::{EmbeddedVault, OpenForLogError};
use citycode_vault::log_binding::{self, ForLog};
use zeroize::Zeroizing;

use super::folder_manifest::{Part, parse_log_id};
use super::parts::{Opening, PartError, UNKNOWN};
use crate::wiring::log_trees::LOG_SIGNING_KEY;

/// A part to recreate, and the log of the folder, which confirms it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeginAnew {
    /// The part.
    pub part: Part,
    /// The folder's log; for the part `log`, the lost one.
    pub log_id: LogId,
}

impl FromStr for BeginAnew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (part, log_id) = text.split_once('=').ok_or("write it PART=LOGID")?;
        let part = match part {
            "log" => Part::Log,
            "vault" => Part::Vault,
            "scans" => Part::Scans,
            "queries" => Part::Queries,
            _ => return Err("PART is `vault`, `log`, `scans` or `queries`".into()),
        };
        let log_id = parse_log_id(log_id).ok_or("LOGID is the log's identity, 32 hex digits")?;
        Ok(Self { part, log_id })
    }
}

/// What is needed to open the parts, to check whether one is intact.
pub(super) struct Openers<'a> {
    pub(super) entropy: &'a std::sync::Arc<dyn Entropy>,
    /// None if the key is lost, too.
    pub(super) master: Option<&'a Zeroizing<[u8; 32]>>,
    /// The identity of the log that replaces a lost one.
    pub(super) new_log: LogId,
}

/// Starts recreating the named parts, unless one of them is intact.
///
/// # Errors
/// [`PartError`]; then nothing was changed, or the part is set aside, and the call can be repeated.
pub(super) fn begin(
    folder: &Path,
    opening: &mut Opening,
    requested: &[BeginAnew],
    openers: &Openers<'_>,
) -> Result<(), PartError> {
    let log_id = opening.manifest.log_id;
    for BeginAnew { part, log_id: given } in requested {
        let part = *part;
        if *given != log_id {
            let log_id = Some(log_id).filter(|id| *id != UNKNOWN);
            let given = *given;
            return Err(PartError::OtherLogNamed { part, given, log_id });
        }
        if opening.first || opening.manifest.is_beginning(part) || is_intact(folder, part, log_id, openers)? {
            return Err(PartError::Intact { part });
        }
        if part == Part::Log {
            check_neighbours(folder, log_id)?;
        }
    }
    for BeginAnew { part, .. } in requested {
        set_aside(folder, *part)?;
        tracing::warn!(%part, log = %log_id, "RECREATING A PART OF THE DATA FOLDER, as requested by --begin-anew");
        opening.manifest.beginning.push(*part);
        if *part == Part::Log {
            opening.manifest.log_id = openers.new_log;
        }
    }
    if !requested.is_empty() {
        opening.manifest.write(folder)?;
    }
    Ok(())
}

fn is_intact(folder: &Path, part: Part, log_id: LogId, openers: &Openers<'_>) -> Result<bool, PartError> {
    let unusable = |why: String| Err(PartError::Unusable { part, why });
    match part {
        Part::Keys => Ok(true),
        Part::Vault => {
            let Some(master) = openers.master else {
                return Ok(false);
            };
            let entropy = std::sync::Arc::clone(openers.entropy);
            let random: citycode_vault::FillRandom = std::sync::Arc::new(move |bytes| entropy.fill(bytes));
            let folder = folder.join("vault");
            match EmbeddedVault::open_for_log(&folder, master, random, &log_id.0, ForLog::Keep) {
                Ok(_) => Ok(true),
                Err(OpenForLogError::Vault(VaultError::Unavailable(why))) => unusable(why),
                Err(OpenForLogError::Binding(log_binding::BindingError::File(why))) => unusable(why),
                Err(_) => Ok(false),
            }
        }
        Part::Scans => {
            let folder = folder.join("scans");
            let entropy = std::sync::Arc::clone(openers.entropy);
            match scans::EmbeddedScanRecords::open_for_log(&folder, entropy, &log_id.0, ForLog::Keep) {
                Ok(_) => Ok(true),
                Err(scans::OpenForLogError::Binding(log_binding::BindingError::File(why))) => unusable(why),
                Err(scans::OpenForLogError::Binding(_)) => Ok(false),
                Err(scans::OpenForLogError::Records(error)) => unusable(error.to_string()),
            }
        }
        Part::Queries => match EmbeddedQueryStore::open_for_log(&folder.join("queries"), &log_id.0, ForLog::Keep) {
            Ok(_) => Ok(true),
            Err(queries::OpenError::Binding(log_binding::BindingError::File(why))) => unusable(why),
            Err(queries::OpenError::Binding(_)) => Ok(false),
            Err(queries::OpenError::Queries(error)) => unusable(error.to_string()),
        },
        Part::Log => is_intact_log(folder, log_id),
    }
}

fn is_intact_log(folder: &Path, log_id: LogId) -> Result<bool, PartError> {
    let files = ["log/manifest", "log/log.redb"];
    if files
        .iter()
        .any(|name| log_binding::require(&folder.join(name)).is_err())
    {
        return Ok(false);
    }
    let config = Config {
        expected_log_id: Some(log_id),
        ..Config::default()
    };
    match EmbeddedEventStore::open(&folder.join("log"), &config) {
        Ok(_) => Ok(true),
        Err(
            OpenError::NoLog
            | OpenError::LogMissing
            | OpenError::ManifestMissing
            | OpenError::ManifestUnreadable(_)
            | OpenError::OtherLog { .. }
            | OpenError::Damaged(_),
        ) => Ok(false),
        Err(error) => Err(PartError::Unusable {
            part: Part::Log,
            why: format!("{error}; if it cannot be recovered, move the folder `log` away first"),
        }),
    }
}

/// A recreated log takes over vault and scan records, so they must belong to the lost log.
fn check_neighbours(folder: &Path, lost: LogId) -> Result<(), PartError> {
    let neighbours = [
        (Part::Vault, "vault/vault.redb"),
        (Part::Scans, "scans/scans.redb"),
        (Part::Queries, "queries/queries.redb"),
    ];
    for (part, file) in neighbours {
        let path = folder.join(file);
        if log_binding::require(&path).is_err() {
            continue;
        }
        let found = log_binding::belongs_to(&path).map_err(|error| PartError::Unusable {
            part,
            why: error.to_string(),
        })?;
        if let Some(found) = found.filter(|found| *found != lost.0 && lost != UNKNOWN) {
            return Err(PartError::Foreign {
                part,
                path,
                log_id: lost,
                why: format!("it belongs to the log {}", LogId(found)),
            });
        }
    }
    Ok(())
}

/// Renames the remains of a part to a free name. Nothing is deleted.
fn set_aside(folder: &Path, part: Part) -> Result<(), PartError> {
    set_aside_folder(folder, part.name(), part)
}

/// The same for a folder with this name, which belongs to `part`.
fn set_aside_folder(folder: &Path, name: &str, part: Part) -> Result<(), PartError> {
    let path = folder.join(name);
    let unusable = |error: std::io::Error| PartError::Unusable {
        part,
        why: format!("{} cannot be set aside: {error}", path.display()),
    };
    let is_empty = match std::fs::read_dir(&path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(unusable(error)),
    };
    if is_empty {
        // The folder is created again with the required permissions.
        return match std::fs::remove_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unusable(error)),
            _ => Ok(()),
        };
    }
    let aside = free_name(folder, name);
    std::fs::rename(&path, &aside).map_err(unusable)?;
    tracing::warn!(%part, to = %aside.display(), "the remains of the part were set aside");
    Ok(())
}

fn free_name(folder: &Path, name: &str) -> PathBuf {
    let names = (1u32..).map(|number| folder.join(format!("{name}.set-aside-{number}")));
    let mut free = names.filter(|path| !path.exists());
    free.next().expect("a folder has fewer than four billion entries")
}

/// Keys, besides those that sign codes, that a log does not take over from a lost one. Its status lists need other names.
/// Its checkpoints need another signer, or they would prove that the signer has altered the lost log, and none would be
/// signed as long as the new log is shorter.
const RETIRED_KEYS: [&str; 2] = ["list-names.key", LOG_SIGNING_KEY];

/// While a log is recreated: retires the keys of the lost log, sets its trees aside, and deletes the state that was
/// derived from it.
///
/// # Errors
/// [`PartError`]; a repeated call continues.
pub(super) fn retire_lost_log(folder: &Path) -> Result<(), PartError> {
    let keys = folder.join("keys");
    let retired = keys.join("retired");
    files::create_private_dir(&retired)?;
    let failed = |part| {
        move |error: std::io::Error| PartError::Unusable {
            part,
            why: error.to_string(),
        }
    };
    for entry in std::fs::read_dir(&keys).map_err(failed(Part::Keys))? {
        let entry = entry.map_err(failed(Part::Keys))?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("signing-") || RETIRED_KEYS.contains(&&*text) {
            let to = retired.join(&name);
            // A start that crashed has retired a key of this name already.
            let to = if to.exists() { free_name(&retired, &text) } else { to };
            std::fs::rename(entry.path(), to).map_err(failed(Part::Keys))?;
        }
    }
    set_aside_folder(folder, "log-trees", Part::Log)?;
    for derived in ["projections", "audit"] {
        match std::fs::remove_dir_all(folder.join(derived)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(Part::Log)(error)),
        }
        files::create_private_dir(&folder.join(derived))?;
    }
    Ok(())
}
