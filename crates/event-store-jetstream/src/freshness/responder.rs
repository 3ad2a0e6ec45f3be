//! What a writer owes its readers: in each partition a commit with the digest of a list that has their nonces.
//!
//! A list is cut at most once in [`CUT_EVERY_LOOKS`] looks, whatever is written and however many partitions there are:
//! commits carry its digest until one of each partition was read. Other writers' lists count as well.

use std::collections::VecDeque;

use bytes::Bytes;
use citycode_event_store::Partition;
use tokio::sync::mpsc;

use super::ProbeAnswers;
use super::nonce_list::{Digest, NonceList, digest_text, parse_probe};
use super::quotas::UnansweredNonces;
use super::version1::{self, Owed, looks_in};

/// A quarter of a second: readers ask twice a second.
const CUT_EVERY_LOOKS: u64 = 5;
/// Lists that are remembered until the commits that carry them are read.
const LISTS: usize = 256;
/// Digests of lists not heard yet that are remembered of each partition.
const UNKNOWN: usize = 16;

#[derive(Debug)]
pub(super) struct ProbeResponder {
    /// Where lists go that are cut; only while this client answers.
    outgoing: Option<mpsc::Sender<Bytes>>,
    window: UnansweredNonces,
    newest_list: Option<Cut>,
    /// Lists and up to which arrival each answers; the newest last.
    lists: VecDeque<(Digest, u64)>,
    debts: Vec<Debt>,
    /// How often it was looked at: the measure of time.
    looks: u64,
}

/// This writer's newest list.
#[derive(Debug)]
struct Cut {
    digest: Digest,
    answers: u64,
    look: u64,
}

/// What is owed to one partition.
#[derive(Debug, Default)]
struct Debt {
    /// Up to which arrival everything was answered.
    paid: u64,
    since: Option<u64>,
    version1: Owed,
    /// At which look a heartbeat was read last.
    last_heartbeat: Option<u64>,
    /// One is under way.
    writing: bool,
    unknown: VecDeque<Digest>,
}

impl ProbeResponder {
    pub(super) fn new(partitions: u16) -> Self {
        Self {
            outgoing: None,
            window: UnansweredNonces::default(),
            newest_list: None,
            lists: VecDeque::new(),
            debts: (0..partitions).map(|_| Debt::default()).collect(),
            looks: 0,
        }
    }

    pub(super) fn begin(&mut self, outgoing: mpsc::Sender<Bytes>) {
        self.outgoing = Some(outgoing);
    }

    /// A question came.
    pub(super) fn take(&mut self, role: &str, instance: &str, question: &[u8]) {
        let taken =
            parse_probe(question).is_some_and(|(reader, nonce)| self.window.take(role, instance, reader, nonce));
        if taken {
            for debt in &mut self.debts {
                debt.since.get_or_insert(self.looks);
            }
        }
    }

    /// A number of version 1 came.
    pub(super) fn take_number(&mut self, number: &[u8]) {
        if let Some((reader, number)) = version1::parse(number) {
            for debt in &mut self.debts {
                debt.version1.owe(reader, number, self.looks);
            }
        }
    }

    /// What the next commit of the partition is to carry: a digest, and numbers of version 1.
    pub(super) fn carried(&mut self, partition: Partition) -> (Option<String>, Option<String>) {
        if self.outgoing.is_none() {
            return (None, None);
        }
        let paid = self.debts[usize::from(partition.0)].paid;
        let is_old = |cut: &Cut| cut.answers < self.window.newest() && self.looks - cut.look >= CUT_EVERY_LOOKS;
        if paid < self.window.newest() && self.newest_list.as_ref().is_none_or(is_old) {
            self.cut();
        }
        let cut = self.newest_list.as_ref().filter(|cut| cut.answers > paid);
        let numbers = &self.debts[usize::from(partition.0)].version1.numbers;
        (
            cut.map(|cut| digest_text(&cut.digest)),
            (!numbers.is_empty()).then(|| numbers.join(",")),
        )
    }

