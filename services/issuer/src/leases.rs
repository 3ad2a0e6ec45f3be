//! Indices of status lists: leased from the log in blocks, drawn at random inside a block, never used twice.
//!
//! Leases never expire and are never returned. A command reserves an index before it is decided, and an index that no
//! append attempt contained goes back to its block ([`Reservation`]). An index that was part of any append attempt is used
//! up; after a restart the rest of a block is discarded, because it is not known which of its indices were tried.
//!
//! Lists are named by [`ListNames`] if the log demands reader version 2. Before that, and in logs of the first release,
//! names reveal what the list contains; no blocks of such lists are leased once the version was raised.

mod leased;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use citycode_command_auth::RequestDigest;
use citycode_domain::event::{Event, ListNamesAdvanced};
use citycode_domain::ids::{CommandId, ListFacts, ListId, StatusRef};
use citycode_domain::time::Timestamp;
use citycode_event_store::{Partition, Position, ReaderVersion};
use citycode_holder_log::{Begun, CommandContext, HolderLog};
use citycode_log_folds::{SystemFold, lease_stream};
use citycode_service_kit::entropy::{Draw, Entropy};
use citycode_service_kit::problem::Problem;
use parking_lot::Mutex;

use crate::ListNames;
use leased::Leased;

/// The reader version that introduced names of version 2.
const NAMED_SINCE: ReaderVersion = ReaderVersion(2);

/// The blocks of one issuer, and the leased part of every list.
pub struct IndexLeases {
    /// Folded from the log, with the blocks of all issuers.
    leased: Mutex<Leased>,
    /// This issuer's block for each kind of list, with the indices that were not drawn yet, in no order.
    drawable: Mutex<HashMap<ListFacts, Drawable>>,
    /// Serialises leases: concurrent calls that find a block empty lease one new block, not one each.
    leasing: tokio::sync::Mutex<()>,
}

struct Drawable {
    list: ListId,
    indices: Vec<u32>,
}

impl IndexLeases {
    /// A state without leases; new lists are named by `names`.
    #[must_use]
    pub fn new(names: ListNames) -> Self {
        Self {
            leased: Mutex::new(Leased::new(names)),
            drawable: Mutex::default(),
            leasing: tokio::sync::Mutex::default(),
        }
    }

