//! The data folder of a stopped `citycode up`, for a command that repairs it. It is opened with the same checks as at
//! startup, but no calls are served.

use std::path::PathBuf;
use std::sync::Arc;

use citycode_event_store::EventStore;
use citycode_service_kit::config::{self, Sources};
use citycode_vault::Vault;

use super::dependencies::Dependencies;
use super::folder_manifest::{FolderManifest, Part};
use super::settings::Settings;
use super::{PartError, recovery};
use crate::wiring::snapshots::RegisterSnapshot;
use crate::wiring::{Environment, StartError};

/// An open folder, locked against other processes until it is dropped.
pub struct StoppedSystem {
    dependencies: Dependencies,
}

impl StoppedSystem {
    /// Opens the folder `data`, with the configuration file of its `up`.
    ///
    /// # Errors
    /// [`StartError`], as at the start of `up`, except for a vault that is older than the log.
    pub async fn open(
        config: Option<PathBuf>,
        data: &std::path::Path,
        environment: &Environment,
    ) -> Result<Self, StartError> {
        let sources = Sources::from_process(config).with_flag("data", Some(data.display().to_string()));
        let settings: Settings = config::load(&sources)?;
        let manifest = FolderManifest::read(data).map_err(PartError::from)?;
        let unusable = |why: &str| PartError::Unusable {
            part: Part::Vault,
            why: why.into(),
        };
        let Some(manifest) = manifest.filter(FolderManifest::is_complete) else {
            let why = format!(
                "{} is not a data folder that `citycode up` of this release has used",
                data.display()
            );
            return Err(unusable(&why).into());
        };
        if manifest.is_beginning(Part::Vault) {
            let why = "it is being recreated after a loss: start `citycode up`, which suspends every valid code";
            return Err(unusable(why).into());
        }
        let dependencies = Dependencies::open(&settings, environment).await?;
        recovery::inspect(&dependencies, &settings).await?;
        Ok(Self { dependencies })
    }

    /// The event log.
    #[must_use]
    pub fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.dependencies.store)
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> Arc<dyn Vault> {
        Arc::clone(&self.dependencies.vault)
    }

    /// The register from the last snapshot.
    pub fn register(&self) -> RegisterSnapshot {
        RegisterSnapshot::open(
            self.dependencies.folder.join("projections/register"),
            self.dependencies.identity,
        )
    }
}
