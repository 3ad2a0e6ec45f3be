//! The reader of one partition: a push consumer without acknowledgements, made anew on any doubt.
//!
//! The server pushes with flow control, so that what is under way is bounded by it and by the bounded channel behind
//! this reader, and says once a second that it is alive. The reader checks that sequences follow each other and, at
//! each heartbeat, that nothing was lost on the way. A gap, three silent seconds, a lost message, an odd status: each
//! is a doubt, and the answer to a doubt is always the same, a new consumer from the last commit that was delivered.
//! A crash or a cut leaves a consumer behind that the server removes by itself.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use citycode_event_store::{
    Partition, Position, ReadError, RecordedCommit, Sequence, SubscriptionError, codec, watermark,
};
use futures::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use crate::log_client::{LogClient, PartitionError, damaged};
use crate::names;
use citycode_jetstream::api;

const NANOS: u64 = 1_000_000_000;
/// The server's sign of life, in seconds.
const HEARTBEAT_SECONDS: u64 = 1;
/// Silence after which the consumer is not believed in any more.
const SILENCE: Duration = Duration::from_secs(3 * HEARTBEAT_SECONDS);
/// The server removes a consumer that nobody listens to after so many seconds.
const INACTIVE_SECONDS: u64 = 10;
/// Commits handed on together: enough that the cost of handing on vanishes, little enough to stay live.
const CHUNK: usize = 1_024;
/// First pause after a doubt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Soon enough for a place that wants to know within 10 s, and no burden on servers that come up.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a reader hands on.
pub(crate) enum FromReader {
    /// Commits of one partition, in order, without a gap.
    Commits(Vec<Arc<RecordedCommit>>),
    /// The tail may be old from here on; the reader begins anew.
    Doubt,
    /// No retry heals it; the reader has ended.
    Failed(SubscriptionError),
}

/// The reader of one partition.
pub(crate) struct PartitionReader {
    pub(crate) log: Arc<LogClient>,
    pub(crate) partition: Partition,
    /// Delivered up to here.
    pub(crate) last: Sequence,
    pub(crate) sender: mpsc::Sender<FromReader>,
    /// How many partitions read history at once.
    pub(crate) history: Arc<Semaphore>,
}

/// Why a consumer is given up.
enum End {
    Doubt(String),
    Failed(SubscriptionError),
    /// Nobody listens any more.
    Dropped,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    name: String,
}

/// A consumer's messages and how many of them came.
struct Consumer {
    name: String,
    messages: Subscriber,
    delivered: u64,
}