    /// Reserves an index for a code with these facts; leases a block if necessary. Call it without a lock of the log, since
    /// a lease waits for an append.
    pub(crate) async fn reserve(
        &self,
        log: &HolderLog,
        entropy: &Arc<dyn Entropy>,
        facts: ListFacts,
        now: Timestamp,
    ) -> Result<Reservation<'_>, Problem> {
        let named = log.store().minimum_reader() >= NAMED_SINCE;
        loop {
            if let Some(reserved) = self.take(&facts, named, entropy) {
                return Ok(reserved);
            }
            let _guard = self.leasing.lock().await;
            if self.is_empty(&facts, named) {
                self.lease(log, entropy, facts, named, now).await?;
            }
        }
    }

    /// Takes an index of this issuer's block. The rest of a block of version 1 is discarded once lists are `named`.
    fn take(&self, facts: &ListFacts, named: bool, entropy: &Arc<dyn Entropy>) -> Option<Reservation<'_>> {
        let mut drawable = self.drawable.lock();
        let block = drawable.get_mut(facts).filter(|block| block.is_usable(named))?;
        let at = entropy.below(u32::try_from(block.indices.len()).expect("a block has 4,096 indices"));
        let index = block
            .indices
            .swap_remove(usize::try_from(at).expect("below the length"));
        let status = StatusRef {
            list: block.list,
            index,
        };
        Some(Reservation {
            leases: self,
            facts: *facts,
            status,
            used: AtomicBool::new(false),
        })
    }

    /// Takes an unused index back, if indices are still drawn from its list: it is wasted if the list is full or was
    /// replaced.
    fn take_back(&self, facts: &ListFacts, status: StatusRef) {
        if let Some(block) = self.drawable.lock().get_mut(facts)
            && block.list == status.list
        {
            block.indices.push(status.index);
        }
    }

    fn is_empty(&self, facts: &ListFacts, named: bool) -> bool {
        !self
            .drawable
            .lock()
            .get(facts)
            .is_some_and(|block| block.is_usable(named))
    }

    /// Leases the next block. A crash after the append leaves a block that is never used.
    async fn lease(
        &self,
        log: &HolderLog,
        entropy: &Arc<dyn Entropy>,
        facts: ListFacts,
        named: bool,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let request_digest = RequestDigest::of("lease")
            .bytes(&facts.partition.to_be_bytes())
            .bytes(&[facts.kind.number()])
            .bytes(&facts.retires_at.0.to_be_bytes());
        let context = context(entropy, request_digest, now);
        // Decided again if another issuer's lease was appended first, which may have named the list.
        let next_block = || {
            let leased = self.leased.lock();
            let block = if named {
                leased.next_block(&facts)?
            } else {
                leased.next_block_of_version_1(&facts)?
            };
            Ok::<_, Problem>(vec![Event::IndexBlockLeased(block)])
        };
        let stream = lease_stream(Partition(facts.partition));
        let leased = log.execute_system(stream, &context, next_block).await;
        let leased = leased.map_err(citycode_command_auth::problem_of_execute)?;
        if let Some(Event::IndexBlockLeased(block)) = leased.events.first() {
            let indices = (block.first_index..block.first_index.saturating_add(block.count)).collect();
            let list = block.list;
            self.drawable.lock().insert(facts, Drawable { list, indices });
        }
        Ok(())
    }

    /// The counter of the next list of each partition that has one, ascending. The high-water mark stores it, so that
    /// [`IndexLeases::advance_names`] can skip counters that were used in a lost part of the log.
    #[must_use]
    pub fn next_counters(&self) -> Vec<(Partition, u32)> {
        self.leased.lock().next_counters()
    }

    /// Excludes all lists of this partition that were leased before, and counters below `next_counter`, from further
    /// use: a lost part of the log may have used them. It is durable on return. Call it while no issuer serves,
    /// because blocks in the memory of other issuers are not discarded.
    ///
    /// # Errors
    /// `unavailable` if the log does not demand reader version 2, or accepts no appends.
    pub async fn advance_names(
        &self,
        log: &HolderLog,
        entropy: &Arc<dyn Entropy>,
        partition: Partition,
        next_counter: u32,
        now: Timestamp,
    ) -> Result<(), Problem> {
        if log.store().minimum_reader() < NAMED_SINCE {
            return Err(leased::unavailable(
                "the log must demand reader version 2 first (citycode provision --raise-minimum-reader)",
            ));
        }
        let request_digest = RequestDigest::of("advance list names")
            .bytes(&partition.0.to_be_bytes())
            .bytes(&next_counter.to_be_bytes());
        let context = context(entropy, request_digest, now);
        let advanced = || {
            Ok::<_, Problem>(vec![Event::ListNamesAdvanced(ListNamesAdvanced {
                partition: partition.0,
                next_counter: self.leased.lock().next_counter(partition.0).max(next_counter),
            })])
        };
        let appended = log.execute_system(lease_stream(partition), &context, advanced).await;
        appended.map_err(citycode_command_auth::problem_of_execute)?;
        self.drawable.lock().retain(|facts, _| facts.partition != partition.0);
        Ok(())
    }
}

/// An index that is reserved for one command. Dropping it returns the index to its block, unless the index was used.
pub(crate) struct Reservation<'a> {
    leases: &'a IndexLeases,
    facts: ListFacts,
    status: StatusRef,
    used: AtomicBool,
}

