//! Tests of the arena's accounting: dead bytes are counted exactly, and the memory of dead pages is returned.

use proptest::prelude::*;

use super::*;

/// The greatest entry that shares a page; sixteen of them fill one.
const SHARING: usize = LARGE_BYTES;

/// An entry of exactly `len` bytes, head included.
fn entry(number: u8, len: usize) -> Vec<u8> {
    // The head is 16 bytes of the holder and a length, which takes one byte below 128 and two bytes above.
    let head = if len < 17 + 128 { 17 } else { 18 };
    let mut bytes = Vec::new();
    put_head(&mut bytes, HolderId([number; 16]), len - head);
    bytes.resize(len, number);
    assert_eq!(
        first_entry(&bytes).map(|entry| entry.len),
        Some(len),
        "no entry has this length"
    );
    bytes
}

/// Every length that an entry can have, up to that of a large one. None has 145 bytes: its body would have 127 bytes by
/// one form of the head, and 128 by the other.
fn any_length() -> impl Strategy<Value = usize> {
    (17..6_000usize).prop_filter("no entry has 145 bytes", |len| *len != 145)
}

/// An arena and, by page, the places of its entries of [`SHARING`] bytes, with which every page is full.
fn full_pages(count: usize) -> (Arena, Vec<Vec<Place>>) {
    let mut arena = Arena::default();
    let mut page = || (0..16).map(|number| arena.push(&entry(number, SHARING))).collect();
    let places = (0..count).map(|_| page()).collect();
    assert_eq!(arena.held_bytes(), count * PAGE_BYTES);
    (arena, places)
}

fn release(arena: &mut Arena, places: &[Place]) {
    for place in places {
        arena.release(*place, SHARING);
    }
}

#[test]
fn entries_fill_a_page_to_its_last_byte_before_the_next_one_begins() {
    let (mut arena, places) = full_pages(1);
    let offsets: Vec<u32> = places[0].iter().map(|place| place.0).collect();
    assert_eq!(offsets, (0..16).map(|number| number * 2_048).collect::<Vec<_>>());
    assert_eq!(arena.push(&entry(1, 17)), Place(PAGE_BYTES as u32));
    assert_eq!(arena.held_bytes(), 2 * PAGE_BYTES);
}

#[test]
fn only_an_entry_above_a_sixteenth_of_a_page_gets_a_page_of_its_own() {
    let mut arena = Arena::default();
    let first = arena.push(&entry(1, LARGE_BYTES));
    assert_eq!(arena.held_bytes(), PAGE_BYTES, "it shares a page");
    let large = arena.push(&entry(2, LARGE_BYTES + 1));
    assert_eq!(arena.held_bytes(), PAGE_BYTES + LARGE_BYTES + 1);
    arena.push(&entry(3, LARGE_BYTES - 1));
    assert_eq!(
        arena.held_bytes(),
        PAGE_BYTES + LARGE_BYTES + 1,
        "the shared page is filled further"
    );
    assert_eq!(arena.holder(first), HolderId([1; 16]));
    assert_eq!(arena.entry(large).body, &entry(2, LARGE_BYTES + 1)[18..]);
    arena.release(large, LARGE_BYTES + 1);
    assert_eq!(arena.held_bytes(), PAGE_BYTES, "its memory is returned at once");
}

#[test]
fn a_full_page_is_freed_with_its_last_entry_and_its_number_is_reused() {
    // Sixteen entries leave 768 bytes, which are unusable once the page is full.
    let len = 2_000;
    let mut arena = Arena::default();
    let places: Vec<Place> = (0..16).map(|number| arena.push(&entry(number, len))).collect();
    arena.push(&entry(16, len));
    let (last, others) = places.split_last().expect("sixteen entries");
    others.iter().for_each(|place| arena.release(*place, len));
    assert_eq!(arena.held_bytes(), 2 * PAGE_BYTES);
    arena.release(*last, len);
    assert_eq!(arena.held_bytes(), PAGE_BYTES);
    assert_eq!(arena.push(&entry(17, LARGE_BYTES + 1)), Place(0), "page 0 is free");
}

#[test]
fn the_page_that_is_being_filled_is_not_freed() {
    let mut arena = Arena::default();
    let places: Vec<Place> = (0..16).map(|number| arena.push(&entry(number, SHARING))).collect();
    release(&mut arena, &places);
    assert_eq!(
        arena.held_bytes(),
        PAGE_BYTES,
        "its end is where the next entry is expected"
    );
    assert_eq!(arena.push(&entry(1, 17)), Place(PAGE_BYTES as u32));
}

