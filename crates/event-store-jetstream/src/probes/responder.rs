//! The probes that a writer must answer: in each partition with a commit that carries the digest of a list of their
//! nonces.
//!
//! A list is created at most once in [`LIST_TICKS`] ticks, regardless of the number of commits and partitions: commits
//! carry its digest until one of each partition was read. Lists of other writers answer probes as well.

use std::collections::VecDeque;

use bytes::Bytes;
use citycode_event_store::Partition;
use tokio::sync::mpsc;

use super::ProbeAnswers;
use super::nonce_list::{Digest, NonceList, digest_text, parse_probe};
use super::quotas::UnansweredNonces;
use super::version1::{self, UnansweredV1, ticks_in};

/// Ticks between two lists: a quarter of a second, because readers send probes twice a second.
const LIST_TICKS: u64 = 5;
/// Lists that are kept until the commits with their digests are read.
const MAX_LISTS: usize = 256;
/// Kept digests of each partition whose lists have not arrived.
const MAX_UNKNOWN: usize = 16;

#[derive(Debug)]
pub(super) struct ProbeResponder {
    /// The sender for this writer's lists; `None` while this client does not answer probes.
    outgoing: Option<mpsc::Sender<Bytes>>,
    nonces: UnansweredNonces,
    own_list: Option<OwnList>,
    /// Lists, each with the arrival up to which it answers all nonces; the newest last.
    lists: VecDeque<(Digest, u64)>,
    partitions: Vec<PartitionAnswers>,
    /// The number of ticks, which measures time.
    ticks: u64,
}

/// This writer's newest list.
#[derive(Debug)]
struct OwnList {
    digest: Digest,
    answers: u64,
    tick: u64,
}

/// The state of one partition.
#[derive(Debug, Default)]
struct PartitionAnswers {
    /// The arrival up to which all nonces are answered here.
    answered: u64,
    /// The tick at which the oldest unanswered nonce arrived.
    waiting_since: Option<u64>,
    version1: UnansweredV1,
    /// The tick at which the last heartbeat was read.
    last_heartbeat: Option<u64>,
    heartbeat_in_flight: bool,
    /// Digests of commits whose lists have not arrived.
    unknown: VecDeque<Digest>,
}

impl ProbeResponder {
    pub(super) fn new(partitions: u16) -> Self {
        Self {
            outgoing: None,
            nonces: UnansweredNonces::default(),
            own_list: None,
            lists: VecDeque::new(),
            partitions: (0..partitions).map(|_| PartitionAnswers::default()).collect(),
            ticks: 0,
        }
    }

    pub(super) fn start(&mut self, outgoing: mpsc::Sender<Bytes>) {
        self.outgoing = Some(outgoing);
    }

    /// A probe arrived.
    pub(super) fn receive(&mut self, role: &str, instance: &str, probe: &[u8]) {
        let accepted =
            parse_probe(probe).is_some_and(|(reader, nonce)| self.nonces.insert(role, instance, reader, nonce));
        if accepted {
            for partition in &mut self.partitions {
                partition.waiting_since.get_or_insert(self.ticks);
            }
        }
    }

    /// A version 1 nonce arrived.
    pub(super) fn receive_version1(&mut self, nonce: &[u8]) {
        if let Some((reader, nonce)) = version1::parse(nonce) {
            for partition in &mut self.partitions {
                partition.version1.insert(reader, nonce, self.ticks);
            }
        }
    }

    /// The answers for the next commit of the partition: a digest, and version 1 nonces.
    pub(super) fn answers(&mut self, partition: Partition) -> (Option<String>, Option<String>) {
        if self.outgoing.is_none() {
            return (None, None);
        }
        let answered = self.partitions[usize::from(partition.0)].answered;
        let is_old = |list: &OwnList| list.answers < self.nonces.last_arrival() && self.ticks - list.tick >= LIST_TICKS;
        if answered < self.nonces.last_arrival() && self.own_list.as_ref().is_none_or(is_old) {
            self.create_list();
        }
        let list = self.own_list.as_ref().filter(|list| list.answers > answered);
        let nonces = &self.partitions[usize::from(partition.0)].version1.nonces;
        (
            list.map(|list| digest_text(&list.digest)),
            (!nonces.is_empty()).then(|| nonces.join(",")),
        )
    }

