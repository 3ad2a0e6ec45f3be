//! Opens the verifier from its snapshot, follows the log and proves freshness.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use citycode_event_store::EventStore;
use citycode_event_store::follow::Progress;
use citycode_log_tree::LogTrees;
use citycode_policy_file::PolicyFile;
use citycode_scan_records::ScanRecords;
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::health::HealthRegistry;
use citycode_token::IdCheckKey;
use citycode_vault::Vault;
use citycode_verifier::{FreshnessWatch, Verifier, VerifierFold, VerifierParts};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::following::spawn_follower;
use super::lag::Lag;
use super::log_trees::host_of;
use super::policy::report_adopted;
use super::snapshots::{Snapshot, save_blocking};
use super::witnessed_log::{Comparing, ComparingParts, WitnessedLogSettings, report_no_demand};
use super::{Environment, StartError};

/// The verifier with its projection and snapshot. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Verifying {
    pub(crate) verifier: Arc<Verifier>,
    records: Arc<dyn ScanRecords>,
    progress: Progress,
    fold: Arc<Mutex<Option<VerifierFold>>>,
    snapshot: PathBuf,
    saving: Arc<tokio::sync::Mutex<()>>,
}

impl Verifying {
    pub(crate) async fn open(
        folder: &Path,
        policy: &PolicyFile,
        store: &Arc<dyn EventStore>,
        vault: &Arc<dyn Vault>,
        records: Arc<dyn ScanRecords>,
        environment: &Environment,
        (id_check_key, demand): (&IdCheckKey, Option<&WitnessedLogSettings>),
    ) -> Result<Self, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::Verifier(error.to_string());
        let parts = VerifierParts {
            policy: policy.clone(),
            clock: Arc::clone(&environment.clock),
            vault: Arc::clone(vault),
            id_check_key: id_check_key.clone(),
            records: Arc::clone(&records),
            fingerprint_key: environment.entropy.array(),
            witnessed_after_seconds: demand.map(|demand| demand.codes_older_than_seconds),
            identity: citycode_log_folds::identity_of(&**store),
        };
        let snapshot = folder.join("projections/status");
        let opened = Verifier::open(parts, &**store, Some(&snapshot)).await;
        let (verifier, fold, from) = opened.map_err(|error| failed(&error))?;
        let fold = Arc::new(Mutex::new(Some(fold)));
        Ok(Self {
            verifier,
            records,
            progress: Progress::new(&from),
            fold,
            snapshot,
            saving: Arc::default(),
        })
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Spawns a task that compares the log with witnessed checkpoints, if that is demanded. `own` are the published trees
    /// of this process, if it has them.
    ///
    /// # Errors
    /// [`StartError::Verifier`], if the keys in the settings cannot be used.
    pub(crate) fn compare_log(
        &self,
        demand: Option<&WitnessedLogSettings>,
        own: Option<&Arc<LogTrees>>,
        health: &HealthRegistry,
        environment: &Environment,
        policy: &PolicyFile,
    ) -> Result<Option<JoinHandle<()>>, StartError> {
        let (Some(settings), Some(trees)) = (demand, self.verifier.trees()) else {
            report_no_demand();
            return Ok(None);
        };
        let comparing = Comparing::new(ComparingParts {
            trees,
            settings,
            host: host_of(&policy.policy.status_base_uri),
            own: own.cloned(),
            clock: &environment.clock,
            health: health.component("witnessed-log"),
        })?;
        Ok(Some(tokio::spawn(async move { match comparing.run().await {} })))
    }

    /// Spawns a task that follows the log and a task that proves freshness.
    pub(crate) fn follow(
        &self,
        store: &Arc<dyn EventStore>,
        health: &HealthRegistry,
        environment: &Environment,
        policy: &PolicyFile,
    ) -> Vec<JoinHandle<()>> {
        let fold = self.fold.lock().take().expect("following starts once");
        let lag = Lag::of("verifier", &environment.clock);
        let follower = spawn_follower(store, fold, &self.progress, health.component("verifier"), lag);
        let freshness = Arc::clone(self.verifier.freshness());
        let clock = Arc::clone(&environment.clock);
        let watch = FreshnessWatch::new(policy.policy.tightest_knowledge_age_ms(), health.component("freshness"));
        let (probed, progress) = (Arc::clone(store), self.progress.clone());
        let probing = tokio::spawn(freshness.keep_probing(probed, progress, Arc::clone(&clock), watch));
        let adopted = report_adopted(
            Arc::clone(&self.verifier),
            Arc::clone(store),
            health.component("policy"),
        );
        vec![follower, probing, tokio::spawn(adopted)]
    }
}

#[async_trait]
impl Snapshot for Verifying {
    async fn save(&self) {
        self.records.flush().await;
        let (verifier, path) = (Arc::clone(&self.verifier), self.snapshot.clone());
        save_blocking("status of codes", &self.saving, move || verifier.save_snapshot(&path)).await;
    }
}
