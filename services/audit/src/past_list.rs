//! A status list as it was at an instant, from the journal of effects.
//!
//! Memory: some 20 bytes for each code of the list.

use std::collections::HashMap;

use citycode_domain::ids::ListId;
use citycode_domain::time::Timestamp;
use citycode_event_store::Partition;
use citycode_projection::status::{BLOCK_LEN, CodeState, MAX_LIST_LEN};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::request::Until;
use tokio::sync::Semaphore;

use crate::history::{Audit, unavailable};
use crate::index::{IndexError, IndexReader, PlaceEffect};

/// Lists that are read at once in a process: anybody may ask for one, and each reads a partition's journal.
static READING: Semaphore = Semaphore::const_new(1);
const RETRY_AFTER_SECONDS: u64 = 1;
/// Four places without a valid code.
const INVALID: u8 = 0b0101_0101;

impl Audit {
    /// The packed statuses of a list of a partition at an instant, two bits each, as revocation would have published them
    /// then; `None` if the list had no code.
    ///
    /// # Errors
    /// `invalid_request` for an instant of the future, `unavailable`.
    pub async fn list_at(&self, list: ListId, partition: Partition, at: Timestamp) -> Result<Option<Vec<u8>>, Problem> {
        self.check_moment(Until::Instant(at.0)).await?;
        let _reading = READING.try_acquire().map_err(|_| {
            let busy = Problem::new(Code::Unavailable, "another status list of the past is being read");
            busy.with_retry_after(RETRY_AFTER_SECONDS)
        })?;
        self.catch_up(Some(partition)).await?;
        let index = self.index.clone();
        let read = tokio::task::spawn_blocking(move || packed(&index, list, partition, at)).await;
        let read = read.map_err(|_| Problem::internal())?;
        read.map_err(|error| unavailable(&error))
    }
}

fn packed(
    index: &IndexReader,
    list: ListId,
    partition: Partition,
    at: Timestamp,
) -> Result<Option<Vec<u8>>, IndexError> {
    let (mut codes, mut blocks) = (HashMap::<u32, CodeState>::new(), 0);
    index.effects_in(partition, |recorded| {
        let first = recorded.place.index;
        if recorded.place.list != list || recorded.decided_at > at || first >= MAX_LIST_LEN {
            return;
        }
        let last = match recorded.effect {
            PlaceEffect::Issue { standing, .. } => {
                codes.insert(first, CodeState::issued(standing));
                first
            }
            PlaceEffect::Change(change) => {
                if let Some(state) = codes.get_mut(&first) {
                    *state = state.after(change);
                }
                return;
            }
            // Such places are invalid like all that have no code; they only make the list longer.
            PlaceEffect::Void(count) => first.saturating_add(count.saturating_sub(1)).min(MAX_LIST_LEN - 1),
        };
        blocks = blocks.max(last / BLOCK_LEN + 1);
    })?;
    if blocks == 0 {
        return Ok(None);
    }
    let mut bits = vec![INVALID; (blocks * BLOCK_LEN / 4) as usize];
    for (index, state) in codes {
        let shift = 2 * (index % 4);
        let byte = &mut bits[(index / 4) as usize];
        *byte = (*byte & !(0b11 << shift)) | (state.two_bits() << shift);
    }
    Ok(Some(bits))
}