    /// Cuts a list of everything that waits, and sends it. Where lists are sent too slowly the one before stays.
    fn cut(&mut self) {
        let list = self.window.list();
        let bytes = list.to_bytes();
        let digest = list.digest();
        if self
            .outgoing
            .as_ref()
            .is_some_and(|outgoing| outgoing.try_send(bytes).is_ok())
        {
            let answers = self.window.newest();
            self.remember(digest, answers);
            self.newest_list = Some(Cut {
                digest,
                answers,
                look: self.looks,
            });
        }
    }

    /// A list was heard, this writer's own or another's.
    pub(super) fn hear(&mut self, list: &NonceList) {
        let digest = list.digest();
        if self.outgoing.is_none() || self.lists.iter().any(|(known, _)| *known == digest) {
            return;
        }
        let answers = self.window.covered_by(list);
        self.remember(digest, answers);
        for partition in 0..self.debts.len() {
            if self.debts[partition].unknown.contains(&digest) {
                self.pay(partition, answers);
            }
        }
    }

    fn remember(&mut self, digest: Digest, answers: u64) {
        if self.lists.len() == LISTS {
            self.lists.pop_front();
        }
        self.lists.push_back((digest, answers));
    }

    /// A commit was read that carries a digest.
    pub(super) fn see(&mut self, partition: Partition, digest: &Digest) {
        let partition = usize::from(partition.0);
        match self.lists.iter().find(|(known, _)| known == digest) {
            Some((_, answers)) => self.pay(partition, *answers),
            None => {
                let unknown = &mut self.debts[partition].unknown;
                if unknown.len() == UNKNOWN {
                    unknown.pop_front();
                }
                unknown.push_back(*digest);
            }
        }
    }

    /// A commit was read that carries numbers of version 1.
    pub(super) fn see_numbers(&mut self, partition: Partition, numbers: &[&str]) {
        self.debts[usize::from(partition.0)].version1.pay(numbers);
    }

    fn pay(&mut self, partition: usize, answers: u64) {
        let debt = &mut self.debts[partition];
        if answers <= debt.paid {
            return;
        }
        debt.paid = answers;
        if answers == self.window.newest() {
            debt.since = None;
        }
        let everywhere = self.debts.iter().map(|debt| debt.paid).min().unwrap_or(0);
        self.window.forget(everywhere);
    }

    /// A heartbeat was read.
    pub(super) fn see_heartbeat(&mut self, partition: Partition) {
        self.debts[usize::from(partition.0)].last_heartbeat = Some(self.looks);
    }

    /// Partitions in which nobody has answered for so long that a heartbeat is due: each is to be written now, and to be
    /// told of by [`ProbeResponder::wrote`].
    pub(super) fn due(&mut self, answers: &ProbeAnswers) -> Vec<Partition> {
        self.looks += 1;
        let (look, patience, rest) = (
            self.looks,
            looks_in(answers.patience),
            looks_in(answers.heartbeat_every),
        );
        let mut due = Vec::new();
        for (number, debt) in (0..).zip(&mut self.debts) {
            let since = [debt.since, debt.version1.since].into_iter().flatten().min();
            let waited = since.is_some_and(|since| look - since >= patience);
            let rested = debt.last_heartbeat.is_none_or(|last| look - last >= rest);
            if waited && rested && !debt.writing {
                debt.writing = true;
                due.push(Partition(number));
            }
        }
        // Heartbeats carry everything that was asked until now.
        let is_old = |cut: &Cut| cut.answers < self.window.newest();
        let waits = self.debts.iter().any(|debt| debt.paid < self.window.newest());
        if !due.is_empty() && waits && self.newest_list.as_ref().is_none_or(is_old) {
            self.cut();
        }
        due
    }

