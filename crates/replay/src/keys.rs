//! The signing keys as of every position.

use citycode_domain::event::Event;
use citycode_domain::time::Timestamp;
use citycode_token::{Keyring, KeyringError};

/// The keyrings of a log, by the commits that changed them.
#[derive(Clone, Default)]
pub struct KeyHistory {
    /// Sequence in the partition of the keys, time of the decision, and the keyring from then on; ascending.
    rings: Vec<(u64, Timestamp, Keyring)>,
}

impl KeyHistory {
    /// Folds an event; one that changes no key is ignored.
    pub(crate) fn fold(&mut self, event: &Event, sequence: u64, decided_at: Timestamp) -> Result<(), KeyringError> {
        let before = self.latest();
        let next = before.apply(event)?;
        if !next.is_same(&before) {
            self.rings.push((sequence, decided_at, next));
        }
        Ok(())
    }

    /// The keyring after the last folded commit.
    #[must_use]
    pub fn latest(&self) -> Keyring {
        self.rings.last().map(|(_, _, ring)| ring.clone()).unwrap_or_default()
    }

    /// The keyring as of a sequence of the partition of the keys.
    #[must_use]
    pub fn at(&self, sequence: u64) -> Keyring {
        let count = self.rings.partition_point(|(at, _, _)| *at <= sequence);
        self.ring(count)
    }

    /// When the commit at a sequence that changed the keys was decided; `None` if none is there.
    #[must_use]
    pub fn decided_at(&self, sequence: u64) -> Option<Timestamp> {
        let found = self.rings.iter().find(|(at, _, _)| *at == sequence);
        found.map(|(_, decided_at, _)| *decided_at)
    }

    /// The keyring at an instant, by the times at which the changes were decided, and the sequence of its last change;
    /// 0 if there was none.
    #[must_use]
    pub fn at_instant(&self, at: Timestamp) -> (u64, Keyring) {
        // Several writers with clocks of their own change keys, so the times need not ascend.
        let count = self.rings.iter().rposition(|(_, decided_at, _)| *decided_at <= at);
        let count = count.map_or(0, |last| last + 1);
        let sequence = count.checked_sub(1).map_or(0, |last| self.rings[last].0);
        (sequence, self.ring(count))
    }

    fn ring(&self, count: usize) -> Keyring {
        let last = count.checked_sub(1).map(|last| self.rings[last].2.clone());
        last.unwrap_or_default()
    }
}