#[test]
fn a_page_is_compacted_only_when_more_than_an_eighth_is_dead() {
    let (mut arena, places) = full_pages(4);
    // An eighth of four pages and one page of allowance is 20 KiB, which are ten entries.
    release(&mut arena, &places[0][..4]);
    release(&mut arena, &places[1][..6]);
    assert_eq!(arena.victim(), None);
    release(&mut arena, &places[0][4..5]);
    assert_eq!(arena.victim(), Some(1), "the page with the most dead bytes");
    release(&mut arena, &places[3][..9]);
    assert_eq!(arena.victim(), Some(1), "the newest page is never compacted");
    release(&mut arena, &places[0][5..7]);
    assert_eq!(arena.victim(), Some(0));
}

#[test]
fn a_page_without_dead_bytes_is_never_compacted() {
    let (mut arena, places) = full_pages(2);
    // More than an eighth is dead, but only in the newest page: to compact the other one would gain nothing.
    release(&mut arena, &places[1][..7]);
    assert_eq!(arena.victim(), None);
}

#[test]
fn the_number_of_a_taken_page_is_reused_only_after_it_is_given_back() {
    let (mut arena, places) = full_pages(3);
    release(&mut arena, &places[1][..3]);
    let taken = arena.take(1);
    assert_eq!(arena.held_bytes(), 2 * PAGE_BYTES);
    let former: Vec<Place> = taken.entries().map(|(place, ..)| place).collect();
    assert_eq!(former, places[1], "dead entries are among them");
    let large = entry(1, LARGE_BYTES + 1);
    assert_eq!(arena.push(&large), Place(3 * PAGE_BYTES as u32));
    arena.give_back(1);
    assert_eq!(arena.push(&large), Place(PAGE_BYTES as u32));
}

#[test]
fn an_entry_that_is_cut_short_is_no_entry() {
    let whole = entry(5, 200);
    let first = first_entry(&whole).expect("it is whole");
    assert_eq!(
        (first.holder, first.body, first.len),
        (HolderId([5; 16]), &whole[18..], 200)
    );
    let followed = [whole.as_slice(), &[9; 40]].concat();
    assert_eq!(first_entry(&followed).map(|entry| entry.len), Some(200));
    for len in 0..whole.len() {
        assert!(first_entry(&whole[..len]).is_none(), "{len} bytes");
    }
}

/// What the totals must be: dead bytes by page, and every byte except those that can still be written.
fn assert_totals(arena: &Arena) {
    let dead: usize = arena.pages.iter().map(|page| page.dead).sum();
    assert_eq!(arena.dead, dead);
    let writable = arena.newest.map_or(0, |newest| arena.free_bytes(newest));
    assert_eq!(arena.used, arena.held_bytes() - writable);
}

proptest! {
    /// Entries of any size are written and released in any order, with compaction as a shard does it.
    #[test]
    fn totals_are_exact_and_live_entries_survive(
        steps in proptest::collection::vec((any::<bool>(), any_length(), any::<prop::sample::Index>()), 1..400)
    ) {
        let mut arena = Arena::default();
        let mut live: Vec<(Place, Vec<u8>)> = Vec::new();
        for (number, (add, len, which)) in (0..=u8::MAX).cycle().zip(steps) {
            if add || live.is_empty() {
                let bytes = entry(number, len);
                live.push((arena.push(&bytes), bytes));
            } else {
                let (place, bytes) = live.swap_remove(which.index(live.len()));
                arena.release(place, bytes.len());
            }
            assert_totals(&arena);
            while let Some(victim) = arena.victim() {
                let page = arena.take(victim);
                for (place, _, whole) in page.entries() {
                    if let Some(entry) = live.iter_mut().find(|(known, _)| *known == place) {
                        entry.0 = arena.push(whole);
                    }
                }
                arena.give_back(victim);
                assert_totals(&arena);
            }
        }
        for (place, bytes) in &live {
            let entry = arena.entry(*place);
            prop_assert_eq!(entry.len, bytes.len());
            prop_assert_eq!(entry.body, &bytes[bytes.len() - entry.body.len()..]);
        }
    }
}