impl Reservation<'_> {
    /// The index, if it is in a list for codes with these facts.
    pub(crate) fn status_for(&self, facts: &ListFacts) -> Option<StatusRef> {
        (self.facts == *facts).then_some(self.status)
    }

    /// Uses the index up. Call it before an append that contains it: whatever becomes of the append, also if nobody waits
    /// for its outcome, no other code gets the index.
    pub(crate) fn use_up(&self) {
        self.used.store(true, Ordering::Release);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !*self.used.get_mut() {
            self.leases.take_back(&self.facts, self.status);
        }
    }
}

impl Drawable {
    fn is_usable(&self, named: bool) -> bool {
        !self.indices.is_empty() && self.list.is_version_2() == named
    }
}

fn context(entropy: &Arc<dyn Entropy>, request_digest: RequestDigest, now: Timestamp) -> CommandContext {
    CommandContext {
        caller: "issuer".into(),
        command_id: CommandId(entropy.array()),
        request_digest: request_digest.finish(),
        actor: "issuer".into(),
        trace_context: None,
        now,
        begun: Begun::default(),
    }
}

impl SystemFold for IndexLeases {
    fn fold_system(&self, event: &Event, _position: Position) -> Result<(), String> {
        match event {
            Event::IndexBlockLeased(block) => self.leased.lock().lease(block),
            Event::ListNamesAdvanced(advanced) => {
                self.leased.lock().advance(advanced);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use citycode_domain::ids::CodeKind;
    use citycode_service_kit::entropy::OsEntropy;
    use zeroize::Zeroizing;

    use super::*;

    const LIST: ListId = ListId(0x8000_0001);

    fn facts() -> ListFacts {
        ListFacts::for_code(0, CodeKind::new(1).unwrap(), Timestamp(1_700_000_000)).unwrap()
    }

    /// Leases with this block.
    fn leases(list: ListId, indices: &[u32]) -> IndexLeases {
        let leases = IndexLeases::new(ListNames::new(Zeroizing::new([1; 32])));
        let indices = indices.to_vec();
        leases.drawable.lock().insert(facts(), Drawable { list, indices });
        leases
    }

    fn take(leases: &IndexLeases) -> Option<Reservation<'_>> {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        leases.take(&facts(), LIST.is_version_2(), &entropy)
    }

    #[test]
    fn an_unused_index_returns_to_its_block_and_a_used_one_never_does() {
        let leases = leases(LIST, &[7]);
        let reserved = take(&leases).unwrap();
        let status = StatusRef { list: LIST, index: 7 };
        assert_eq!(reserved.status_for(&facts()), Some(status));
        assert!(take(&leases).is_none(), "one command holds the only index");
        drop(reserved);
        let reserved = take(&leases).expect("it was returned");
        reserved.use_up();
        drop(reserved);
        assert!(take(&leases).is_none());
    }

    #[test]
    fn an_index_serves_only_codes_of_its_list() {
        let leases = leases(LIST, &[7]);
        let reserved = take(&leases).unwrap();
        let next_window = Timestamp(1_700_000_000 + ListFacts::WINDOW_SECONDS);
        let others = [
            (1, 1, Timestamp(1_700_000_000)),
            (0, 2, Timestamp(1_700_000_000)),
            (0, 1, next_window),
        ];
        for (partition, kind, expires_at) in others {
            let other = ListFacts::for_code(partition, CodeKind::new(kind).unwrap(), expires_at).unwrap();
            assert_eq!(reserved.status_for(&other), None);
        }
    }

    #[test]
    fn an_index_is_not_returned_to_another_list_or_to_a_list_that_was_given_up() {
        let leases = leases(LIST, &[7, 8]);
        let (first, second) = (take(&leases).unwrap(), take(&leases).unwrap());
        let list = ListId(LIST.0 + 1);
        leases.drawable.lock().get_mut(&facts()).unwrap().list = list;
        drop(first);
        leases.drawable.lock().clear();
        drop(second);
        assert!(take(&leases).is_none());
        assert!(leases.drawable.lock().is_empty());
    }
}
