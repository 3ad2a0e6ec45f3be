//! The dependencies of `citycode up`: the data folder and its parts, opened before any task runs.

use std::sync::Arc;

use citycode_event_store::{EventStore, LogId};
use citycode_event_store_embedded::{EmbeddedEventStore, OpenError};
use citycode_issuer::{IndexLeases, KeyFolder, SigningKeys};
use citycode_policy_file::PolicyFile;
use citycode_projection::LogIdentity;
use citycode_query_stream::Queries;
use citycode_query_stream::embedded::{self as queries, EmbeddedQueryStore};
use citycode_scan_records::embedded::{self as scan_records, EmbeddedScanRecords};
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::files;
use citycode_token::{IdCheckKey, SigningKey};
use citycode_vault::Vault;
use citycode_vault::embedded::{EmbeddedVault, OpenForLogError};
use zeroize::Zeroizing;

use super::PartError;
use super::access::Access;
use super::begin_anew::{self, Openers};
use super::data_folder::{DataFolder, DataFolderError};
use super::demo;
use super::folder_manifest::{FolderManifest, Part};
use super::local_admin::LocalAdmin;
use super::marks;
use super::parts::{self, Opening};
use super::settings::Settings;
use crate::wiring::erasing_vault::ErasingVault;
use crate::wiring::log_trees::LOG_SIGNING_KEY;
use crate::wiring::{Environment, StartError, measured};

/// The opened dependencies: folder, policy, keys, log, vault and scan records. No task is running yet.
pub(super) struct Dependencies {
    pub(super) folder: DataFolder,
    pub(super) manifest: FolderManifest,
    /// Whether this start created the parts.
    pub(super) first: bool,
    pub(super) policy: PolicyFile,
    pub(super) access: Access,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) identity: LogIdentity,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) records: Arc<EmbeddedScanRecords>,
    pub(super) queries: Arc<Queries>,
    pub(super) signing: Arc<SigningKeys>,
    pub(super) leases: Arc<IndexLeases>,
    pub(super) id_check_key: IdCheckKey,
    pub(super) status_key: SigningKey,
    pub(super) assertion_uses_key: Zeroizing<[u8; 32]>,
    pub(super) log_signing_key: Zeroizing<[u8; 32]>,
    /// The key of the web pages' sealed cookies.
    pub(super) session_key: Zeroizing<[u8; 32]>,
}

impl Dependencies {
    /// Opens everything. All reasons for a refusal are checked before anything is created.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn open(settings: &Settings, environment: &Environment) -> Result<Self, StartError> {
        let Environment { clock, entropy } = environment.clone();
        let policy = PolicyFile::open(settings.policy.as_deref())?;
        let default = if settings.demo {
            demo::default_path
        } else {
            super::data_folder::default_path
        };
        let path = settings.data.clone().or_else(default).ok_or(StartError::NoHome)?;
        demo::check(settings, &path)?;
        if settings.demo {
            demo::mark(&path)?;
        }
        let folder = DataFolder::open(&path, &policy.policy.name).await?;
        let (mut opening, new_log) = inspect(&folder, settings, &entropy)?;
        let keys = KeyFolder::open(&folder.join("keys"))?;
        // Secrets are created before the log; after a crash in between, the next start uses these secrets.
        let first = opening.first.then_some(&*entropy);
        let id_check_key = keys.id_check_key(first)?;
        let status_key = SigningKey::from_seed(*keys.secret("status-signing.key", first)?);
        parts::check_key_marks(folder.path(), &opening)?;
        let master = begin_anew(&folder, settings, &keys, &entropy, (&mut opening, new_log))?;
        // A folder of an earlier release lacks this key; creating it is safe, because no list was named with it before.
        let names = keys.list_names(Some(&*entropy))?;
        let assertion_uses_key = keys.secret("assertion-uses.key", Some(&*entropy))?;
        // As above: no checkpoint was signed before. A lost key is found when the signed checkpoints are read.
        let log_signing_key = keys.secret(LOG_SIGNING_KEY, Some(&*entropy))?;
        // As above: without the key no session is valid, and people sign in again.
        let session_key = keys.secret("session.key", Some(&*entropy))?;
        LocalAdmin::clear(&folder);
        let access = Access::open(settings, &folder, &entropy, &clock)?;
        let log_id = opening.manifest.log_id;
        let store = open_log(&folder, &opening)?;
        let store = measured(Arc::new(store), &clock);
        let identity = citycode_log_folds::identity_of(&*store);
        let vault = open_vault(&folder, &opening, &master, environment)?;
        let mode = opening.mode_of(folder.path(), Part::Scans);
        let records = EmbeddedScanRecords::open_for_log(&folder.join("scans"), Arc::clone(&entropy), &log_id.0, mode);
        let records = records.map_err(|error| match error {
            scan_records::OpenForLogError::Binding(error) => {
                parts::refused(Part::Scans, folder.path(), log_id, error).into()
            }
            scan_records::OpenForLogError::Records(error) => StartError::Verifier(error.to_string()),
        })?;
        let queries = open_queries(&folder, &opening, environment)?;
        let vault: Arc<dyn Vault> = Arc::new(ErasingVault::new(vault, Arc::clone(&queries)));
        parts::complete(folder.path(), &mut opening)?;
        let signing = Arc::new(SigningKeys::load(keys)?);
        let leases = Arc::new(IndexLeases::new(names));
        Ok(Self {
            folder,
            first: opening.first,
            manifest: opening.manifest,
            policy,
            access,
            store,
            identity,
            vault,
            records: Arc::new(records),
            queries,
            signing,
            leases,
            id_check_key,
            status_key,
            assertion_uses_key,
            log_signing_key,
            session_key,
        })
    }
}

