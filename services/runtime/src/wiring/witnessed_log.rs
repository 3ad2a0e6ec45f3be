//! Compares what a verifier has folded with the checkpoints of the log that witnesses cosigned (decision 44).

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::Partition;
use citycode_log_tree::{CompareError, Compared, FoldedTrees, LogFiles, LogTrees, WitnessedLog};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::health::Component;
use citycode_transparency::{TrustPolicy, VerifierKey};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::StartError;

/// Pause between two comparisons: well below any sensible limit, and a few requests a second to the published log.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// The pause while a partition is not covered yet, as after a start.
const COMPARE_FIRST_EVERY: Duration = Duration::from_secs(1);
/// Time limit of one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest file: a tile has 8 KiB, and a checkpoint with all its cosignatures less.
const MAX_FILE_BYTES: usize = 64 << 10;

/// The demand for witnesses: `[witnessed_log]`. Verifiers use all of it; revocation services that share snapshots only
/// need the section, so that their snapshots contain the trees with which verifiers start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessedLogSettings {
    /// The age in seconds from which a code is checked only if a witnessed checkpoint covers its birth; 0 is every code.
    pub codes_older_than_seconds: u64,
    /// The keys of the witnesses, e.g. `witness.example+0a1b2c3d+BA…`.
    pub witnesses: Vec<String>,
    /// How many of them must have cosigned; default: all.
    pub quorum: Option<usize>,
    /// The published log, e.g. `http://portal-1:8080/log`. Nothing that it sends is trusted. Default in `citycode up`: the
    /// trees of this process.
    pub log: Option<String>,
    /// A file with the log's public keys, as `/log/keys` answers. Default in `citycode up`: those of this process.
    pub log_keys: Option<PathBuf>,
}

impl WitnessedLogSettings {
    fn witness_keys(&self) -> Result<Vec<VerifierKey>, String> {
        let key = |text: &String| {
            let key = text.trim().parse::<VerifierKey>();
            key.map_err(|error| format!("witnessed_log.witnesses: `{text}`: {error}"))
        };
        self.witnesses.iter().map(key).collect()
    }

    fn quorum(&self) -> usize {
        self.quorum.unwrap_or(self.witnesses.len())
    }

    /// Everything that is wrong with the section, as far as it can be said without files.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.witness_keys().err().into_iter().collect();
        if !(1..=self.witnesses.len()).contains(&self.quorum()) {
            problems.push("witnessed_log.quorum must be at least 1 and at most the number of witnesses".to_owned());
        }
        if self.log.as_ref().is_some_and(|log| !log.starts_with("http://")) {
            problems.push("witnessed_log.log must be an http:// address".to_owned());
        }
        problems
    }

    /// The log that the witnesses must vouch for. `own` are the keys of this process's trees, if it has them.
    ///
    /// # Errors
    /// A sentence, if the keys cannot be read or used.
    pub(crate) fn witnessed_log(&self, host: &str, own: &[VerifierKey]) -> Result<WitnessedLog, String> {
        let logs = match &self.log_keys {
            Some(path) => read_keys(path)?,
            None => own.to_vec(),
        };
        let policy = TrustPolicy::new(logs, self.witness_keys()?, self.quorum());
        let policy = policy.map_err(|error| format!("witnessed_log: {error}"))?;
        Ok(WitnessedLog::new(host, policy))
    }
}

fn read_keys(path: &Path) -> Result<Vec<VerifierKey>, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("witnessed_log.log_keys: cannot read {}: {error}", path.display()))?;
    let keys: Result<Vec<VerifierKey>, _> = text.lines().map(str::parse).collect();
    keys.map_err(|error| format!("witnessed_log.log_keys: {}: {error}", path.display()))
}

/// Where the published log is read.
enum Source {
    /// The trees of this process.
    Here(Arc<LogTrees>),
    /// Somebody's answers over HTTP.
    There(PublishedLog),
}

impl LogFiles for Source {
    type Error = std::io::Error;

    fn witnessed(&self, partition: Partition) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Self::Here(trees) => LogFiles::witnessed(&**trees, partition),
            Self::There(log) => log.get(&format!("{partition}/witnessed")),
        }
    }

    fn tile(&self, partition: Partition, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Self::Here(trees) => trees.tile(partition, name),
            Self::There(log) => log.get(&format!("{partition}/{name}")),
        }
    }
}

struct PublishedLog {
    client: Client,
    url: String,
    runtime: Handle,
}

impl PublishedLog {
    /// A file by its path; `None` if there is none. Blocks its thread.
    fn get(&self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.runtime.block_on(self.fetch(path))
    }

    async fn fetch(&self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
        let failed = |error: reqwest::Error| std::io::Error::other(error.without_url().to_string());
        let request = self.client.get(format!("{}/{path}", self.url));
        let mut response = request.send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(std::io::Error::other(format!("it answered {status}"))),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_FILE_BYTES {
                return Err(std::io::Error::other("a file of the log is too long"));
            }
        }
        Ok(Some(bytes))
    }
}

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
        let log = settings.witnessed_log(parts.host, &own_keys).map_err(StartError::Verifier)?;
        let source = match (&settings.log, parts.own) {
            (None, Some(trees)) => Source::Here(trees),
            (None, None) => return Err(StartError::Verifier("witnessed_log.log is missing".to_owned())),
            (Some(url), _) => {
                let client = Client::builder().timeout(ANSWER_LIMIT).redirect(Policy::none()).build();
                Source::There(PublishedLog {
                    client: client.map_err(|error| StartError::Verifier(error.to_string()))?,
                    url: url.trim_end_matches('/').to_owned(),
                    runtime: Handle::current(),
                })
            }
        };
        let now = parts.clock.monotonic();
        let watched = |partition| Watched {
            partition,
            covered_at: None,
            candidate_since: now,
            fault: String::new(),
        };
        parts.health.ready_saying("witnesses have not vouched for the log yet");
        Ok(Self {
            trees: Arc::clone(parts.trees),
            log,
            source,
            clock: Arc::clone(parts.clock),
            health: parts.health,
            limit: Duration::from_secs(settings.codes_older_than_seconds).max(2 * COMPARE_EVERY),
            partitions: parts.trees.partitions().map(watched).collect(),
            said: String::new(),
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
            let pause = if all_covered { COMPARE_EVERY } else { COMPARE_FIRST_EVERY };
            tokio::time::sleep(pause).await;
        }
    }

    fn compare_all(&mut self) {
        for watched in &mut self.partitions {
            // Only a restart on the right log helps.
            if self.trees.is_refuted(watched.partition) {
                continue;
            }
            let began = self.clock.monotonic();
            let compared = self.log.compare(&self.trees, watched.partition, &self.source);
            watched.note(compared, began);
        }
        self.report();
    }

    fn report(&mut self) {
        let now = self.clock.monotonic();
        let count = |counted: &[Partition]| u32::try_from(counted.len()).unwrap_or(u32::MAX);
        let refuted: Vec<Partition> = self.trees.partitions().filter(|it| self.trees.is_refuted(*it)).collect();
        let is_late = |watched: &&Watched| match watched.covered_at {
            Some(at) => now.saturating_sub(at) > self.limit,
            None => true,
        };
        let late = || self.partitions.iter().filter(is_late);
        let reason = late().map(|watched| &watched.fault).find(|fault| !fault.is_empty()).cloned();
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
            format!("WITNESSES HAVE COSIGNED ANOTHER LOG than this verifier follows in partitions {refuted}: older codes cannot be checked")
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
                self.fault = format!("witnesses have seen {witnessed} leaves of partition {partition}, and this verifier {own}");
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
