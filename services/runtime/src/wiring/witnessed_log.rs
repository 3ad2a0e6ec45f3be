//! Compares what a verifier has folded with the checkpoints of the log that witnesses cosigned (decision 45).

mod settings;
mod source;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::Partition;
use citycode_log_tree::{CompareError, Compared, FoldedTrees, LogTrees, WitnessedLog};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::health::Component;
use citycode_transparency::VerifierKey;

pub use settings::WitnessedLogSettings;
use source::{PublishedLog, Source};

use super::StartError;

/// Pause between two comparisons: well below any sensible limit, and a few requests a second to the published log.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// The pause while a partition is not covered yet, as after a start.
const COMPARE_FIRST_EVERY: Duration = Duration::from_secs(1);

/// The time limit of a round. A source that answers slowly leaves partitions for the next round, which begins with them,
/// so that what is known is reported meanwhile.
const ROUND_LIMIT: Duration = Duration::from_secs(20);

/// The gauges of a verifier that demands no witnesses.
pub(crate) fn report_no_demand() {
    metrics::gauge!("citycode_verifier_forked_partitions").set(0);
    metrics::gauge!("citycode_verifier_unwitnessed_partitions").set(0);
}

/// Keeps comparing the trees of a verifier with the published log.
pub(crate) struct Comparing {
    trees: Arc<FoldedTrees>,
    log: WitnessedLog,
    source: Source,
    clock: Arc<dyn Clock>,
    health: Component,
    /// From this time without coverage on, codes of a partition are not admitted any more.
    limit: Duration,
    partitions: Vec<Watched>,
    /// What health says.
    said: String,
}

/// What is known of a partition.
struct Watched {
    partition: Partition,
    /// When everything was folded that was covered last, on the monotonic clock.
    covered_at: Option<Duration>,
    /// When the candidate of the next comparison was chosen.
    candidate_since: Duration,
    /// Why it was not covered at the last comparison.
    fault: String,
}

/// What a task that compares needs.
pub(crate) struct ComparingParts<'a> {
    pub(crate) trees: &'a Arc<FoldedTrees>,
    pub(crate) settings: &'a WitnessedLogSettings,
    /// The host in the origins of the log's trees.
    pub(crate) host: &'a str,
    /// The published trees of this process, if it has them.
    pub(crate) own: Option<Arc<LogTrees>>,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) health: Component,
}

impl Comparing {
    /// # Errors
    /// [`StartError::Verifier`], if the section cannot be used.
    pub(crate) fn new(parts: ComparingParts<'_>) -> Result<Self, StartError> {
        let settings = parts.settings;
        let own_keys: Vec<VerifierKey> = parts.own.iter().flat_map(|trees| trees.keys().cloned()).collect();
        let log = settings
            .witnessed_log(parts.host, &own_keys)
            .map_err(StartError::Verifier)?;
        let source = match (&settings.log, parts.own) {
            (None, Some(trees)) => Source::Here(trees),
            (None, None) => return Err(StartError::Verifier("witnessed_log.log is missing".to_owned())),
            (Some(url), _) => {
                let published = PublishedLog::at(url);
                Source::There(published.map_err(|error| StartError::Verifier(error.to_string()))?)
            }
        };
        let now = parts.clock.monotonic();
        let watched = |partition| Watched {
            partition,
            covered_at: None,
            candidate_since: now,
            fault: String::new(),
        };
        let said = "witnesses have not vouched for the log yet".to_owned();
        parts.health.ready_saying(said.clone());
        Ok(Self {
            trees: Arc::clone(parts.trees),
            log,
            source,
            clock: Arc::clone(parts.clock),
            health: parts.health,
            limit: Duration::from_secs(settings.codes_older_than_seconds).max(2 * COMPARE_EVERY),
            partitions: parts.trees.partitions().map(watched).collect(),
            said,
        })
    }