/// Inspects the folder before anything is created in it. Also returns the identity for a new log.
fn inspect(
    folder: &DataFolder,
    settings: &Settings,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Opening, LogId), PartError> {
    let new_log = LogId(entropy.array());
    let marks = settings.marks.clone().or_else(marks::default_folder);
    let opening = parts::inspect(folder.path(), new_log, &settings.once.begin_anew, marks.as_deref())?;
    if opening.first {
        // The manifest is written before the first part, so that a crash leaves an incomplete first start, not lost
        // parts.
        opening.manifest.write(folder.path())?;
    }
    Ok((opening, new_log))
}

/// Starts recreating the parts that the flags name, and returns the vault's master key.
fn begin_anew(
    folder: &DataFolder,
    settings: &Settings,
    keys: &KeyFolder,
    entropy: &Arc<dyn Entropy>,
    (opening, new_log): (&mut Opening, LogId),
) -> Result<Zeroizing<[u8; 32]>, StartError> {
    let requested = &settings.once.begin_anew;
    let first = opening.first.then_some(&**entropy);
    let known = master_key(settings, keys, first);
    let openers = Openers {
        entropy,
        master: known.as_ref().ok(),
        new_log,
    };
    begin_anew::begin(folder.path(), opening, requested, &openers)?;
    if opening.manifest.is_beginning(Part::Log) {
        begin_anew::retire_lost_log(folder.path())?;
    }
    folder.make_folders()?;
    match known {
        // The lost key's vault is recreated, so a new key is created for it.
        Err(_) if opening.manifest.is_beginning(Part::Vault) => master_key(settings, keys, Some(&**entropy)),
        known => known,
    }
}

fn open_log(folder: &DataFolder, opening: &Opening) -> Result<EmbeddedEventStore, StartError> {
    let log_id = opening.manifest.log_id;
    folder
        .open_log(log_id, opening.makes_log())
        .map_err(|error| match error {
            DataFolderError::Log(OpenError::OtherLog { found, .. }) => StartError::Part(PartError::Foreign {
                part: Part::Log,
                path: folder.join("log"),
                log_id,
                why: format!("it is the log {found}"),
            }),
            error => error.into(),
        })
}

fn open_vault(
    folder: &DataFolder,
    opening: &Opening,
    master: &Zeroizing<[u8; 32]>,
    environment: &Environment,
) -> Result<Arc<dyn Vault>, StartError> {
    let (path, log_id) = (folder.join("vault"), opening.manifest.log_id);
    let mode = opening.mode_of(folder.path(), Part::Vault);
    match EmbeddedVault::open_for_log(&path, master, environment.fill_random(), &log_id.0, mode) {
        Ok(vault) => Ok(Arc::new(vault)),
        Err(OpenForLogError::Binding(error)) => Err(parts::refused(Part::Vault, folder.path(), log_id, error).into()),
        Err(error @ OpenForLogError::Torn { .. }) => {
            let (part, why) = (Part::Vault, error.to_string());
            Err(PartError::Torn { part, log_id, why }.into())
        }
        Err(OpenForLogError::Vault(error)) => Err(error.into()),
    }
}

fn open_queries(folder: &DataFolder, opening: &Opening, environment: &Environment) -> Result<Arc<Queries>, StartError> {
    let log_id = opening.manifest.log_id;
    let mode = opening.mode_of(folder.path(), Part::Queries);
    let store = EmbeddedQueryStore::open_for_log(&folder.join("queries"), &log_id.0, mode);
    let store = store.map_err(|error| match error {
        queries::OpenError::Binding(error) => parts::refused(Part::Queries, folder.path(), log_id, error),
        queries::OpenError::Queries(error) => PartError::Unusable {
            part: Part::Queries,
            why: error.to_string(),
        },
    })?;
    let entropy = Arc::clone(&environment.entropy);
    Ok(Arc::new(Queries::new(Arc::new(store), entropy)))
}

fn master_key(
    settings: &Settings,
    keys: &KeyFolder,
    first: Option<&dyn Entropy>,
) -> Result<Zeroizing<[u8; 32]>, StartError> {
    let Some(path) = &settings.master_key_file else {
        return Ok(keys.secret("vault-master.key", first)?);
    };
    let bytes = files::read_private(path)?;
    bytes
        .as_slice()
        .try_into()
        .map(Zeroizing::new)
        .map_err(|_| StartError::MasterKeyLength)
}
