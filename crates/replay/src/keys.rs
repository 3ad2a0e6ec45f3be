//! The signing keys as of every position.

use citycode_domain::event::Event;
use citycode_domain::time::Timestamp;
use citycode_token::{Keyring, KeyringError};

/// The keyrings of a log, by the commits that changed them.
#[derive(Clone, Default)]
pub struct KeyHistory {
    /// In the order of the log.
    changes: Vec<KeyChange>,
}

/// A commit that changed the signing keys.
#[derive(Clone, Debug)]
pub struct KeyChange {
    /// Its sequence in the partition of the keys.
    pub sequence: u64,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The type of the event that changed them.
    pub event: &'static str,
    /// The keyring from then on.
    pub keyring: Keyring,
}

impl KeyHistory {
    /// Folds an event; one that changes no key is ignored.
    pub(crate) fn fold(&mut self, event: &Event, sequence: u64, decided_at: Timestamp) -> Result<(), KeyringError> {
        let before = self.latest();
        let keyring = before.apply(event)?;
        if !keyring.is_same(&before) {
            self.changes.push(KeyChange {
                sequence,
                decided_at,
                event: event.type_name(),
                keyring,
            });
        }
        Ok(())
    }

    /// The keyring after the last folded commit.
    #[must_use]
    pub fn latest(&self) -> Keyring {
        self.changes
            .last()
            .map(|change| change.keyring.clone())
            .unwrap_or_default()
    }

    /// The last change up to a sequence of the partition of the keys.
    #[must_use]
    pub fn change_up_to(&self, sequence: u64) -> Option<&KeyChange> {
        let count = self.changes.partition_point(|change| change.sequence <= sequence);
        count.checked_sub(1).map(|last| &self.changes[last])
    }

    /// The last change that was decided up to an instant.
    #[must_use]
    pub fn change_at_instant(&self, at: Timestamp) -> Option<&KeyChange> {
        // Several writers with clocks of their own change keys, so the times need not ascend.
        self.changes.iter().rev().find(|change| change.decided_at <= at)
    }
}