    /// Compares forever. Drop the future to stop.
    pub(crate) async fn run(mut self) -> Infallible {
        loop {
            let compared = tokio::task::spawn_blocking(move || {
                self.compare_all();
                self
            });
            self = match compared.await {
                Ok(this) => this,
                // Without this task nothing new is covered, and the alarms of the last comparison stay.
                Err(panicked) => {
                    tracing::error!(%panicked, "THE LOG IS NOT COMPARED WITH WITNESSED CHECKPOINTS ANY MORE");
                    std::future::pending().await
                }
            };
            let all_covered = self.partitions.iter().all(|watched| watched.covered_at.is_some());
            let pause = if all_covered {
                COMPARE_EVERY
            } else {
                COMPARE_FIRST_EVERY
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn compare_all(&mut self) {
        let round_began = self.clock.monotonic();
        let mut done = 0;
        for watched in &mut self.partitions {
            if self.clock.monotonic().saturating_sub(round_began) > ROUND_LIMIT {
                watched.fault = "the published log answers too slowly".to_owned();
                break;
            }
            done += 1;
            // Only a restart on the right log helps.
            if self.trees.is_refuted(watched.partition) {
                continue;
            }
            let began = self.clock.monotonic();
            let compared = self.log.compare(&self.trees, watched.partition, &self.source);
            watched.note(compared, began);
        }
        let partitions = self.partitions.len().max(1);
        self.partitions.rotate_left(done % partitions);
        self.report();
    }

    fn report(&mut self) {
        let now = self.clock.monotonic();
        let count = |counted: &[Partition]| u32::try_from(counted.len()).unwrap_or(u32::MAX);
        let refuted: Vec<Partition> = self
            .trees
            .partitions()
            .filter(|it| self.trees.is_refuted(*it))
            .collect();
        let is_late = |watched: &&Watched| match watched.covered_at {
            Some(at) => now.saturating_sub(at) > self.limit,
            None => true,
        };
        let late = || self.partitions.iter().filter(is_late);
        let reason = late()
            .map(|watched| &watched.fault)
            .find(|fault| !fault.is_empty())
            .cloned();
        let late: Vec<Partition> = late().map(|watched| watched.partition).collect();
        metrics::gauge!("citycode_verifier_forked_partitions").set(count(&refuted));
        metrics::gauge!("citycode_verifier_unwitnessed_partitions").set(count(&late));
        let listed = |partitions: &[Partition]| {
            let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        // Codes below the limit and all other partitions are checked as before, so the verifier stays ready.
        let said = if !refuted.is_empty() {
            let refuted = listed(&refuted);
            format!(
                "WITNESSES HAVE COSIGNED ANOTHER LOG than this verifier follows in partitions {refuted}: older codes cannot be checked"
            )
        } else if !late.is_empty() {
            let (late, reason) = (listed(&late), reason.unwrap_or_default());
            format!("no witnessed checkpoint vouches for partitions {late}: older codes cannot be checked; {reason}")
        } else {
            String::new()
        };
        if said != self.said {
            if said.is_empty() {
                tracing::info!("witnesses vouch for the log");
                self.health.ready();
            } else {
                tracing::warn!("{said}");
                self.health.ready_saying(said.clone());
            }
            self.said = said;
        }
    }
}

impl Watched {
    /// Takes a result. `began` is the time before the comparison.
    fn note(&mut self, compared: Result<Compared, CompareError>, began: Duration) {
        let partition = self.partition;
        match compared {
            Ok(Compared::Covered(_)) => {
                self.covered_at = Some(self.candidate_since);
                self.candidate_since = began;
                self.fault.clear();
            }
            Ok(Compared::Behind { witnessed, own }) => {
                self.fault =
                    format!("witnesses have seen {witnessed} leaves of partition {partition}, and this verifier {own}");
            }
            Ok(Compared::Differs { own, witnessed }) => {
                self.covered_at = None;
                tracing::error!(
                    %partition, own_leaves = own.size, own_root = %own.root,
                    witnessed_leaves = witnessed.size, witnessed_root = %witnessed.root,
                    "ALARM: WITNESSES HAVE COSIGNED ANOTHER LOG: the log that this verifier follows was rewritten or forked"
                );
            }
            Err(error) => self.fault = error.to_string(),
        }
    }
}
