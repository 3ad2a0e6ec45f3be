//! Group commit: frequent appends to one partition are published together as an atomic batch.
//!
//! A server flushes once for a batch, but a batch costs as much as about sixteen single publishes (decision 18). So the
//! first [`MAX_SINGLES`] appends of a partition are published singly, further ones wait, and once [`MIN_BATCH`] wait
//! they are published as one batch. While it is in flight all later appends wait and form the next batch. There is no
//! timer: an uncontended append is never delayed.
//!
//! A batch is written entirely or not at all. If it was not written, because one of its messages conflicts or is a
//! duplicate, each message is published singly and gets its own answer. So this module decides no outcome except
//! success.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::HeaderMap;
use async_nats::client::PublishError;
use citycode_event_store::{Partition, Sequence};
use citycode_jetstream::Client;
use citycode_jetstream::api;
use citycode_jetstream::publish::classify_error;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::names;
use crate::probes::Probes;
use crate::publish::{Message, Published};

/// Single publishes of a partition in flight before further ones wait: enough for a server that is not busy, and few
/// enough that batches form on a busy one.
const MAX_SINGLES: usize = 8;
/// The smallest batch: one of 16 took as long as 16 single publishes, one of 64 a third of 64 of them.
const MIN_BATCH: usize = 32;
/// The largest batch; the server accepts 1,000, but 256 already share one flush.
const MAX_BATCH: usize = 256;
/// Bytes of a batch: the server keeps a batch in memory until its last message arrives.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// How an append proceeds.
pub(crate) enum Permit {
    /// It was written by a batch.
    Written(Sequence),
    /// It is to be published singly while the slot is held.
    Single {
        /// Its slot among the single publishes in flight.
        slot: SingleSlot,
        /// A batch with it was sent, and it is unknown whether that was written.
        unanswered: bool,
    },
}

/// The queues of all partitions of one client.
pub(crate) struct Groups {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    probes: Arc<Probes>,
    queues: Vec<Mutex<Queue>>,
    /// The prefix of this client's batch names, and the number of the next batch.
    name: String,
    count: AtomicU64,
}

/// The appends of one partition that are in flight or waiting.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Single publishes in flight.
    singles: usize,
    /// A batch is in flight.
    batch: bool,
}

struct Waiting {
    message: Message,
    permit: oneshot::Sender<Permit>,
}

/// A slot for one single publish; dropping it lets the next one proceed.
pub(crate) struct SingleSlot {
    shared: Arc<Shared>,
    partition: Partition,
}

impl Groups {
    pub(crate) fn new(client: Client, probes: Arc<Probes>, partitions: u16) -> Self {
        let unique = client.new_inbox();
        let name = unique.rsplit('.').next().unwrap_or(&unique).to_owned();
        let queues = std::iter::repeat_with(Mutex::default).take(usize::from(partitions));
        let shared = Shared {
            client,
            probes,
            queues: queues.collect(),
            name,
            count: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Waits for the message's permit. Dropping the future withdraws the message, unless its batch is in flight.
    pub(crate) async fn submit(&self, message: Message) -> Permit {
        let partition = message.bucket.partition;
        let waiting = {
            let mut queue = self.shared.queue(partition);
            if queue.waiting.is_empty() && !queue.batch && queue.singles < MAX_SINGLES {
                queue.singles += 1;
                drop(queue);
                return self.shared.single(partition, false);
            }
            let (permit, waiting) = oneshot::channel();
            queue.waiting.push_back(Waiting { message, permit });
            let undelivered = self.shared.advance(partition, &mut queue);
            drop(queue);
            drop(undelivered);
            waiting
        };
        match waiting.await {
            Ok(permit) => permit,
            // The task of its batch was cancelled: the runtime is shutting down.
            Err(_) => {
                self.shared.queue(partition).singles += 1;
                self.shared.single(partition, true)
            }
        }
    }
}

impl Shared {
    fn queue(&self, partition: Partition) -> MutexGuard<'_, Queue> {
        self.queues[usize::from(partition.0)].lock()
    }

    fn single(self: &Arc<Self>, partition: Partition, unanswered: bool) -> Permit {
        let slot = SingleSlot {
            shared: Arc::clone(self),
            partition,
        };
        Permit::Single { slot, unanswered }
    }

    /// Gives a permit to every append that can proceed. Returns the permits of callers that no longer wait; the caller
    /// must unlock the queue before it drops them, because dropping a slot locks the queue.
    #[must_use]
    fn advance(self: &Arc<Self>, partition: Partition, queue: &mut Queue) -> Vec<Permit> {
        let mut undelivered = Vec::new();
        if queue.batch {
            return undelivered;
        }
        if queue.waiting.len() >= MIN_BATCH {
            queue.waiting.retain(|waiting| !waiting.permit.is_closed());
        }
        if queue.waiting.len() >= MIN_BATCH {
            queue.batch = true;
            tokio::spawn(Arc::clone(self).publish_batch(partition, queue.take_batch()));
            return undelivered;
        }
        while queue.singles < MAX_SINGLES
            && let Some(next) = queue.waiting.pop_front()
        {
            queue.singles += 1;
            if let Err(permit) = next.permit.send(self.single(partition, false)) {
                undelivered.push(permit);
            }
        }
        undelivered
    }

    fn next_name(&self) -> String {
        format!("{}.{}", self.name, self.count.fetch_add(1, Ordering::Relaxed))
    }

    async fn publish_batch(self: Arc<Self>, partition: Partition, batch: Vec<Waiting>) {
        let (messages, permits): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.message, one.permit)).unzip();
        let outcome = self.send(partition, messages).await;
        let mut queue = self.queue(partition);
        queue.batch = false;
        let mut undelivered = Vec::new();
        for (index, permit) in permits.into_iter().enumerate() {
            let answer = match outcome {
                Ok(first) => Permit::Written(Sequence(first + index as u64)),
                Err(unanswered) => {
                    queue.singles += 1;
                    self.single(partition, unanswered)
                }
            };
            undelivered.extend(permit.send(answer).err());
        }
        undelivered.extend(self.advance(partition, &mut queue));
        drop(queue);
        drop(undelivered);
    }

    /// Sends a batch. Returns the sequence of its first message, or as an error whether the batch may have been
    /// written.
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
        // If a message is lost, the answer to the last one reports an incomplete batch. If the client's queue stays
        // full and the last message is not sent, the server discards the batch.
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
                tracing::error!(
                    ?ack,
                    size,
                    "the server acknowledged another batch than the one that was sent"
                );
                Err(true)
            }
            Err(error) => {
                let published = classify_error(&error);
                tracing::debug!(?published, %partition, size, "batch not written; its commits are published singly");
                Err(matches!(
                    published,
                    Published::Unanswered | Published::InFlight(_) | Published::Unknown(_)
                ))
            }
        }
    }
}

/// The headers of one message of a batch.
fn batch_headers(message: &Message, batch: &str, number: usize) -> HeaderMap {
    let mut headers = message.headers();
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

impl Queue {
    /// Removes the first waiting appends, as many as a batch takes.
    fn take_batch(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.message.bytes.len();
            bytes <= MAX_BATCH_BYTES
        };
        // At least one fits, because a commit is smaller than a batch.
        let count = self.waiting.iter().take(MAX_BATCH).take_while(fits).count();
        self.waiting.drain(..count).collect()
    }
}

impl Drop for SingleSlot {
    fn drop(&mut self) {
        let mut queue = self.shared.queue(self.partition);
        queue.singles -= 1;
        let undelivered = self.shared.advance(self.partition, &mut queue);
        drop(queue);
        drop(undelivered);
    }
}
