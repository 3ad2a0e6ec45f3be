//! Digests of recorded queries, which are put into the event log: whoever removes, changes or moves a record afterwards is
//! found by them, also without any key.

use citycode_domain::event::QueriesSealed;

use crate::{Queries, QueriesError, Stored};

/// Most records under one digest.
pub const MOST_SEALED: u32 = 4_096;
/// Records that are read at once.
const PAGE: usize = 512;

/// How the records of a range compare with their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// They are what was sealed.
    Same,
    /// This record, the first one, is missing.
    Missing(u64),
    /// All are there, and one of them or their order is another.
    Changed,
}

impl Queries {
    /// The digest of the records from the sequence `from` on, at most [`MOST_SEALED`] of them and up to a missing one;
    /// `None` if there is no such record. A gap before the first one is skipped.
    ///
    /// # Errors
    /// [`QueriesError`].
    pub async fn digest_from(&self, from: u64) -> Result<Option<QueriesSealed>, QueriesError> {
        let mut sealing = Sealing::default();
        while sealing.count < MOST_SEALED {
            let page = self.store.read_present(sealing.next(from), PAGE).await?;
            if page.is_empty() {
                break;
            }
            let is_whole = page.iter().all(|record| sealing.add(record));
            if !is_whole {
                break;
            }
        }
        Ok(sealing.first.map(|first| QueriesSealed {
            first,
            count: sealing.count,
            digest: *sealing.hasher.finalize().as_bytes(),
        }))
    }

    /// Whether there is a record with this sequence or a later one.
    ///
    /// # Errors
    /// [`QueriesError`].
    pub async fn has_from(&self, sequence: u64) -> Result<bool, QueriesError> {
        Ok(!self.store.read_present(sequence, 1).await?.is_empty())
    }

    /// Compares records with the digest that was made of them. It needs no key, and works after the keys are destroyed.
    ///
    /// # Errors
    /// [`QueriesError`].
    pub async fn compare(&self, sealed: &QueriesSealed) -> Result<Compared, QueriesError> {
        let end = sealed.first.saturating_add(u64::from(sealed.count));
        let (mut next, mut hasher) = (sealed.first, blake3::Hasher::new());
        while next < end {
            let limit = usize::try_from(end - next).map_or(PAGE, |left| left.min(PAGE));
            let page = self.store.read_present(next, limit).await?;
            for (sequence, record) in &page {
                if *sequence != next {
                    return Ok(Compared::Missing(next));
                }
                hasher.update(blake3::hash(record).as_bytes());
                next += 1;
            }
            if page.is_empty() {
                return Ok(Compared::Missing(next));
            }
        }
        let is_same = *hasher.finalize().as_bytes() == sealed.digest;
        Ok(if is_same { Compared::Same } else { Compared::Changed })
    }
}

#[derive(Default)]
struct Sealing {
    first: Option<u64>,
    count: u32,
    hasher: blake3::Hasher,
}

impl Sealing {
    fn next(&self, from: u64) -> u64 {
        self.first.map_or(from, |first| first + u64::from(self.count))
    }

    /// Adds a record unless one before it is missing, or the digest is full.
    fn add(&mut self, (sequence, record): &Stored) -> bool {
        let first = *self.first.get_or_insert(*sequence);
        let follows = *sequence == first + u64::from(self.count) && self.count < MOST_SEALED;
        if follows {
            self.hasher.update(blake3::hash(record).as_bytes());
            self.count += 1;
        }
        follows
    }
}
