//! The log's trees: a follower that writes them, and the task that publishes their checkpoints.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::EventStore;
use citycode_event_store::follow::{FollowState, Progress, follow};
use citycode_log_tree::{LogTrees, TreeFold};
use citycode_service_kit::health::Component;
use tokio::task::JoinHandle;

use super::StartError;
use super::witnesses::keep_asking;

/// The name of the key that signs checkpoints, in the folder of keys.
pub const LOG_SIGNING_KEY: &str = "log-signing.key";
/// Period of publishing: a checkpoint is at most five seconds old, and a commit must be durable in the tree before.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// Opens the trees in a folder and starts the task that writes and publishes them, and asks the witnesses at these
/// addresses for cosignatures. `status_base_uri` names the city.
///
/// Nothing else depends on the trees. If they cannot be published, health and metrics say so, and this service continues
/// to answer.
///
/// # Errors
/// [`StartError`], if the folder or the log cannot be used.
pub async fn publish_trees(
    store: &Arc<dyn EventStore>,
    folder: &Path,
    status_base_uri: &str,
    seed: &[u8; 32],
    (health, witnesses): (Component, &[String]),
) -> Result<(Arc<LogTrees>, JoinHandle<()>), StartError> {
    let host = host_of(status_base_uri);
    let opened = LogTrees::open(folder, &**store, host, seed).await;
    let (trees, from) = opened.map_err(|error| StartError::Log(error.to_string()))?;
    let (trees, store, progress) = (Arc::new(trees), Arc::clone(store), Progress::new(&from));
    health.ready_saying("the log's trees are being written");
    let publishing = Publishing {
        trees: Arc::clone(&trees),
        progress: progress.clone(),
        health: health.clone(),
        said: String::new(),
    };
    let mut fold = TreeFold(Arc::clone(&trees));
    let asking = keep_asking(Arc::clone(&trees), witnesses.to_vec())?;
    let task = tokio::spawn(async move {
        let error = tokio::select! {
            error = follow(&*store, &mut fold, &progress) => error,
            never = publishing.run() => match never {},
            never = asking => match never {},
        };
        metrics::counter!("citycode_followers_stopped_total").increment(1);
        tracing::error!(%error, "THE LOG'S TREES DO NOT FOLLOW THE LOG ANY MORE: their checkpoints stay as they are");
        health.ready_saying(format!("the log's trees do not follow the log any more: {error}"));
    });
    Ok((trees, task))
}

/// The host of a URI, with its port.
pub(super) fn host_of(uri: &str) -> &str {
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    after_scheme.split(['/', '?', '#']).next().unwrap_or_default()
}

struct Publishing {
    trees: Arc<LogTrees>,
    progress: Progress,
    health: Component,
    /// The last fault that health reported.
    said: String,
}

impl Publishing {
    async fn run(mut self) -> std::convert::Infallible {
        let leaves = metrics::gauge!("citycode_log_tree_leaves");
        let stopped = metrics::gauge!("citycode_log_tree_stopped_partitions");
        let failures = metrics::counter!("citycode_log_tree_failures_total");
        let mut tick = tokio::time::interval(PUBLISH_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let live = self.progress.state() == FollowState::Live;
            let trees = Arc::clone(&self.trees);
            let published = tokio::task::spawn_blocking(move || trees.publish(live)).await;
            let outcome = match published {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(panicked) => Err(panicked.to_string()),
            };
            match outcome {
                Ok(size) => {
                    leaves.set(size as f64);
                    self.report(live, &stopped);
                }
                Err(error) => {
                    failures.increment(1);
                    self.say(format!("the log's trees cannot be written: {error}"));
                }
            }
        }
    }

    /// Reports a fault in health, and once in the log. Without the trees this service can still do its work.
    fn say(&mut self, fault: String) {
        if self.said != fault {
            tracing::error!(fault, "THE LOG'S TREES ARE NOT PUBLISHED");
            self.health.ready_saying(fault.clone());
            self.said = fault;
        }
    }

    fn report(&mut self, live: bool, gauge: &metrics::Gauge) {
        let stopped = self.trees.stopped();
        gauge.set(u32::try_from(stopped.len()).map_or(f64::MAX, f64::from));
        if let Some(first) = stopped.first() {
            self.say(format!("no checkpoint is signed any more: {first}"));
        } else if live {
            self.said.clear();
            self.health.ready();
        }
    }
}
