//! A reader's questions that are under way, and what it has heard of their answers.
//!
//! A list may be heard before the commit that carries its digest, or after it: whatever comes first is kept a moment.

use std::collections::{BTreeMap, VecDeque};

use citycode_event_store::{Partition, Position, Sequence};
use tokio::sync::mpsc;

use super::nonce_list::{Digest, Nonce, NonceList, ReaderId};

/// Lists with nonces of this reader that are remembered: some seconds' of several writers.
const LISTS: usize = 64;
/// Digests of lists not heard yet that are remembered of each partition.
const UNKNOWN: usize = 16;

/// What this reader asks with, and what it waits for.
#[derive(Debug)]
pub(super) struct PendingProbes {
    key: [u8; 32],
    count: u64,
    /// By count.
    asked: BTreeMap<u64, Asked>,
    /// Lists that have a nonce of this reader, and the newest that they have.
    lists: VecDeque<(Digest, u64)>,
    /// Digests that were read, with the first commit that carries each.
    unknown: Vec<VecDeque<(Digest, Sequence)>>,
    /// Questions since a list had one of them.
    undelivered: Option<u32>,
}

#[derive(Debug)]
struct Asked {
    seen: Vec<bool>,
    proved: mpsc::UnboundedSender<Position>,
}

impl PendingProbes {
    /// `key` is known to nobody else.
    pub(super) fn new(partitions: u16, key: [u8; 32]) -> Self {
        Self {
            key,
            count: 0,
            asked: BTreeMap::new(),
            lists: VecDeque::new(),
            unknown: vec![VecDeque::new(); usize::from(partitions)],
            undelivered: None,
        }
    }

    pub(super) fn reader(&self) -> ReaderId {
        *self.derived(b"reader").first_chunk().expect("a hash has 32 bytes")
    }

    /// Begins a question whose proofs go to `proved`; its count.
    pub(super) fn begin(&mut self, proved: mpsc::UnboundedSender<Position>) -> u64 {
        self.count += 1;
        let seen = vec![false; self.unknown.len()];
        self.asked.insert(self.count, Asked { seen, proved });
        if let Some(undelivered) = &mut self.undelivered {
            *undelivered += 1;
        }
        self.count
    }

    pub(super) fn end(&mut self, count: u64) {
        self.asked.remove(&count);
    }

    /// Whether this many questions were asked since a list had one, or no list ever had.
    pub(super) fn is_unheard(&self, questions: u32) -> bool {
        self.undelivered.is_none_or(|undelivered| undelivered > questions)
    }

    pub(super) fn nonce(&self, count: u64) -> Nonce {
        Nonce(
            *self
                .derived(&count.to_be_bytes())
                .first_chunk()
                .expect("a hash has 32 bytes"),
        )
    }

    /// A list was heard.
    pub(super) fn hear(&mut self, list: &NonceList) {
        let asked = self.asked.keys().rev();
        let Some(newest) = asked.copied().find(|count| list.has(&self.nonce(*count))) else {
            return;
        };
        self.undelivered = Some(0);
        let digest = list.digest();
        for number in 0..self.unknown.len() {
            let carried = self.unknown[number].iter().find(|(unknown, _)| *unknown == digest);
            if let Some(sequence) = carried.map(|(_, sequence)| *sequence) {
                let partition = Partition(u16::try_from(number).expect("partitions are counted in 16 bits"));
                self.settle(Position { partition, sequence }, newest);
            }
        }
        if self.lists.len() == LISTS {
            self.lists.pop_front();
        }
        self.lists.push_back((digest, newest));
    }

    /// A commit was read that carries a digest.
    pub(super) fn see(&mut self, position: Position, digest: &Digest) {
        if let Some((_, newest)) = self.lists.iter().find(|(known, _)| known == digest) {
            self.settle(position, *newest);
            return;
        }
        let unknown = &mut self.unknown[usize::from(position.partition.0)];
        if unknown.iter().any(|(known, _)| known == digest) {
            return;
        }
        if unknown.len() == UNKNOWN {
            unknown.pop_front();
        }
        unknown.push_back((*digest, position.sequence));
    }

    /// The commit at `position` was written after the question of count `newest` was asked, and after every one before.
    pub(super) fn settle(&mut self, position: Position, newest: u64) {
        let partition = usize::from(position.partition.0);
        for (_, asked) in self.asked.range_mut(..=newest) {
            if !std::mem::replace(&mut asked.seen[partition], true) {
                // Who asked may have gone meanwhile.
                let _ = asked.proved.send(position);
            }
        }
        self.asked.retain(|_, asked| asked.seen.contains(&false));
    }

    fn derived(&self, of: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.key, of).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: u16, sequence: u64) -> Position {
        Position {
            partition: Partition(partition),
            sequence: Sequence(sequence),
        }
    }

    fn list(nonces: &[Nonce]) -> NonceList {
        nonces.iter().copied().collect()
    }

    #[test]
    fn each_partition_is_proved_by_itself_whichever_of_list_and_commit_comes_first() {
        let mut pending = PendingProbes::new(2, [1; 32]);
        let (sender, mut proved) = mpsc::unbounded_channel();
        let count = pending.begin(sender);
        let answer = list(&[pending.nonce(count), Nonce([9; 16])]);
        pending.see(at(0, 7), &answer.digest());
        pending.see(at(0, 8), &answer.digest());
        assert!(proved.try_recv().is_err(), "a digest alone proves nothing");
        pending.hear(&answer);
        assert_eq!(proved.try_recv(), Ok(at(0, 7)));
        assert!(proved.try_recv().is_err(), "the other partition is not proved by it");
        pending.see(at(1, 3), &answer.digest());
        assert_eq!(proved.try_recv(), Ok(at(1, 3)));
        assert_eq!(
            proved.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected),
            "it has ended"
        );
    }

    #[test]
    fn a_list_proves_earlier_questions_and_no_later_one() {
        let mut pending = PendingProbes::new(1, [1; 32]);
        let ask = |pending: &mut PendingProbes| {
            let (sender, proved) = mpsc::unbounded_channel();
            (pending.begin(sender), proved)
        };
        let (_, mut first) = ask(&mut pending);
        let (second_count, mut second) = ask(&mut pending);
        let (_, mut third) = ask(&mut pending);
        let answer = list(&[pending.nonce(second_count)]);
        pending.hear(&answer);
        pending.see(at(0, 4), &answer.digest());
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(at(0, 4)), Ok(at(0, 4))));
        assert_eq!(third.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }

    #[test]
    fn another_list_under_the_same_commit_and_anothers_nonces_prove_nothing() {
        let (mut pending, other) = (PendingProbes::new(1, [1; 32]), PendingProbes::new(1, [2; 32]));
        let (sender, mut proved) = mpsc::unbounded_channel();
        let count = pending.begin(sender);
        assert_ne!(pending.nonce(count), other.nonce(count));
        assert!(pending.is_unheard(3));
        let anothers = list(&[other.nonce(count)]);
        pending.hear(&anothers);
        pending.see(at(0, 1), &anothers.digest());
        pending.see(at(0, 2), &list(&[Nonce([5; 16])]).digest());
        // Whoever forges a list has no commit that carries its digest.
        pending.hear(&list(&[pending.nonce(count), Nonce([5; 16])]));
        assert_eq!(proved.try_recv(), Err(mpsc::error::TryRecvError::Empty));
        assert!(!pending.is_unheard(3));
    }
}
