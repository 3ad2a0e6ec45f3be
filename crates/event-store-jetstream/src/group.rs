//! Group commit: appends to one partition that come faster than the server flushes go together, as an atomic batch.
//!
//! A server flushes once for a batch, but making one costs it as much as some sixteen single publishes (decision 18).
//! So the first appends of a partition go each by itself, those that come while [`ALONE`] are under way wait, and once
//! [`MIN_BATCH`] wait they go as one batch. While it is under way everybody waits for it; what came meanwhile is the
//! next. No timer: where nobody waits nothing is delayed.
//!
//! A batch is in the log whole or not at all. Where it was not taken, because one of it conflicts or was there before,
//! each of it goes by itself and hears its own answer. So nothing here decides what an append came to but success.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::HeaderMap;
use async_nats::client::PublishError;
use bytes::Bytes;
use citycode_event_store::{BucketId, MessageId, Partition, Revision, Sequence};
use citycode_jetstream::Client;
use citycode_jetstream::api;
use citycode_jetstream::publish::judge_error;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::freshness::Probes;
use crate::names;
use crate::publish::{Published, headers};

/// Publishes of a partition that are under way each by itself before others wait: enough for a server that is not
/// busy, and few enough that a busy one lets batches grow.
const ALONE: usize = 8;
/// The smallest batch: one of 16 took as long as 16 single publishes, one of 64 a third.
const MIN_BATCH: usize = 32;
/// The largest; the server takes 1,000. One of 256 already flushes for all of it.
const MAX_BATCH: usize = 256;
/// Bytes of a batch: the server holds a batch back until its last message came.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// An append as it is published.
pub(crate) struct Message {
    pub(crate) bucket: BucketId,
    pub(crate) id: MessageId,
    pub(crate) expected: Revision,
    pub(crate) bytes: Bytes,
}

/// How an append is to go on.
pub(crate) enum Permit {
    /// It stands in the log, by a batch.
    Written(Sequence),
    /// It goes by itself, as long as the place is held.
    Alone {
        /// Its place among those under way.
        place: Place,
        /// A batch with it was sent, and nobody knows whether that was written.
        unanswered: bool,
    },
}

/// All partitions' groups of one client.
pub(crate) struct Groups {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    probes: Arc<Probes>,
    lanes: Vec<Mutex<Lane>>,
    /// The part of batches' names that is this client's own, and their count.
    name: String,
    count: AtomicU64,
}

/// What of one partition is under way and what waits.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    alone: usize,
    batch: bool,
}

struct Waiting {
    message: Message,
    turn: oneshot::Sender<Permit>,
}

/// A publish that is under way by itself.
pub(crate) struct Place {
    shared: Arc<Shared>,
    partition: Partition,
}

