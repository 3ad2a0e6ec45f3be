//! Indices of status lists: leased from the log in blocks, drawn at random inside a block, never used twice.
//!
//! Leases never expire and are never returned. An index that was part of any append attempt is used up; after a restart
//! the rest of a block is discarded, because it is not known which of its indices were tried.
//!
//! Lists are named by [`ListNames`] if the log demands reader version 2. Before that, and in logs of the first release,
//! names reveal what the list contains; no blocks of such lists are leased once the version was raised.

mod leased;

use std::collections::HashMap;
use std::sync::Arc;

use citycode_command_auth::RequestDigest;
use citycode_domain::event::{Event, ListNamesAdvanced};
use citycode_domain::ids::{CodeKind, CommandId, ListFacts, ListId, StatusRef};
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

    /// Draws an index for a code of `kind` in `partition` that expires at `expires_at`; leases a block if necessary.
    pub(crate) async fn draw(
        &self,
        log: &HolderLog,
        entropy: &Arc<dyn Entropy>,
        partition: Partition,
        kind: CodeKind,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<StatusRef, Problem> {
        let facts = ListFacts::for_code(partition.0, kind, expires_at).ok_or_else(Problem::internal)?;
        let named = log.store().minimum_reader() >= NAMED_SINCE;
        loop {
            if let Some(status) = self.take(&facts, named, entropy) {
                return Ok(status);
            }
            let _guard = self.leasing.lock().await;
            if self.is_empty(&facts, named) {
                self.lease(log, entropy, facts, named, now).await?;
            }
        }
    }

    /// Takes an index of this issuer's block. The rest of a block of version 1 is discarded once lists are `named`.
    fn take(&self, facts: &ListFacts, named: bool, entropy: &Arc<dyn Entropy>) -> Option<StatusRef> {
        let mut drawable = self.drawable.lock();
        let block = drawable.get_mut(facts).filter(|block| block.is_usable(named))?;
        let at = entropy.below(u32::try_from(block.indices.len()).expect("a block has 4,096 indices"));
        let index = block
            .indices
            .swap_remove(usize::try_from(at).expect("below the length"));
        Some(StatusRef {
            list: block.list,
            index,
        })
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
