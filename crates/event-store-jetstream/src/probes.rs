//! Freshness probes: the nonces that this client sent as a reader, and those that it must answer as a writer.
//!
//! A reader publishes a fresh nonce to all writers, on `cc.echo.v2.ROLE.INSTANCE`. Writers collect the received nonces
//! in lists and publish each list on `cc.echoed.v2`; the next commit of each partition carries the digest of the newest
//! list in a header. A commit with the digest of a list that contains the nonce was written after the nonce was sent,
//! so a reader that has read up to that commit has read every commit that was acknowledged to any client before it sent
//! the nonce. The proof involves no wall clock and no answer of a server that was cut off, and it adds only 43
//! characters to a commit, however many readers send probes.
//!
//! Lost messages are not repeated: the next probe has another nonce.
//!
//! **Quotas.** Readers of one role cannot displace those of another role, nor one instance the other instances of its
//! role: see [`quotas`]. The servers let each credential publish to its own subject only, and writers receive probes on
//! a separate connection.
//!
//! **Earlier releases** publish `<reader>.<count>` as nonce on `cc.echo.v1`, and their commits carry such nonces. Both
//! are supported while the log's minimum reader version is 1: see [`version1`].

mod nonce_list;
mod pending;
mod quotas;
mod responder;
mod version1;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::header::HeaderName;
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use citycode_event_store::{Partition, Position};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::nonce_list::{NonceList, encode_probe, parse_digest};
use self::pending::PendingProbes;
pub(crate) use self::quotas::roles;
use self::responder::ProbeResponder;
use crate::config::Config;
use crate::subjects;

/// The header of a commit with the digest of a list.
const DIGEST: HeaderName = HeaderName::from_static("CC-Echo-Digest");
/// The header of a commit with nonces of version 1, separated by commas.
const NONCES_V1: HeaderName = HeaderName::from_static("CC-Echo");
/// Most nonces of an accepted list: more than this release sends, so that a later release may send more.
const MAX_LIST_NONCES: usize = 4 * quotas::MAX_NONCES;
const KEY_CONTEXT: &str = "citycode echo nonces v2";
/// How often a writer checks for unanswered probes; the unit of time of [`ProbeResponder`].
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// Probes that no list contained before a reader also sends version 1 nonces: all its writers may be of an earlier
/// release.
const UNLISTED_BEFORE_VERSION1: u32 = 4;

/// How a writer answers probes.
pub struct ProbeAnswers {
    /// An idle partition gets at most one heartbeat in this time, from all writers together. A third of the tightest
    /// place's limit lets verdicts pass there even in an idle city.
    pub heartbeat_every: Duration,
    /// How long this writer waits for ordinary commits and for other writers before it appends a heartbeat. Writers
    /// should have different values.
    pub patience: Duration,
    /// The current time in Unix seconds, for heartbeats.
    pub now: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// The identity of a reader, as its credential permits.
#[derive(Debug, Clone)]
pub(crate) struct ProbeIdentity {
    /// One of [`roles`].
    role: &'static str,
    /// The public key of its NATS user; without one, a random name.
    instance: String,
    /// The secret from which its nonces are derived.
    key: [u8; 32],
    /// The reader's part of its version 1 nonces.
    version1_reader: String,
}

impl ProbeIdentity {
    /// `unique` is a name from the NATS client's generator.
    pub(crate) fn of(config: &Config, unique: &str) -> Self {
        let random = unique.rsplit('.').next().unwrap_or(unique);
        let version1_reader: String = random.chars().take(version1::READER_CHARACTERS).collect();
        let instance = config.connection.credentials.public_key();
        Self {
            role: config.role,
            instance: instance.unwrap_or_else(|| version1_reader.clone()),
            key: config
                .nonce_key
                .unwrap_or_else(|| blake3::derive_key(KEY_CONTEXT, unique.as_bytes())),
            version1_reader,
        }
    }
}

/// The probes that this client has sent, and those that it must answer.
pub(crate) struct Probes {
    /// The subject of this client's own probes.
    subject: String,
    pending: Mutex<PendingProbes>,
    responder: Mutex<ProbeResponder>,
    /// The number of own probes in flight, plus one while this client answers probes. If 0, headers are not inspected.
    inspect_headers: AtomicUsize,
    version1_reader: String,
}

impl Probes {
    pub(crate) fn new(partitions: u16, identity: ProbeIdentity) -> Self {
        Self {
            subject: subjects::probes(identity.role, &identity.instance),
            pending: Mutex::new(PendingProbes::new(partitions, identity.key)),
            responder: Mutex::new(ProbeResponder::new(partitions)),
            inspect_headers: AtomicUsize::new(0),
            version1_reader: identity.version1_reader,
        }
    }

