//! The probes that a reader has in flight, and what it has received of their answers.
//!
//! A list may arrive before or after the commit with its digest, so whichever comes first is kept for a while.

use std::collections::{BTreeMap, VecDeque};

use citycode_event_store::{Partition, Position, Sequence};
use tokio::sync::mpsc;

use super::nonce_list::{Digest, Nonce, NonceList, ReaderId};

/// Kept lists that contain nonces of this reader: those of several writers within some seconds.
const MAX_LISTS: usize = 64;
/// Kept digests of each partition whose lists have not arrived.
const MAX_UNKNOWN: usize = 16;

/// The probes of one reader.
#[derive(Debug)]
pub(super) struct PendingProbes {
    key: [u8; 32],
    count: u64,
    /// By count.
    probes: BTreeMap<u64, PendingProbe>,
    /// Lists that contain a nonce of this reader, each with the count of the newest such nonce.
    lists: VecDeque<(Digest, u64)>,
    /// Digests of unknown lists, each with the first commit that carries it, for each partition.
    unknown: Vec<VecDeque<(Digest, Sequence)>>,
    /// Probes since a list contained one of them; `None` if no list ever did.
    unlisted: Option<u32>,
}

#[derive(Debug)]
struct PendingProbe {
    is_proved: Vec<bool>,
    proved: mpsc::UnboundedSender<Position>,
}

impl PendingProbes {
    /// `key` must be secret.
    pub(super) fn new(partitions: u16, key: [u8; 32]) -> Self {
        Self {
            key,
            count: 0,
            probes: BTreeMap::new(),
            lists: VecDeque::new(),
            unknown: vec![VecDeque::new(); usize::from(partitions)],
            unlisted: None,
        }
    }

    pub(super) fn reader(&self) -> ReaderId {
        *self.derived(b"reader").first_chunk().expect("a hash has 32 bytes")
    }

    /// Starts a probe whose proofs go to `proved`; returns its count.
    pub(super) fn start(&mut self, proved: mpsc::UnboundedSender<Position>) -> u64 {
        self.count += 1;
        let is_proved = vec![false; self.unknown.len()];
        self.probes.insert(self.count, PendingProbe { is_proved, proved });
        if let Some(unlisted) = &mut self.unlisted {
            *unlisted += 1;
        }
        self.count
    }

    pub(super) fn end(&mut self, count: u64) {
        self.probes.remove(&count);
    }

    /// Whether more than this many probes were sent since a list contained one, or no list ever did.
    pub(super) fn is_unlisted(&self, probes: u32) -> bool {
        self.unlisted.is_none_or(|unlisted| unlisted > probes)
    }

    pub(super) fn nonce(&self, count: u64) -> Nonce {
        Nonce(
            *self
                .derived(&count.to_be_bytes())
                .first_chunk()
                .expect("a hash has 32 bytes"),
        )
    }

    /// A list arrived.
    pub(super) fn receive_list(&mut self, list: &NonceList) {
        let counts = self.probes.keys().rev();
        let Some(newest) = counts.copied().find(|count| list.contains(&self.nonce(*count))) else {
            return;
        };
        self.unlisted = Some(0);
        let digest = list.digest();
        for number in 0..self.unknown.len() {
            let carried = self.unknown[number].iter().find(|(unknown, _)| *unknown == digest);
            if let Some(sequence) = carried.map(|(_, sequence)| *sequence) {
                let partition = Partition(u16::try_from(number).expect("partition numbers have 16 bits"));
                self.settle(Position { partition, sequence }, newest);
            }
        }
        if self.lists.len() == MAX_LISTS {
            self.lists.pop_front();
        }
        self.lists.push_back((digest, newest));
    }

    /// A commit with a digest was read.
    pub(super) fn see(&mut self, position: Position, digest: &Digest) {
        if let Some((_, newest)) = self.lists.iter().find(|(known, _)| known == digest) {
            self.settle(position, *newest);
            return;
        }
        let unknown = &mut self.unknown[usize::from(position.partition.0)];
        if unknown.iter().any(|(known, _)| known == digest) {
            return;
        }
        if unknown.len() == MAX_UNKNOWN {
            unknown.pop_front();
        }
        unknown.push_back((*digest, position.sequence));
    }

    /// The commit at `position` was written after the probe with the count `newest`, and all earlier ones, were sent.
    pub(super) fn settle(&mut self, position: Position, newest: u64) {
        let partition = usize::from(position.partition.0);
        for (_, probe) in self.probes.range_mut(..=newest) {
            if !std::mem::replace(&mut probe.is_proved[partition], true) {
                // The receiver may be dropped.
                let _ = probe.proved.send(position);
            }
        }
        self.probes.retain(|_, probe| probe.is_proved.contains(&false));
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
    fn partitions_are_proved_independently_and_list_and_commit_may_arrive_in_any_order() {
        let mut pending = PendingProbes::new(2, [1; 32]);
        let (sender, mut proved) = mpsc::unbounded_channel();
        let count = pending.start(sender);
        let answer = list(&[pending.nonce(count), Nonce([9; 16])]);
        pending.see(at(0, 7), &answer.digest());
        pending.see(at(0, 8), &answer.digest());
        assert!(proved.try_recv().is_err(), "a digest alone proves nothing");
        pending.receive_list(&answer);
        assert_eq!(proved.try_recv(), Ok(at(0, 7)));
        assert!(proved.try_recv().is_err(), "the other partition is not proved by it");
        pending.see(at(1, 3), &answer.digest());
        assert_eq!(proved.try_recv(), Ok(at(1, 3)));
        assert_eq!(
            proved.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected),
            "the probe has ended"
        );
    }

    #[test]
    fn a_list_proves_earlier_probes_and_no_later_one() {
        let mut pending = PendingProbes::new(1, [1; 32]);
        let start = |pending: &mut PendingProbes| {
            let (sender, proved) = mpsc::unbounded_channel();
            (pending.start(sender), proved)
        };
        let (_, mut first) = start(&mut pending);
        let (second_count, mut second) = start(&mut pending);
        let (_, mut third) = start(&mut pending);
        let answer = list(&[pending.nonce(second_count)]);
        pending.receive_list(&answer);
        pending.see(at(0, 4), &answer.digest());
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(at(0, 4)), Ok(at(0, 4))));
        assert_eq!(third.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }

    #[test]
    fn a_forged_list_and_another_readers_nonces_prove_nothing() {
        let (mut pending, other) = (PendingProbes::new(1, [1; 32]), PendingProbes::new(1, [2; 32]));
        let (sender, mut proved) = mpsc::unbounded_channel();
        let count = pending.start(sender);
        assert_ne!(pending.nonce(count), other.nonce(count));
        assert!(pending.is_unlisted(3));
        let of_another_reader = list(&[other.nonce(count)]);
        pending.receive_list(&of_another_reader);
        pending.see(at(0, 1), &of_another_reader.digest());
        pending.see(at(0, 2), &list(&[Nonce([5; 16])]).digest());
        // No commit carries the digest of a forged list.
        pending.receive_list(&list(&[pending.nonce(count), Nonce([5; 16])]));
        assert_eq!(proved.try_recv(), Err(mpsc::error::TryRecvError::Empty));
        assert!(!pending.is_unlisted(3));
    }
}
