//! Asks witnesses to cosign the checkpoints of the log's trees (C2SP tlog-witness).
//!
//! A checkpoint is published at once, and again with each cosignature that arrives. A witness that does not answer delays
//! nothing. What a witness cosigned last is not stored: after a restart it says so itself.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::Partition;
use citycode_log_tree::LogTrees;
use citycode_transparency::note::{NoteSignature, SignedNote};
use citycode_transparency::witness::AddCheckpointRequest;
use citycode_transparency::{SignedCheckpoint, TreeHead};
use futures::future::join_all;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use super::StartError;

/// Period of asking, and the time limit of one answer.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Longest answer of a witness: a line, or a number.
const MAX_ANSWER_BYTES: usize = 4 << 10;

/// A witness at its address.
struct Witness {
    url: String,
    /// The size of the tree that it cosigned last, as far as it is known.
    sizes: HashMap<Partition, u64>,
    /// The head for which it was asked last.
    asked: HashMap<Partition, TreeHead>,
    failed: bool,
}

/// Asks the witnesses at these addresses forever. Drop the future to stop.
///
/// # Errors
/// [`StartError`], if no client can be made.
pub(super) fn keep_asking(
    trees: Arc<LogTrees>,
    urls: Vec<String>,
) -> Result<impl Future<Output = Infallible> + Send, StartError> {
    let client = Client::builder().timeout(ANSWER_LIMIT).redirect(Policy::none()).build();
    let client = client.map_err(|error| StartError::Log(error.to_string()))?;
    let mut witnesses: Vec<Witness> = urls.into_iter().map(Witness::at).collect();
    Ok(async move {
        let mut tick = tokio::time::interval(ASK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            join_all(witnesses.iter_mut().map(|witness| witness.ask(&client, &trees))).await;
        }
    })
}

impl Witness {
    fn at(url: String) -> Self {
        Self {
            url: format!("{}/add-checkpoint", url.trim_end_matches('/')),
            sizes: HashMap::new(),
            asked: HashMap::new(),
            failed: false,
        }
    }

    /// Asks for a cosignature of each checkpoint that has none of this witness yet.
    async fn ask(&mut self, client: &Client, trees: &Arc<LogTrees>) {
        for partition in trees.partitions() {
            let Some(signed) = trees.checkpoint(partition) else {
                continue;
            };
            let head = signed.unverified().head();
            if head.size == 0 || self.asked.get(&partition) == Some(&head) {
                continue;
            }
            match self.cosign(client, trees, partition, &signed).await {
                Ok(signatures) => {
                    self.asked.insert(partition, head);
                    self.sizes.insert(partition, head.size);
                    trees.add_cosignatures(partition, &signed, signatures);
                    if std::mem::take(&mut self.failed) {
                        tracing::info!(witness = self.url, "the witness cosigns again");
                    }
                }
                Err(error) => {
                    metrics::counter!("citycode_log_witness_failures_total").increment(1);
                    if !std::mem::replace(&mut self.failed, true) {
                        tracing::warn!(witness = self.url, %partition, error, "the witness does not cosign");
                    }
                    // The next round tries again; the other partitions would fail in the same way.
                    return;
                }
            }
        }
    }

    /// # Errors
    /// A sentence, if there is no cosignature.
    async fn cosign(
        &mut self,
        client: &Client,
        trees: &LogTrees,
        partition: Partition,
        signed: &SignedCheckpoint,
    ) -> Result<Vec<NoteSignature>, String> {
        // The first answer may name the size that the witness cosigned last.
        for _ in 0..2 {
            let old_size = self.sizes.get(&partition).copied().unwrap_or_default();
            let head = signed.unverified().head();
            if old_size > head.size {
                return Err(format!(
                    "it has cosigned {old_size} leaves, and the log has {}",
                    head.size
                ));
            }
            let proof = trees
                .consistency(partition, head, old_size)
                .map_err(|error| error.to_string())?;
            let request = AddCheckpointRequest {
                old_size,
                proof,
                checkpoint: signed.clone(),
            };
            let (status, answer) = post(client, &self.url, request.to_bytes()).await?;
            match status {
                StatusCode::OK => return SignedNote::parse_signatures(&answer).map_err(|error| error.to_string()),
                StatusCode::CONFLICT => {
                    let size = std::str::from_utf8(&answer)
                        .ok()
                        .and_then(|text| text.trim_end().parse().ok());
                    self.sizes.insert(partition, size.ok_or("it named no size")?);
                }
                status => return Err(format!("it answered {status}")),
            }
        }
        Err("it named two different sizes".to_owned())
    }
}

async fn post(client: &Client, url: &str, body: Vec<u8>) -> Result<(StatusCode, Vec<u8>), String> {
    let failed = |error: reqwest::Error| error.without_url().to_string();
    let mut response = client.post(url).body(body).send().await.map_err(failed)?;
    let (status, mut answer) = (response.status(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER_BYTES {
            return Err("its answer is too long".to_owned());
        }
    }
    Ok((status, answer))
}