    /// Starts a probe whose proofs go to `proved`.
    pub(crate) fn start(&self, proved: mpsc::UnboundedSender<Position>) -> Probe<'_> {
        self.inspect_headers.fetch_add(1, Ordering::AcqRel);
        let mut pending = self.pending.lock();
        let count = pending.start(proved);
        Probe {
            probes: self,
            count,
            payload: encode_probe(&pending.reader(), &pending.nonce(count)),
            use_version1: pending.is_unlisted(UNLISTED_BEFORE_VERSION1),
        }
    }

    /// Adds the answers that this client owes to the partition to the headers of a commit.
    pub(crate) fn put(&self, partition: Partition, headers: &mut HeaderMap) {
        let (digest, nonces) = self.responder.lock().answers(partition);
        if let Some(digest) = digest {
            headers.insert(DIGEST, digest);
        }
        if let Some(nonces) = nonces {
            headers.insert(NONCES_V1, nonces);
        }
    }

    /// Processes the headers of the commit at `position`.
    pub(crate) fn see(&self, position: Position, message: &Message) {
        if self.inspect_headers.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(headers) = &message.headers else {
            return;
        };
        if let Some(digest) = headers.get(DIGEST).and_then(|text| parse_digest(text.as_str())) {
            self.responder.lock().see(position.partition, &digest);
            self.pending.lock().see(position, &digest);
        }
        if let Some(nonces) = headers.get(NONCES_V1) {
            let nonces: Vec<&str> = nonces.as_str().split(',').collect();
            self.responder.lock().see_version1(position.partition, &nonces);
            let newest = nonces.iter().filter_map(|nonce| self.own_count(nonce)).max();
            if let Some(newest) = newest {
                // An answer also proves every earlier probe.
                self.pending.lock().settle(position, newest);
            }
        }
    }

    /// The count of a version 1 nonce, if this reader sent it.
    fn own_count(&self, nonce: &str) -> Option<u64> {
        let (reader, count) = nonce.split_once('.')?;
        (reader == self.version1_reader)
            .then(|| u64::from_str_radix(count, 16).ok())
            .flatten()
    }

    /// Called when a heartbeat of the partition was read or written.
    pub(crate) fn see_heartbeat(&self, partition: Partition) {
        if self.inspect_headers.load(Ordering::Acquire) > 0 {
            self.responder.lock().see_heartbeat(partition);
        }
    }

    /// Processes a published list; ignores invalid ones.
    pub(crate) fn receive_list(&self, list: &[u8]) {
        if let Some(list) = NonceList::parse(list, MAX_LIST_NONCES) {
            self.responder.lock().receive_list(&list);
            self.pending.lock().receive_list(&list);
        }
    }

    /// From now on this client answers probes and sends its lists to `lists`.
    pub(crate) fn start_answering(&self, lists: mpsc::Sender<Bytes>) {
        self.responder.lock().start(lists);
        self.inspect_headers.fetch_add(1, Ordering::AcqRel);
    }

    /// Receives probes, each with the role whose subject it was published to.
    pub(crate) fn receive(&self, probes: &[(&'static str, Message)]) {
        let mut responder = self.responder.lock();
        for (role, probe) in probes {
            let instance = probe.subject.rsplit('.').next().unwrap_or_default();
            responder.receive(role, instance, &probe.payload);
        }
    }

    /// Receives version 1 nonces.
    pub(crate) fn receive_version1(&self, nonces: &[Message]) {
        let mut responder = self.responder.lock();
        nonces
            .iter()
            .for_each(|nonce| responder.receive_version1(&nonce.payload));
    }

    /// Advances the responder by one [`TICK`]. Returns the partitions that need a heartbeat now, each of which is to be
    /// reported to [`Probes::heartbeat_ended`].
    pub(crate) fn tick(&self, answers: &ProbeAnswers) -> Vec<Partition> {
        self.responder.lock().tick(answers)
    }

    /// An attempt to append a heartbeat has ended.
    pub(crate) fn heartbeat_ended(&self, partition: Partition) {
        self.responder.lock().heartbeat_ended(partition);
    }
}

/// A probe in flight; dropping it ends it.
pub(crate) struct Probe<'a> {
    probes: &'a Probes,
    count: u64,
    payload: Bytes,
    use_version1: bool,
}

impl Probe<'_> {
    /// The subject and the message to publish.
    pub(crate) fn message(&self) -> (String, Bytes) {
        (self.probes.subject.clone(), self.payload.clone())
    }

    /// The version 1 nonce to publish as well, if the writers may all be of an earlier release.
    pub(crate) fn version1(&self) -> Option<Bytes> {
        self.use_version1
            .then(|| Bytes::from(format!("{}.{:x}", self.probes.version1_reader, self.count)))
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.probes.pending.lock().end(self.count);
        self.probes.inspect_headers.fetch_sub(1, Ordering::AcqRel);
    }
}