impl PartitionReader {
    /// Reads until nobody listens, or until no retry helps.
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.last;
            match self.consume().await {
                End::Dropped => return,
                End::Failed(error) => {
                    // Nobody may be there to hear it.
                    let _ = self.sender.send(FromReader::Failed(error)).await;
                    return;
                }
                End::Doubt(reason) => {
                    let partition = self.partition;
                    tracing::warn!(%partition, last = %self.last, reason, "the log is read anew from the last commit");
                    if self.sender.send(FromReader::Doubt).await.is_err() {
                        return;
                    }
                }
            }
            if self.last > before {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One consumer, from its making to the first doubt.
    async fn consume(&mut self) -> End {
        let history = Arc::clone(&self.history);
        let Ok(permit) = history.acquire().await else {
            return End::Dropped;
        };
        let mut history = Some(permit);
        let target = match self.verify().await {
            Ok(target) => target,
            Err(end) => return end,
        };
        let mut consumer = match self.create_consumer().await {
            Ok(consumer) => consumer,
            Err(reason) => return End::Doubt(reason),
        };
        let end = loop {
            self.give_way(&mut history, target);
            if let Err(end) = self.take_chunk(&mut consumer).await {
                break end;
            }
        };
        // Spares the server the wait; if it does not come through, the consumer goes by itself.
        let gone = format!(
            "$JS.API.CONSUMER.DELETE.{}.{}",
            names::stream(self.partition),
            consumer.name
        );
        let _ = self.log.client.publish(gone, bytes::Bytes::new()).now_or_never();
        end
    }

    /// Once history is read another partition may read its own.
    fn give_way(&self, history: &mut Option<SemaphorePermit<'_>>, target: Sequence) {
        if self.last >= target {
            *history = None;
        }
    }

    /// Makes sure that this is the log that was known and has what comes next; its head.
    async fn verify(&self) -> Result<Sequence, End> {
        let partition = self.partition;
        let extent = self.log.extent(partition).await.map_err(|error| match error {
            PartitionError::WentBack { head, seen } => {
                End::Failed(SubscriptionError::WentBack { partition, head, seen })
            }
            PartitionError::Read(ReadError::Unavailable(reason)) => End::Doubt(reason),
            PartitionError::Read(error) => End::Failed(error.into()),
        })?;
        let next = self.last.next();
        if extent.last >= next && extent.first > next {
            return Err(End::Failed(SubscriptionError::Gap {
                partition,
                expected: next,
                found: extent.first,
            }));
        }
        Ok(extent.last)
    }

    async fn create_consumer(&self) -> Result<Consumer, String> {
        let (client, stream) = (&self.log.client, names::stream(self.partition));
        let inbox = client.new_inbox();
        let messages = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| error.to_string())?;
        let request = json!({
            "stream_name": stream,
            "config": {
                "deliver_subject": inbox,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": self.last.next().0,
                "ack_policy": "none",
                "replay_policy": "instant",
                "flow_control": true,
                "idle_heartbeat": HEARTBEAT_SECONDS * NANOS,
                "inactive_threshold": INACTIVE_SECONDS * NANOS,
                "num_replicas": 1,
                "mem_storage": true,
            },
        });
        let made: ConsumerInfo = api::ask(client, &format!("CONSUMER.CREATE.{stream}"), &request)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Consumer {
            name: made.name,
            messages,
            delivered: 0,
        })
    }

    /// Takes what is at hand, at least one message, and hands on the commits among it.
    async fn take_chunk(&mut self, consumer: &mut Consumer) -> Result<(), End> {
        let waited = tokio::select! {
            () = self.sender.closed() => return Err(End::Dropped),
            waited = tokio::time::timeout(SILENCE, consumer.messages.next()) => waited,
        };
        let mut next = waited.map_err(|_| End::Doubt(format!("silent for {} s", SILENCE.as_secs())))?;
        let mut commits = Vec::new();
        let mut ended = Ok(());
        loop {
            let Some(message) = next else {
                ended = Err(End::Doubt("the subscription ended".into()));
                break;
            };
            match self.take(consumer, message).await {
                Ok(Some(commit)) => commits.push(Arc::new(commit)),
                Ok(None) => {}
                Err(end) => {
                    ended = Err(end);
                    break;
                }
            }
            if commits.len() == CHUNK {
                break;
            }
            match consumer.messages.next().now_or_never() {
                Some(more) => next = more,
                None => break,
            }
        }
        // What came before the doubt is good.
        if let Some(last) = commits.last() {
            self.log.tails.see_all(commits.iter().map(|commit| &**commit));
            self.log.see(last.position);
            if self.sender.send(FromReader::Commits(commits)).await.is_err() {
                return Err(End::Dropped);
            }
        }
        ended
    }

    /// One message: a commit, or the server's word about itself.
    async fn take(&mut self, consumer: &mut Consumer, message: Message) -> Result<Option<RecordedCommit>, End> {
        if let Some(status) = message.status {
            self.control(consumer, status, &message).await?;
            return Ok(None);
        }
        let (expected, partition) = (self.last.next(), self.partition);
        let sequence = message.reply.as_deref().and_then(stream_sequence).map(Sequence);
        if sequence != Some(expected) {
            return Err(End::Doubt(format!("{sequence:?} came where {expected} was next")));
        }
        consumer.delivered += 1;
        let position = Position {
            partition,
            sequence: expected,
        };
        let failed = |reason| End::Failed(damaged(partition, expected, reason).into());
        self.log.echoes.see(position, &message);
        let commit = codec::decode_recorded(message.payload, position, &self.log.manifest.layout)
            .map_err(|error| failed(error.to_string()))?;
        if !names::is_subject_of(&message.subject, commit.bucket) {
            return Err(failed("it stands in another bucket".into()));
        }
        if watermark::is_watermark(&commit.commit.stream) {
            self.log.echoes.see_watermark(partition);
        }
        self.last = expected;
        Ok(Some(commit))
    }

    /// A heartbeat, a request of flow control, or a status that means nothing good.
    async fn control(&self, consumer: &Consumer, status: StatusCode, message: &Message) -> Result<(), End> {
        if status != StatusCode::IDLE_HEARTBEAT {
            let said = message.description.as_deref().unwrap_or_default();
            return Err(End::Doubt(format!("status {} {said}", status.as_u16())));
        }
        let header = |name: &str| {
            let value = message.headers.as_ref().and_then(|headers| headers.get(name));
            value.map(|value| value.as_str().to_owned())
        };
        // Both kinds come with status 100; flow control is the one that wants an answer.
        let wants_answer = message.reply.as_ref().map(|reply| reply.as_str().to_owned());
        if let Some(subject) = wants_answer.or_else(|| header("Nats-Consumer-Stalled")) {
            let answered = self.log.client.publish(subject, bytes::Bytes::new()).await;
            answered.map_err(|error| End::Doubt(error.to_string()))?;
        }
        let delivered = header("Nats-Last-Consumer").and_then(|text| text.parse::<u64>().ok());
        match delivered {
            Some(delivered) if delivered != consumer.delivered => Err(End::Doubt(format!(
                "{delivered} messages were sent and {} came",
                consumer.delivered
            ))),
            _ => Ok(()),
        }
    }
}

/// The stream's sequence in a message's reply subject. Two forms:
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, and with
/// `<domain>.<account>` before the stream and, possibly, a token at the end.
fn stream_sequence(reply: &str) -> Option<u64> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    let index = if rest.split('.').count() > 7 { 5 } else { 3 };
    rest.split('.').nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_reply_subject_are_read() {
        assert_eq!(stream_sequence("$JS.ACK.CC_EV_00.abc.1.42.7.1700000000.3"), Some(42));
        assert_eq!(
            stream_sequence("$JS.ACK._.acc.CC_EV_00.abc.1.42.7.1700000000.3"),
            Some(42)
        );
        assert_eq!(
            stream_sequence("$JS.ACK._.acc.CC_EV_00.abc.1.42.7.1700000000.3.token"),
            Some(42)
        );
        assert_eq!(stream_sequence("_INBOX.x"), None);
    }
}