    /// Creates a list of all unanswered nonces and sends it. If the send queue is full, the previous list stays in use.
    fn create_list(&mut self) {
        let list = self.nonces.list();
        let bytes = list.to_bytes();
        let digest = list.digest();
        if self
            .outgoing
            .as_ref()
            .is_some_and(|outgoing| outgoing.try_send(bytes).is_ok())
        {
            let answers = self.nonces.last_arrival();
            self.remember(digest, answers);
            self.own_list = Some(OwnList {
                digest,
                answers,
                tick: self.ticks,
            });
        }
    }

    /// A list arrived, of this writer or another one.
    pub(super) fn receive_list(&mut self, list: &NonceList) {
        let digest = list.digest();
        if self.outgoing.is_none() || self.lists.iter().any(|(known, _)| *known == digest) {
            return;
        }
        let answers = self.nonces.covered_by(list);
        self.remember(digest, answers);
        for partition in 0..self.partitions.len() {
            if self.partitions[partition].unknown.contains(&digest) {
                self.mark_answered(partition, answers);
            }
        }
    }

    fn remember(&mut self, digest: Digest, answers: u64) {
        if self.lists.len() == MAX_LISTS {
            self.lists.pop_front();
        }
        self.lists.push_back((digest, answers));
    }

    /// A commit with a digest was read.
    pub(super) fn see(&mut self, partition: Partition, digest: &Digest) {
        let partition = usize::from(partition.0);
        match self.lists.iter().find(|(known, _)| known == digest) {
            Some((_, answers)) => self.mark_answered(partition, *answers),
            None => {
                let unknown = &mut self.partitions[partition].unknown;
                if unknown.len() == MAX_UNKNOWN {
                    unknown.pop_front();
                }
                unknown.push_back(*digest);
            }
        }
    }

    /// A commit with version 1 nonces was read.
    pub(super) fn see_version1(&mut self, partition: Partition, nonces: &[&str]) {
        self.partitions[usize::from(partition.0)].version1.remove(nonces);
    }

    fn mark_answered(&mut self, partition: usize, answers: u64) {
        let state = &mut self.partitions[partition];
        if answers <= state.answered {
            return;
        }
        state.answered = answers;
        if answers == self.nonces.last_arrival() {
            state.waiting_since = None;
        }
        let everywhere = self.partitions.iter().map(|state| state.answered).min().unwrap_or(0);
        self.nonces.remove_answered(everywhere);
    }

    /// A heartbeat was read.
    pub(super) fn see_heartbeat(&mut self, partition: Partition) {
        self.partitions[usize::from(partition.0)].last_heartbeat = Some(self.ticks);
    }

    /// Advances the time by one tick. Returns the partitions whose nonces waited too long, so that a heartbeat is due;
    /// each is to be reported to [`ProbeResponder::heartbeat_ended`].
    pub(super) fn tick(&mut self, answers: &ProbeAnswers) -> Vec<Partition> {
        self.ticks += 1;
        let (tick, patience, pause) = (
            self.ticks,
            ticks_in(answers.patience),
            ticks_in(answers.heartbeat_every),
        );
        let mut due = Vec::new();
        for (number, state) in (0..).zip(&mut self.partitions) {
            let since = [state.waiting_since, state.version1.since].into_iter().flatten().min();
            let waited = since.is_some_and(|since| tick - since >= patience);
            let paused = state.last_heartbeat.is_none_or(|last| tick - last >= pause);
            if waited && paused && !state.heartbeat_in_flight {
                state.heartbeat_in_flight = true;
                due.push(Partition(number));
            }
        }
        // Heartbeats answer every nonce that has arrived, even if the last list is recent.
        let is_old = |list: &OwnList| list.answers < self.nonces.last_arrival();
        let waits = self
            .partitions
            .iter()
            .any(|state| state.answered < self.nonces.last_arrival());
        if !due.is_empty() && waits && self.own_list.as_ref().is_none_or(is_old) {
            self.create_list();
        }
        due
    }