    /// An attempt at a heartbeat has ended.
    pub(super) fn wrote(&mut self, partition: Partition) {
        self.debts[usize::from(partition.0)].writing = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::nonce_list::{Nonce, encode_probe, parse_digest};
    use super::*;

    const PATIENCE: u64 = 2;
    const REST: u64 = 20;

    fn answers() -> ProbeAnswers {
        ProbeAnswers {
            heartbeat_every: Duration::from_millis(50 * REST),
            patience: Duration::from_millis(50 * PATIENCE),
            now: Box::new(|| 0),
        }
    }

    fn asked(responder: &mut ProbeResponder, number: u8) {
        responder.take("verifier", "V", &encode_probe(&[number; 8], &Nonce([number; 16])));
    }

    fn writer() -> (ProbeResponder, mpsc::Receiver<Bytes>) {
        let mut responder = ProbeResponder::new(2);
        let (outgoing, lists) = mpsc::channel(8);
        responder.begin(outgoing);
        (responder, lists)
    }

    #[test]
    fn commits_carry_one_digest_until_it_was_read_and_one_list_serves_all_partitions() {
        let (mut responder, mut lists) = writer();
        assert_eq!(responder.carried(Partition(0)), (None, None));
        for number in 1..=200 {
            asked(&mut responder, number);
        }
        let (digest, numbers) = responder.carried(Partition(0));
        let digest = digest.expect("it is owed");
        assert_eq!((digest.len(), numbers), (43, None));
        let list = NonceList::parse(&lists.try_recv().expect("it is sent"), 1_312).expect("a list");
        let digest = parse_digest(&digest).expect("a digest");
        assert_eq!(list.digest(), digest);
        assert!((1..=200).all(|number| list.has(&Nonce([number; 16]))));
        assert_eq!(responder.carried(Partition(1)).0, Some(digest_text(&digest)));
        assert!(lists.try_recv().is_err(), "it is sent once");
        responder.see(Partition(0), &digest);
        assert_eq!(responder.carried(Partition(0)).0, None, "it was answered");
        asked(&mut responder, 201);
        assert_eq!(
            responder.carried(Partition(0)).0,
            None,
            "no list is cut so soon after another"
        );
        for _ in 0..CUT_EVERY_LOOKS {
            responder.due(&answers());
        }
        assert!(responder.carried(Partition(0)).0.is_some());
    }

    #[test]
    fn an_idle_partition_has_one_heartbeat_at_a_time_and_rests_after_it() {
        let (mut responder, _lists) = writer();
        let mut written = 0;
        for look in 0..=(3 * REST) {
            for number in 0..100 {
                asked(&mut responder, number);
            }
            let due = responder.due(&answers());
            assert!(due.iter().all(|partition| partition.0 < 2));
            for partition in due {
                let digest = responder
                    .carried(partition)
                    .0
                    .expect("a heartbeat carries what is owed");
                responder.see(partition, &parse_digest(&digest).expect("a digest"));
                responder.see_heartbeat(partition);
                responder.wrote(partition);
                written += usize::from(partition == Partition(0));
            }
            assert!(
                written <= 1 + usize::try_from(look / REST).expect("few"),
                "{written} after {look} looks"
            );
        }
        assert!(written >= 3, "{written}");
    }

    #[test]
    fn what_another_writer_answered_is_answered_and_a_partition_that_is_not_written_is_waited_for_alone() {
        let (mut responder, _lists) = writer();
        asked(&mut responder, 1);
        let others: NonceList = [Nonce([1; 16]), Nonce([77; 16])].into_iter().collect();
        // Its commit is read before the list is heard.
        responder.see(Partition(0), &others.digest());
        responder.hear(&others);
        for _ in 0..=PATIENCE {
            let due = responder.due(&answers());
            assert!(!due.contains(&Partition(0)), "it was answered there");
        }
        assert_eq!(
            responder.due(&answers()),
            [],
            "the other's is under way, and nothing waits for it"
        );
        assert_eq!(responder.carried(Partition(0)).0, None);
        assert!(responder.carried(Partition(1)).0.is_some());
    }
}