impl Groups {
    pub(crate) fn new(client: Client, probes: Arc<Probes>, partitions: u16) -> Self {
        let unique = client.new_inbox();
        let name = unique.rsplit('.').next().unwrap_or(&unique).to_owned();
        let lanes = std::iter::repeat_with(Mutex::default).take(usize::from(partitions));
        let shared = Shared {
            client,
            probes,
            lanes: lanes.collect(),
            name,
            count: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Waits for the message's turn. Who stops waiting takes it back, unless its batch is under way.
    pub(crate) async fn turn(&self, message: Message) -> Permit {
        let partition = message.bucket.partition;
        let waiting = {
            let mut lane = self.shared.lane(partition);
            if lane.waiting.is_empty() && !lane.batch && lane.alone < ALONE {
                lane.alone += 1;
                drop(lane);
                return self.shared.place(partition, false);
            }
            let (turn, waiting) = oneshot::channel();
            lane.waiting.push_back(Waiting { message, turn });
            let undelivered = self.shared.advance(partition, &mut lane);
            drop(lane);
            drop(undelivered);
            waiting
        };
        match waiting.await {
            Ok(turn) => turn,
            // The task of its batch ended before its end: the runtime is going down.
            Err(_) => {
                self.shared.lane(partition).alone += 1;
                self.shared.place(partition, true)
            }
        }
    }
}

impl Shared {
    fn lane(&self, partition: Partition) -> MutexGuard<'_, Lane> {
        self.lanes[usize::from(partition.0)].lock()
    }

    fn place(self: &Arc<Self>, partition: Partition, unanswered: bool) -> Permit {
        let place = Place {
            shared: Arc::clone(self),
            partition,
        };
        Permit::Alone { place, unanswered }
    }

    /// Lets go on who can. What comes back was meant for callers that had gone: to be dropped without the lane.
    #[must_use]
    fn advance(self: &Arc<Self>, partition: Partition, lane: &mut Lane) -> Vec<Permit> {
        let mut undelivered = Vec::new();
        if lane.batch {
            return undelivered;
        }
        if lane.waiting.len() >= MIN_BATCH {
            lane.waiting.retain(|waiting| !waiting.turn.is_closed());
        }
        if lane.waiting.len() >= MIN_BATCH {
            lane.batch = true;
            tokio::spawn(Arc::clone(self).publish_batch(partition, lane.take_batch()));
            return undelivered;
        }
        while lane.alone < ALONE
            && let Some(next) = lane.waiting.pop_front()
        {
            lane.alone += 1;
            if let Err(gone) = next.turn.send(self.place(partition, false)) {
                undelivered.push(gone);
            }
        }
        undelivered
    }

    fn next_name(&self) -> String {
        format!("{}.{}", self.name, self.count.fetch_add(1, Ordering::Relaxed))
    }

    async fn publish_batch(self: Arc<Self>, partition: Partition, batch: Vec<Waiting>) {
        let (messages, turns): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.message, one.turn)).unzip();
        let outcome = self.send(partition, messages).await;
        let mut lane = self.lane(partition);
        lane.batch = false;
        let mut undelivered = Vec::new();
        for (index, turn) in turns.into_iter().enumerate() {
            let answer = match outcome {
                Ok(first) => Permit::Written(Sequence(first + index as u64)),
                Err(unanswered) => {
                    lane.alone += 1;
                    self.place(partition, unanswered)
                }
            };
            undelivered.extend(turn.send(answer).err());
        }
        undelivered.extend(self.advance(partition, &mut lane));
        drop(lane);
        drop(undelivered);
    }

    /// Sends a batch; the sequence of its first, or whether nobody knows that it was not written.
    async fn send(&self, partition: Partition, mut messages: Vec<Message>) -> Result<u64, bool> {
        let (size, name) = (messages.len(), self.next_name());
        let Some(last) = messages.pop() else {
            return Err(false);
        };
        let rest = async {
            for (index, message) in messages.into_iter().enumerate() {
                let headers = batch_headers(&message, &name, index + 1);
                let subject = names::subject(message.bucket);
                self.client
                    .publish_with_headers(subject, headers, message.bytes)
                    .await?;
            }
            Ok::<_, PublishError>(())
        };
        // A loss on the way shows in the answer to the last: the batch is incomplete. Without its last, which is not sent
        // where the client's queue is full for so long, the server forgets it.
        if !matches!(tokio::time::timeout(api::ATTEMPT, rest).await, Ok(Ok(()))) {
            return Err(false);
        }
        let mut headers = batch_headers(&last, &name, size);
        headers.insert("Nats-Batch-Commit", "1");
        self.probes.put(partition, &mut headers);
        let subject = names::subject(last.bucket);
        let answer = api::request_within(api::ATTEMPT, &self.client, subject, Some(headers), last.bytes).await;
        match answer.and_then(|answer| api::parse::<BatchAck>(&answer.payload)) {
            Ok(BatchAck { seq, count, batch }) if count == size as u64 && batch == name && seq >= count => {
                metrics::counter!("citycode_log_grouped_commits_total").increment(count);
                Ok(seq - count + 1)
            }
            Ok(ack) => {
                tracing::error!(?ack, size, "a batch was answered as another one");
                Err(true)
            }
            Err(error) => {
                let published = judge_error(&error);
                tracing::debug!(?published, %partition, size, "a batch was not taken; each of it goes by itself");
                Err(matches!(
                    published,
                    Published::Unanswered | Published::InFlight(_) | Published::Unknown(_)
                ))
            }
        }
    }
}

/// What each message of a batch says.
fn batch_headers(message: &Message, batch: &str, number: usize) -> HeaderMap {
    let mut headers = headers(&message.id, message.expected);
    headers.insert("Nats-Batch-Id", batch);
    headers.insert("Nats-Batch-Sequence", number.to_string());
    headers
}

#[derive(Debug, Deserialize)]
struct BatchAck {
    seq: u64,
    #[serde(default)]
    count: u64,
    #[serde(default)]
    batch: String,
}

impl Lane {
    /// The first that wait, as many as a batch takes.
    fn take_batch(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.message.bytes.len();
            bytes <= MAX_BATCH_BYTES
        };
        // A commit is smaller than a batch may be, so there is always one.
        let count = self.waiting.iter().take(MAX_BATCH).take_while(fits).count();
        self.waiting.drain(..count).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lane = self.shared.lane(self.partition);
        lane.alone -= 1;
        let undelivered = self.shared.advance(self.partition, &mut lane);
        drop(lane);
        drop(undelivered);
    }
}