    /// An attempt to append a heartbeat has ended.
    pub(super) fn heartbeat_ended(&mut self, partition: Partition) {
        self.partitions[usize::from(partition.0)].heartbeat_in_flight = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::nonce_list::{Nonce, encode_probe, parse_digest};
    use super::*;

    const PATIENCE: u64 = 2;
    const PAUSE: u64 = 20;

    fn answers() -> ProbeAnswers {
        ProbeAnswers {
            heartbeat_every: Duration::from_millis(50 * PAUSE),
            patience: Duration::from_millis(50 * PATIENCE),
            now: Box::new(|| 0),
        }
    }

    fn receive(responder: &mut ProbeResponder, number: u8) {
        responder.receive("verifier", "V", &encode_probe(&[number; 8], &Nonce([number; 16])));
    }

    fn writer() -> (ProbeResponder, mpsc::Receiver<Bytes>) {
        let mut responder = ProbeResponder::new(2);
        let (outgoing, lists) = mpsc::channel(8);
        responder.start(outgoing);
        (responder, lists)
    }

    #[test]
    fn commits_carry_one_digest_until_it_was_read_and_one_list_serves_all_partitions() {
        let (mut responder, mut lists) = writer();
        assert_eq!(responder.answers(Partition(0)), (None, None));
        for number in 1..=200 {
            receive(&mut responder, number);
        }
        let (digest, nonces) = responder.answers(Partition(0));
        let digest = digest.expect("an answer is due");
        assert_eq!((digest.len(), nonces), (43, None));
        let list = NonceList::parse(&lists.try_recv().expect("it is sent"), 1_312).expect("a list");
        let digest = parse_digest(&digest).expect("a digest");
        assert_eq!(list.digest(), digest);
        assert!((1..=200).all(|number| list.contains(&Nonce([number; 16]))));
        assert_eq!(responder.answers(Partition(1)).0, Some(digest_text(&digest)));
        assert!(lists.try_recv().is_err(), "it is sent once");
        responder.see(Partition(0), &digest);
        assert_eq!(responder.answers(Partition(0)).0, None, "it was answered");
        receive(&mut responder, 201);
        assert_eq!(
            responder.answers(Partition(0)).0,
            None,
            "no list is created so soon after another"
        );
        for _ in 0..LIST_TICKS {
            responder.tick(&answers());
        }
        assert!(responder.answers(Partition(0)).0.is_some());
    }

    #[test]
    fn an_idle_partition_has_one_heartbeat_at_a_time_and_a_pause_after_it() {
        let (mut responder, _lists) = writer();
        let mut written = 0;
        for tick in 0..=(3 * PAUSE) {
            for number in 0..100 {
                receive(&mut responder, number);
            }
            let due = responder.tick(&answers());
            assert!(due.iter().all(|partition| partition.0 < 2));
            for partition in due {
                let digest = responder
                    .answers(partition)
                    .0
                    .expect("a heartbeat carries the answer that is due");
                responder.see(partition, &parse_digest(&digest).expect("a digest"));
                responder.see_heartbeat(partition);
                responder.heartbeat_ended(partition);
                written += usize::from(partition == Partition(0));
            }
            assert!(
                written <= 1 + usize::try_from(tick / PAUSE).expect("few"),
                "{written} after {tick} ticks"
            );
        }
        assert!(written >= 3, "{written}");
    }

    #[test]
    fn another_writers_answer_counts_and_a_blocked_partition_delays_no_other() {
        let (mut responder, _lists) = writer();
        receive(&mut responder, 1);
        let others: NonceList = [Nonce([1; 16]), Nonce([77; 16])].into_iter().collect();
        // Its commit is read before the list arrives.
        responder.see(Partition(0), &others.digest());
        responder.receive_list(&others);
        for _ in 0..=PATIENCE {
            let due = responder.tick(&answers());
            assert!(!due.contains(&Partition(0)), "it was answered there");
        }
        assert_eq!(
            responder.tick(&answers()),
            [],
            "the other partition's heartbeat is in flight, and nothing waits for it"
        );
        assert_eq!(responder.answers(Partition(0)).0, None);
        assert!(responder.answers(Partition(1)).0.is_some());
    }
}
