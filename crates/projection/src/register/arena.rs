//! Pages of packed entries, of any sizes, that stay dense.
//!
//! An entry is written at the end of the newest page; one that changes its size is written anew and leaves a dead
//! one behind. Dead bytes are bounded: the owner moves the live entries out of the page with the most dead ones
//! ([`Arena::victim`]) until no more than an eighth is dead, so the cost is spread over the writes that cause it.
//!
//! ```text
//! page  = entry*
//! entry = body-length:varint holder:16 body
//! ```

use citycode_domain::ids::HolderId;

use super::packing::{Bytes, put_varint};

/// Bytes of a page: small beside a shard of a city, and 60 entries of a village.
pub(super) const PAGE_BYTES: usize = 32 * 1024;
/// A longer entry has a page of its own, so that what is left of a full page is less than a sixteenth of it: emptying
/// pages then always comes to an end.
const LARGE_BYTES: usize = PAGE_BYTES / 16;
const MAX_PAGES: usize = (u32::MAX as usize) / PAGE_BYTES;
/// One part in so many may be dead: bounds the waste to 14 % of what lives.
const DEAD_SHARE: usize = 8;

/// Where an entry begins: page × [`PAGE_BYTES`] + offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(pub(super) u32);

#[derive(Default)]
struct Page {
    bytes: Box<[u8]>,
    used: usize,
    dead: usize,
}

#[derive(Default)]
pub(super) struct Arena {
    pages: Vec<Page>,
    /// Numbers of pages without memory, to be used again.
    free: Vec<u32>,
    /// The page that is being filled.
    newest: Option<u32>,
    used: usize,
    dead: usize,
}

/// One entry as it lies in a page.
#[derive(Clone, Copy)]
pub(super) struct EntryRef<'a> {
    pub(super) holder: HolderId,
    pub(super) body: &'a [u8],
    /// Its whole length, head included.
    pub(super) len: usize,
}

/// Takes the first entry of these bytes; `None` where they hold no whole one.
pub(super) fn first_entry(bytes: &[u8]) -> Option<EntryRef<'_>> {
    let mut rest = Bytes(bytes);
    let len = usize::try_from(rest.varint()?).ok()?;
    let holder = HolderId(rest.array()?);
    let body = rest.slice(len)?;
    Some(EntryRef {
        holder,
        body,
        len: bytes.len() - rest.0.len(),
    })
}

/// Writes the head of an entry whose body follows.
pub(super) fn put_head(out: &mut Vec<u8>, holder: HolderId, body_len: usize) {
    put_varint(out, body_len as u64);
    out.extend_from_slice(&holder.0);
}

impl Arena {
    fn bytes_from(&self, place: Place) -> &[u8] {
        let page = &self.pages[place.0 as usize / PAGE_BYTES];
        &page.bytes[place.0 as usize % PAGE_BYTES..page.used]
    }

