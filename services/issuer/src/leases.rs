//! Places in status lists: leased from the log in blocks, drawn at random inside a block, never used twice.
//!
//! Leases never expire and never return. A place that went into any append attempt is spent; after a restart the
//! rest of a block is given up, since nobody knows which of its places were tried.

use std::collections::HashMap;
use std::sync::Arc;

use citycode_acts::RequestMeaning;
use citycode_domain::event::{Event, IndexBlockLeased};
use citycode_domain::ids::{CodeKind, CommandId, ListId, StatusRef};
use citycode_domain::time::Timestamp;
use citycode_event_store::{Partition, Position};
use citycode_holder_log::{CommandContext, HolderLog, SystemFold, lease_stream};
use citycode_projection::status::{BLOCK_LEN, MAX_LIST_LEN};
use citycode_service_kit::entropy::{Draw, Entropy};
use citycode_service_kit::problem::{Code, Problem};
use parking_lot::Mutex;

/// The blocks of one issuer, and how far every list is leased.
#[derive(Default)]
pub struct IndexLeases {
    /// First place of each list that no block covers yet; folded from the log, every issuer's blocks included.
    next_free: Mutex<HashMap<ListId, u32>>,
    /// Places of this issuer's blocks that were not drawn yet, in no order.
    drawable: Mutex<HashMap<ListId, Vec<u32>>>,
    /// One lease at a time: a crowd that finds a block empty shall take one new block, not one each.
    leasing: tokio::sync::Mutex<()>,
}

impl IndexLeases {
    /// How far every list is leased, for a snapshot; ascending.
    #[must_use]
    pub fn leased(&self) -> Vec<(ListId, u32)> {
        let mut leased: Vec<_> = self
            .next_free
            .lock()
            .iter()
            .map(|(list, next)| (*list, *next))
            .collect();
        leased.sort_unstable();
        leased
    }

    /// Starts from a snapshot.
    pub fn restore(&self, leased: impl IntoIterator<Item = (ListId, u32)>) {
        self.next_free.lock().extend(leased);
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
        let list = self.open_list(partition, kind, expires_at)?;
        loop {
            if let Some(index) = self.take(list, entropy) {
                return Ok(StatusRef { list, index });
            }
            let _turn = self.leasing.lock().await;
            let empty = self.drawable.lock().get(&list).is_none_or(Vec::is_empty);
            if empty {
                self.lease(log, entropy, partition, list, now).await?;
            }
        }
    }

    fn open_list(&self, partition: Partition, kind: CodeKind, expires_at: Timestamp) -> Result<ListId, Problem> {
        let partition = u8::try_from(partition.0).map_err(|_| Problem::internal())?;
        let next_free = self.next_free.lock();
        let drawable = self.drawable.lock();
        (0..=ListId::MAX_GENERATION)
            .filter_map(|generation| ListId::new(partition, kind, expires_at, generation))
            .find(|list| {
                let room = next_free.get(list).is_none_or(|next| *next < MAX_LIST_LEN);
                room || drawable.get(list).is_some_and(|places| !places.is_empty())
            })
            .ok_or_else(|| Problem::new(Code::Unavailable, "every status list of this kind and month is full"))
    }

    fn take(&self, list: ListId, entropy: &Arc<dyn Entropy>) -> Option<u32> {
        let mut drawable = self.drawable.lock();
        let places = drawable.get_mut(&list).filter(|places| !places.is_empty())?;
        let at = entropy.below(u32::try_from(places.len()).expect("a block has 4,096 places"));
        Some(places.swap_remove(usize::try_from(at).expect("below the length")))
    }

    /// Takes the next block of a list. A crash after the append leaves a block that nobody draws from.
    async fn lease(
        &self,
        log: &HolderLog,
        entropy: &Arc<dyn Entropy>,
        partition: Partition,
        list: ListId,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let context = CommandContext {
            caller: "issuer".into(),
            command_id: CommandId(entropy.array()),
            request_digest: RequestMeaning::of("lease").bytes(&list.0.to_be_bytes()).finish(),
            actor: "issuer".into(),
            trace_context: None,
            now,
        };
        let next_block = || {
            let first_index = self.next_free.lock().get(&list).copied().unwrap_or(0);
            Ok::<_, Problem>(vec![Event::IndexBlockLeased(IndexBlockLeased {
                list,
                first_index,
                count: BLOCK_LEN,
            })])
        };
        let leased = log.execute_system(lease_stream(partition), &context, next_block).await;
        let leased = leased.map_err(citycode_acts::problem_of_execute)?;
        if let Some(Event::IndexBlockLeased(block)) = leased.events.first() {
            let places = block.first_index..block.first_index.saturating_add(block.count);
            self.drawable.lock().entry(list).or_default().extend(places);
        }
        Ok(())
    }
}

impl SystemFold for IndexLeases {
    fn fold_system(&self, event: &Event, _position: Position) -> Result<(), String> {
        if let Event::IndexBlockLeased(block) = event {
            let end = block
                .first_index
                .checked_add(block.count)
                .ok_or("a leased block ends past the last place")?;
            let mut next_free = self.next_free.lock();
            let next = next_free.entry(block.list).or_default();
            if block.first_index < *next {
                return Err(format!("a block of list {} was leased twice", block.list));
            }
            *next = end;
        }
        Ok(())
    }
}
