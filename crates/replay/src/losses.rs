//! Losses of the end of the log that an operator accepted: what rested on the lost changes cannot be recomputed.
//!
//! After a loss the positions of the lost commits are used again. A record from before a loss that names such a position
//! means a commit that is gone, and not the one that is there now.

use std::collections::HashMap;

use citycode_domain::ids::Position;
use citycode_domain::time::Timestamp;

/// The accepted losses of a log, and where the log continues after each.
#[derive(Clone, Default, Debug)]
pub struct Losses {
    /// When each was accepted, ascending.
    accepted: Vec<Timestamp>,
    /// For each partition, the first sequence that was decided at or after each loss, as far as it is known.
    continued: HashMap<u16, Vec<Option<u64>>>,
    /// The last sequence of each partition that was read.
    last: HashMap<u16, u64>,
}

impl Losses {
    /// Notes a loss. To learn where each partition continues after it, note losses before reading commits.
    pub fn accepted(&mut self, at: Timestamp) {
        if let Err(place) = self.accepted.binary_search(&at) {
            self.accepted.insert(place, at);
            for continued in self.continued.values_mut() {
                continued.insert(place.min(continued.len()), None);
            }
        }
    }

    /// Notes a commit that was read; the commits of a partition come in order.
    pub(crate) fn read(&mut self, position: Position, decided_at: Timestamp) {
        let (partition, sequence) = position.parts();
        self.last.insert(partition, sequence);
        if self.accepted.is_empty() {
            return;
        }
        let continued = self.continued.entry(partition).or_default();
        continued.resize(self.accepted.len(), None);
        for (accepted, continued) in self.accepted.iter().zip(continued) {
            if continued.is_none() && decided_at >= *accepted {
                *continued = Some(sequence);
            }
        }
    }

    /// Whether a position that was known at an instant is one of lost commits.
    #[must_use]
    pub fn is_lost(&self, position: Position, at: Timestamp) -> bool {
        let (partition, sequence) = position.parts();
        // Only the first loss after the instant matters: what it left is older than the instant.
        let loss = self.accepted.partition_point(|accepted| *accepted < at);
        if loss == self.accepted.len() || sequence == 0 {
            return false;
        }
        let continued = self
            .continued
            .get(&partition)
            .and_then(|continued| *continued.get(loss)?);
        match continued {
            Some(first) => sequence >= first,
            None => self.last.get(&partition).is_none_or(|last| sequence > *last),
        }
    }

    /// Whether a loss was accepted at or after an instant, and not after another one.
    #[must_use]
    pub fn is_between(&self, from: Timestamp, to: Timestamp) -> bool {
        let loss = self.accepted.partition_point(|accepted| *accepted < from);
        self.accepted.get(loss).is_some_and(|accepted| *accepted <= to)
    }

    /// Whether a loss was accepted at or after an instant.
    #[must_use]
    pub fn is_followed(&self, at: Timestamp) -> bool {
        self.accepted.last().is_some_and(|accepted| *accepted >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_that_are_used_again_after_a_loss_are_lost_for_records_from_before() {
        let mut losses = Losses::default();
        losses.accepted(Timestamp(100));
        let read = |losses: &mut Losses, sequence, at| losses.read(Position::new(1, sequence), Timestamp(at));
        for sequence in 1..=5 {
            read(&mut losses, sequence, 10 * sequence.cast_signed());
        }
        // Two changes, 6 and 7, were lost; nothing was written since.
        let is_lost = |losses: &Losses, sequence, at| losses.is_lost(Position::new(1, sequence), Timestamp(at));
        assert!(!is_lost(&losses, 5, 90) && is_lost(&losses, 6, 90));
        read(&mut losses, 6, 100);
        read(&mut losses, 7, 130);
        for sequence in [6, 7, 8] {
            assert!(is_lost(&losses, sequence, 90), "{sequence}");
            assert!(!is_lost(&losses, sequence, 140), "{sequence}: it is of the present log");
        }
        assert!(!is_lost(&losses, 5, 90) && !is_lost(&losses, 0, 90));
        assert!(losses.is_followed(Timestamp(100)) && !losses.is_followed(Timestamp(101)));
    }
}