    /// The entry at a place that the index names.
    pub(super) fn entry(&self, place: Place) -> EntryRef<'_> {
        first_entry(self.bytes_from(place)).expect("the index names whole entries only")
    }

    /// Only the holder of that entry: what a look-up compares.
    pub(super) fn holder(&self, place: Place) -> HolderId {
        let mut bytes = Bytes(self.bytes_from(place));
        let _ = bytes.varint();
        HolderId(bytes.array().expect("the index names whole entries only"))
    }

    /// Writes over an entry with one of the very same length.
    pub(super) fn overwrite(&mut self, place: Place, entry: &[u8]) {
        let page = &mut self.pages[place.0 as usize / PAGE_BYTES];
        let start = place.0 as usize % PAGE_BYTES;
        page.bytes[start..start + entry.len()].copy_from_slice(entry);
    }

    /// Appends an entry, head and body.
    pub(super) fn push(&mut self, entry: &[u8]) -> Place {
        let number = if entry.len() > LARGE_BYTES {
            self.add_page(entry.len())
        } else {
            match self.newest {
                Some(number) if self.room(number) >= entry.len() => number,
                before => {
                    self.close(before);
                    let number = self.add_page(PAGE_BYTES);
                    self.newest = Some(number);
                    number
                }
            }
        };
        let page = &mut self.pages[number as usize];
        let start = page.used;
        page.bytes[start..start + entry.len()].copy_from_slice(entry);
        page.used += entry.len();
        self.used += entry.len();
        // The page of a large entry begins with it and has no other, so every offset stays below PAGE_BYTES.
        let offset = u32::try_from(start).expect("an entry begins within PAGE_BYTES");
        Place(number * PAGE_BYTES as u32 + offset)
    }

    fn room(&self, number: u32) -> usize {
        let page = &self.pages[number as usize];
        page.bytes.len() - page.used
    }

    /// Counts what is left of a full page as dead: it is lost until that page is emptied.
    fn close(&mut self, number: Option<u32>) {
        if let Some(number) = number {
            let left = self.room(number);
            self.pages[number as usize].dead += left;
            self.used += left;
            self.dead += left;
        }
    }

    fn add_page(&mut self, len: usize) -> u32 {
        let page = Page {
            bytes: vec![0; len].into_boxed_slice(),
            used: 0,
            dead: 0,
        };
        if let Some(number) = self.free.pop() {
            self.pages[number as usize] = page;
            return number;
        }
        assert!(
            self.pages.len() < MAX_PAGES,
            "a shard of the register has reached 4 GiB"
        );
        self.pages.push(page);
        u32::try_from(self.pages.len() - 1).expect("below MAX_PAGES")
    }

    /// Counts an entry as dead; the index no longer names it.
    pub(super) fn release(&mut self, place: Place, len: usize) {
        let number = place.0 / PAGE_BYTES as u32;
        let page = &mut self.pages[number as usize];
        page.dead += len;
        self.dead += len;
        if page.dead == page.bytes.len() && self.newest != Some(number) {
            self.take(number);
            self.give_back(number);
        }
    }

    /// The page to empty now, if too much is dead.
    pub(super) fn victim(&self) -> Option<u32> {
        if self.dead * DEAD_SHARE <= self.used + PAGE_BYTES {
            return None;
        }
        let pages = self.pages.iter().zip(0u32..);
        pages
            .filter(|(_, number)| Some(*number) != self.newest)
            .max_by_key(|(page, _)| page.dead)
            .filter(|(page, _)| page.dead > 0)
            .map(|(_, number)| number)
    }

    /// Takes a page out. Its live entries are the caller's to [`Arena::push`] again; only after that may its number
    /// be used anew ([`Arena::give_back`]), or an old place could be taken for a new one.
    pub(super) fn take(&mut self, number: u32) -> TakenPage {
        let page = std::mem::take(&mut self.pages[number as usize]);
        self.used -= page.bytes.len();
        self.dead -= page.dead;
        TakenPage {
            first: Place(number * PAGE_BYTES as u32),
            bytes: page.bytes,
            used: page.used,
        }
    }

    /// Lets the number of a page that was taken out be used again.
    pub(super) fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.pages.iter().map(|page| page.bytes.len()).sum()
    }

    /// Every entry that lies in the pages, dead ones included, with its place.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Place, EntryRef<'_>, &[u8])> {
        let pages = self.pages.iter().zip(0u32..);
        pages.flat_map(|(page, number)| entries_of(&page.bytes[..page.used], Place(number * PAGE_BYTES as u32)))
    }
}

/// A page that is being emptied.
pub(super) struct TakenPage {
    first: Place,
    bytes: Box<[u8]>,
    used: usize,
}

impl TakenPage {
    /// Its entries, dead ones included, with the places where they lay.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Place, EntryRef<'_>, &[u8])> {
        entries_of(&self.bytes[..self.used], self.first)
    }
}

fn entries_of(bytes: &[u8], first: Place) -> impl Iterator<Item = (Place, EntryRef<'_>, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let entry = first_entry(&bytes[at..])?;
        let whole = &bytes[at..at + entry.len];
        let place = Place(first.0 + u32::try_from(at).ok()?);
        at += entry.len;
        Some((place, entry, whole))
    })
}
