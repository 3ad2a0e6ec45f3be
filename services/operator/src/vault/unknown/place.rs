//! The log and the restored vault: on servers, or in the data folder of a `citycode up`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_event_store::EventStore;
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_service_kit::files;
use citycode_vault::Vault;
use citycode_vault::embedded::copy_of;
use citycode_vault::jetstream::{self as vault, JetStreamVault, VaultConfig, VaultKey, VaultKeys};

use super::super::backup::{DESCRIPTION, read};
use super::super::{CLIENT, settings, vault_config};
use super::{UnknownArgs, failed, refused};
use citycode_log_folds::identity_of;
use citycode_runtime::up::StoppedSystem;
use citycode_runtime::wiring::snapshots::RegisterSnapshot;
use citycode_runtime::wiring::{Environment, StartError};
use citycode_terminal::failure::Failure;

/// A log and its vault, which is at least as new as the given backup.
pub(super) struct Place {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) vault: Arc<dyn Vault>,
    /// The snapshot from which folding starts.
    pub(super) register: RegisterSnapshot,
    /// Holds the lock on a data folder.
    _system: Option<StoppedSystem>,
}

impl Place {
    pub(super) async fn open(args: &UnknownArgs, environment: &Environment) -> Result<Self, Failure> {
        match &args.data {
            Some(data) => in_folder(data, args, environment).await,
            None => on_servers(args, environment).await,
        }
    }
}

/// The refusal of a vault that is not the one of the backup, or is older.
fn not_of_backup(folder: &Path) -> Failure {
    let why = format!(
        "the part `vault` is not the one of the backup {}, or is older than it",
        folder.display()
    );
    refused(
        why,
        "restore the vault of that backup first, or name the backup that was restored",
    )
}

async fn on_servers(args: &UnknownArgs, environment: &Environment) -> Result<Place, Failure> {
    let settings = settings(args.config.as_deref())?;
    if settings.log.servers.is_empty() {
        let fix = "name them in `log.servers`, or a data folder with --data";
        return Err(refused("the servers are not configured", fix));
    }
    let config = settings.log.log(CLIENT).map_err(StartError::into_failure)?;
    let opened = JetStreamEventStore::open(&config).await;
    let store: Arc<dyn EventStore> = Arc::new(opened.map_err(|error| failed(&error))?);
    let config = VaultConfig {
        expected_log_id: Some(store.parts_log_id().0),
        replaced_by: Some(store.log_id().0).filter(|log_id| *log_id != store.parts_log_id().0),
        ..vault_config(&settings)?
    };
    let description = read(&args.backup.join(DESCRIPTION))?;
    let is_newer = vault::is_at_or_after(&config, &description).await;
    if !is_newer.map_err(|error| failed(&error))? {
        return Err(not_of_backup(&args.backup));
    }
    let keys = settings.keys.as_ref();
    let keys = keys.ok_or_else(|| refused("the folder of the city's keys is not configured", "name it in `keys`"))?;
    let path = keys.join("vault-master.key");
    let master = files::read_secret(&path).map_err(|error| Failure::file("read", &path, error))?;
    let keys = VaultKeys::only(VaultKey::Master(master));
    let opened = JetStreamVault::open(&config, &keys, environment.fill_random()).await;
    Ok(Place {
        vault: Arc::new(opened.map_err(|error| failed(&error))?),
        register: RegisterSnapshot::open(PathBuf::new(), identity_of(&*store)),
        store,
        _system: None,
    })
}

async fn in_folder(data: &Path, args: &UnknownArgs, environment: &Environment) -> Result<Place, Failure> {
    let of_vault = args.backup.join("vault");
    let of_vault = if of_vault.is_dir() { &of_vault } else { &args.backup };
    let copy = copy_of(of_vault).map_err(|error| Failure::file("use the vault of the backup", of_vault, error))?;
    let system = StoppedSystem::open(args.config.clone(), data, environment).await;
    let system = system.map_err(|error| refused(error, "fix the cause and run it again"))?;
    let (store, vault) = (system.store(), system.vault());
    let mark = vault.erased_up_to().await.map_err(|error| failed(&error))?;
    if copy.log_id != Some(store.log_id().0) || !copy.is_reached_by(mark.as_deref()) {
        return Err(not_of_backup(&args.backup));
    }
    Ok(Place {
        register: system.register(),
        store,
        vault,
        _system: Some(system),
    })
}
