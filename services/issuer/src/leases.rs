//! Places in status lists: leased from the log in blocks, drawn at random inside a block, never used twice.
//!
//! Leases never expire and never return. A place that went into any append attempt is spent; after a restart the
//! rest of a block is given up, since nobody knows which of its places were tried.
//!
//! Lists are named by [`ListNames`] where the log demands reader version 2. Before, and in logs of the first release,
//! names say what the list holds; such lists are not leased from any more once the version was raised.

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

/// The reader version that names of version 2 came with.
const NAMED_SINCE: ReaderVersion = ReaderVersion(2);

/// The blocks of one issuer, and how far every list is leased.
pub struct IndexLeases {
    /// Folded from the log, every issuer's blocks included.
    leased: Mutex<Leased>,
    /// This issuer's block of each kind of list, with the places that were not drawn yet, in no order.
    drawable: Mutex<HashMap<ListFacts, Drawable>>,
    /// One lease at a time: a crowd that finds a block empty shall take one new block, not one each.
    leasing: tokio::sync::Mutex<()>,
}

struct Drawable {
    list: ListId,
    places: Vec<u32>,
}

impl IndexLeases {
    /// None known yet; new lists are named by `names`.
    #[must_use]
    pub fn new(names: ListNames) -> Self {
        Self {
            leased: Mutex::new(Leased::new(names)),
            drawable: Mutex::default(),
            leasing: tokio::sync::Mutex::default(),
        }
    }

    /// Draws a place for a code of `kind` in `partition` that expires at `expires_at`; leases a block if need be.
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
            let _turn = self.leasing.lock().await;
            if self.is_empty(&facts, named) {
                self.lease(log, entropy, facts, named, now).await?;
            }
        }
    }

    /// A place of this issuer's block. What is left of a block of version 1 is given up once lists are `named`.
    fn take(&self, facts: &ListFacts, named: bool, entropy: &Arc<dyn Entropy>) -> Option<StatusRef> {
        let mut drawable = self.drawable.lock();
        let block = drawable.get_mut(facts).filter(|block| block.fits(named))?;
        let at = entropy.below(u32::try_from(block.places.len()).expect("a block has 4,096 places"));
        let index = block.places.swap_remove(usize::try_from(at).expect("below the length"));
        Some(StatusRef {
            list: block.list,
            index,
        })
    }

    fn is_empty(&self, facts: &ListFacts, named: bool) -> bool {
        !self.drawable.lock().get(facts).is_some_and(|block| block.fits(named))
    }

    /// Takes the next block. A crash after the append leaves a block that nobody draws from.
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
        // Decided anew where another issuer's lease came first: it may have named the list by then.
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
            let places = (block.first_index..block.first_index.saturating_add(block.count)).collect();
            let list = block.list;
            self.drawable.lock().insert(facts, Drawable { list, places });
        }
        Ok(())
    }

    /// The counter of the next list of each partition that has one, ascending: what a mark beside the log keeps, so that
    /// [`IndexLeases::advance_names`] can go past it where the log was lost in part.
    #[must_use]
    pub fn next_counters(&self) -> Vec<(Partition, u32)> {
        self.leased.lock().next_counters()
    }

    /// Gives no code a place any more in a list of this partition that was leased before, nor in one that would get a
    /// counter below `next_counter`: those may have been used in a part of the log that was lost. Durable once it is
    /// answered. To be called while no issuer serves: blocks in the memory of others are not given up.
    ///
    /// # Errors
    /// `unavailable` where the log demands no reader of version 2, or takes no appends.
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
    fn fits(&self, named: bool) -> bool {
        !self.places.is_empty() && self.list.is_version_2() == named
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
