//! The leased part of every list, folded from the log, and the next block to lease.

use std::collections::HashMap;

use citycode_domain::event::{IndexBlockLeased, ListNamesAdvanced};
use citycode_domain::ids::{ListFacts, ListId};
use citycode_domain::time::Timestamp;
use citycode_event_store::Partition;
use citycode_projection::status::{BLOCK_LEN, MAX_LIST_LEN};
use citycode_service_kit::problem::{Code, Problem};

use crate::ListNames;

/// Every list of the log.
pub(super) struct Leased {
    names: ListNames,
    lists: HashMap<ListId, List>,
    /// The list of version 2 from which blocks are leased for codes with these facts.
    open: HashMap<ListFacts, ListId>,
    /// The counter of each partition's next list: above every one in the log.
    next_counter: HashMap<u16, u32>,
    /// Whether a warning was logged that the log contains names under another key.
    mismatch_logged: bool,
}

struct List {
    facts: ListFacts,
    /// Present for a list of version 2.
    counter: Option<u32>,
    /// The first index that is not in a block yet.
    next_free: u32,
}

impl Leased {
    pub(super) fn new(names: ListNames) -> Self {
        Self {
            names,
            lists: HashMap::new(),
            open: HashMap::new(),
            next_counter: HashMap::new(),
            mismatch_logged: false,
        }
    }

    pub(super) fn next_counter(&self, partition: u16) -> u32 {
        self.next_counter.get(&partition).copied().unwrap_or(0)
    }

    pub(super) fn next_counters(&self) -> Vec<(Partition, u32)> {
        let mut all: Vec<_> = self
            .next_counter
            .iter()
            .map(|(at, next)| (Partition(*at), *next))
            .collect();
        all.sort_unstable();
        all
    }

    /// The next block for codes with these facts: of the open list, or of a new one if that is full.
    pub(super) fn next_block(&self, facts: &ListFacts) -> Result<IndexBlockLeased, Problem> {
        if let Some(list) = self.open.get(facts).copied()
            && let Some(first_index) = self.next_free_block(list)
        {
            let counter = self.lists.get(&list).and_then(|list| list.counter);
            return Ok(block(list, *facts, counter, first_index));
        }
        let mut counter = self.next_counter(facts.partition);
        loop {
            let name = self.names.name(facts.partition, counter);
            let list =
                name.ok_or_else(|| unavailable("all names of status lists of this partition of the log are used"))?;
            // An existing name can only have been made under another key, which was lost.
            if !self.lists.contains_key(&list) {
                return Ok(block(list, *facts, Some(counter), 0));
            }
            counter += 1;
        }
    }

    /// As [`Self::next_block`], with a name that reveals what the list contains.
    pub(super) fn next_block_of_version_1(&self, facts: &ListFacts) -> Result<IndexBlockLeased, Problem> {
        let partition = u8::try_from(facts.partition).map_err(|_| Problem::internal())?;
        // Any time within the window.
        let expires_at = Timestamp(facts.retires_at.0 - 1);
        (0..=ListId::MAX_GENERATION)
            .filter_map(|generation| ListId::new(partition, facts.kind, expires_at, generation))
            .find_map(|list| Some(block(list, *facts, None, self.next_free_block(list)?)))
            .ok_or_else(|| unavailable("every status list of this kind and month is full"))
    }

    /// The first index of the list's next block, if one fits.
    fn next_free_block(&self, list: ListId) -> Option<u32> {
        let next_free = self.lists.get(&list).map_or(0, |list| list.next_free);
        (next_free <= MAX_LIST_LEN - BLOCK_LEN).then_some(next_free)
    }

    pub(super) fn lease(&mut self, block: &IndexBlockLeased) -> Result<(), String> {
        let IndexBlockLeased {
            list,
            facts,
            counter,
            first_index,
            count,
        } = *block;
        let end = first_index
            .checked_add(count)
            .ok_or("a leased block ends past the last index")?;
        let known = self.lists.entry(list).or_insert(List {
            facts,
            counter,
            next_free: 0,
        });
        if (known.facts, known.counter) != (facts, counter) {
            return Err(format!("list {list} was leased as another list than before"));
        }
        if first_index < known.next_free {
            return Err(format!("a block of list {list} was leased twice"));
        }
        known.next_free = end;
        if let Some(counter) = counter {
            self.record_name(list, facts, counter);
        }
        Ok(())
    }

    fn record_name(&mut self, list: ListId, facts: ListFacts, counter: u32) {
        let next = self.next_counter.entry(facts.partition).or_default();
        if counter >= *next {
            *next = counter.saturating_add(1);
            self.open.insert(facts, list);
        }
        if self.names.name(facts.partition, counter) != Some(list) && !self.mismatch_logged {
            self.mismatch_logged = true;
            tracing::warn!(
                %list,
                "status lists of this log were named under another list-names.key than this issuer's; if no issuer has \
                 the other key any more, no action is needed"
            );
        }
    }

    pub(super) fn advance(&mut self, advanced: &ListNamesAdvanced) {
        let ListNamesAdvanced {
            partition,
            next_counter,
        } = *advanced;
        let next = self.next_counter.entry(partition).or_default();
        *next = next_counter.max(*next);
        self.open.retain(|facts, _| facts.partition != partition);
    }
}

fn block(list: ListId, facts: ListFacts, counter: Option<u32>, first_index: u32) -> IndexBlockLeased {
    IndexBlockLeased {
        list,
        facts,
        counter,
        first_index,
        count: BLOCK_LEN,
    }
}

pub(super) fn unavailable(why: &str) -> Problem {
    Problem::new(Code::Unavailable, why)
}

#[cfg(test)]
mod tests {
    use citycode_domain::ids::CodeKind;
    use zeroize::Zeroizing;

    use super::*;

    fn leased(key: u8) -> Leased {
        Leased::new(ListNames::new(Zeroizing::new([key; 32])))
    }

    fn facts(partition: u16, month: i64) -> ListFacts {
        let kind = CodeKind::new(3).unwrap();
        ListFacts::for_code(partition, kind, Timestamp(1_790_000_000 + month * 30 * 86_400)).unwrap()
    }

    /// Leases the next block at all issuers, as the log would.
    fn take(all: &mut [&mut Leased], facts: &ListFacts) -> IndexBlockLeased {
        let block = all[0].next_block(facts).unwrap();
        all.iter_mut().for_each(|leased| leased.lease(&block).unwrap());
        block
    }

    #[test]
    fn a_list_is_filled_before_the_next_is_named_and_every_list_has_a_name_of_its_own() {
        let mut leased = leased(1);
        let first = take(&mut [&mut leased], &facts(0, 0));
        let second = take(&mut [&mut leased], &facts(0, 0));
        assert_eq!((second.list, second.counter), (first.list, first.counter));
        assert_eq!((first.first_index, second.first_index), (0, BLOCK_LEN));
        let others = [facts(0, 1), facts(1, 0), facts(1, 1)].map(|facts| take(&mut [&mut leased], &facts));
        let counters = others.map(|block| block.counter.unwrap());
        assert_eq!(counters, [1, 0, 1]);
        let mut names: Vec<ListId> = others.iter().map(|block| block.list).chain([first.list]).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 4);

        let full = IndexBlockLeased {
            first_index: MAX_LIST_LEN - BLOCK_LEN,
            ..first
        };
        leased.lease(&full).unwrap();
        let next = take(&mut [&mut leased], &facts(0, 0));
        assert_eq!((next.counter, next.first_index), (Some(2), 0));
        assert_eq!(leased.next_counters(), [(Partition(0), 3), (Partition(1), 2)]);
    }

    #[test]
    fn a_used_name_is_never_used_again_also_under_another_key() {
        let mut old = leased(1);
        let used: Vec<ListId> = (0..50)
            .map(|month| take(&mut [&mut old], &facts(0, month)).list)
            .collect();
        // Another key yields other names for the same counters, one of which may clash.
        let mut new = leased(2);
        let clash = new.names.name(0, 50).unwrap();
        for (counter, list) in (0..).zip(&used) {
            new.lease(&block(*list, facts(0, 0), Some(counter), 0)).unwrap();
        }
        new.lease(&block(clash, facts(1, 0), Some(0), 0)).unwrap();
        let next = new.next_block(&facts(0, 99)).unwrap();
        assert_eq!(next.counter, Some(51), "the name of counter 50 is used");
        assert!(!used.contains(&next.list) && next.list != clash);
    }

    #[test]
    fn lists_of_a_lost_part_of_the_log_are_not_used_again() {
        let mut leased = leased(1);
        let before = take(&mut [&mut leased], &facts(0, 0));
        let elsewhere = take(&mut [&mut leased], &facts(1, 0));
        leased.advance(&ListNamesAdvanced {
            partition: 0,
            next_counter: 70,
        });
        let after = take(&mut [&mut leased], &facts(0, 0));
        assert_eq!((after.counter, after.first_index), (Some(70), 0));
        assert_ne!(after.list, before.list);
        assert_eq!(take(&mut [&mut leased], &facts(1, 0)).list, elsewhere.list);
        leased.advance(&ListNamesAdvanced {
            partition: 0,
            next_counter: 5,
        });
        assert_eq!(leased.next_counter(0), 71, "it never goes back");
    }

    #[test]
    fn a_partition_without_free_names_is_unavailable() {
        let mut leased = leased(1);
        leased.advance(&ListNamesAdvanced {
            partition: 0,
            next_counter: crate::list_names::LISTS_OF_A_PARTITION,
        });
        let refused = leased.next_block(&facts(0, 0)).unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(leased.next_block(&facts(1, 0)).is_ok());
    }

    #[test]
    fn a_block_that_contradicts_an_earlier_lease_stops_the_fold() {
        let mut leased = leased(1);
        let first = take(&mut [&mut leased], &facts(0, 0));
        assert!(leased.lease(&first).unwrap_err().contains("twice"));
        let other = IndexBlockLeased {
            facts: facts(0, 1),
            first_index: BLOCK_LEN,
            ..first
        };
        assert!(leased.lease(&other).unwrap_err().contains("another list"));
        let endless = IndexBlockLeased {
            first_index: u32::MAX,
            ..first
        };
        assert!(leased.lease(&endless).is_err());
    }
}
