//! Dense pages of packed entries of any size.
//!
//! An entry is written at the end of the newest page. An entry whose size changes is written again and leaves a
//! dead one behind. Dead bytes are bounded: the owner moves the live entries out of the page with the most dead
//! bytes ([`Arena::victim`]) until at most an eighth is dead, so the cost is spread over the writes that cause
//! it.
//!
//! ```text
//! page  = entry*
//! entry = body-length:varint holder:16 body
//! ```

use citycode_domain::ids::HolderId;

use super::packing::{Bytes, put_varint};

/// Bytes of a page: small compared with a city's shard, and enough for 60 entries of a small deployment.
pub(super) const PAGE_BYTES: usize = 32 * 1024;
/// A longer entry gets its own page, so that the remainder of a full page is less than a sixteenth of it. This
/// guarantees that compaction terminates.
const LARGE_BYTES: usize = PAGE_BYTES / 16;
const MAX_PAGES: usize = (u32::MAX as usize) / PAGE_BYTES;
/// The inverse of the share that may be dead: it bounds the waste to 14 % of the live bytes.
const DEAD_SHARE: usize = 8;

/// Start of an entry: page × [`PAGE_BYTES`] + offset.
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
    /// Numbers of pages without memory, which can be reused.
    free: Vec<u32>,
    /// The page that is being filled.
    newest: Option<u32>,
    used: usize,
    dead: usize,
}

/// One entry as stored in a page.
#[derive(Clone, Copy)]
pub(super) struct EntryRef<'a> {
    pub(super) holder: HolderId,
    pub(super) body: &'a [u8],
    /// Its total length including the head.
    pub(super) len: usize,
}

/// Parses the first entry of these bytes; `None` if they do not contain a whole one.
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

/// Writes the head of an entry; the body follows.
pub(super) fn put_head(out: &mut Vec<u8>, holder: HolderId, body_len: usize) {
    put_varint(out, body_len as u64);
    out.extend_from_slice(&holder.0);
}

impl Arena {
    fn bytes_from(&self, place: Place) -> &[u8] {
        let page = &self.pages[place.0 as usize / PAGE_BYTES];
        &page.bytes[place.0 as usize % PAGE_BYTES..page.used]
    }

    /// The entry at a place that the index refers to.
    pub(super) fn entry(&self, place: Place) -> EntryRef<'_> {
        first_entry(self.bytes_from(place)).expect("the index refers only to whole entries")
    }

    /// Only the holder of that entry, which a lookup compares.
    pub(super) fn holder(&self, place: Place) -> HolderId {
        let mut bytes = Bytes(self.bytes_from(place));
        let _ = bytes.varint();
        HolderId(bytes.array().expect("the index refers only to whole entries"))
    }

    /// Overwrites an entry with one of exactly the same length.
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
                Some(number) if self.free_bytes(number) >= entry.len() => number,
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
        // The page of a large entry starts with it and contains no other, so every offset stays below
        // PAGE_BYTES.
        let offset = u32::try_from(start).expect("an entry starts within PAGE_BYTES");
        Place(number * PAGE_BYTES as u32 + offset)
    }

    fn free_bytes(&self, number: u32) -> usize {
        let page = &self.pages[number as usize];
        page.bytes.len() - page.used
    }

    /// Counts the remainder of a full page as dead: it is unusable until that page is compacted.
    fn close(&mut self, number: Option<u32>) {
        if let Some(number) = number {
            let left = self.free_bytes(number);
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

    /// Counts an entry as dead; the index no longer refers to it.
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

    /// The page to compact now, if too many bytes are dead.
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

    /// Removes a page. The caller must [`Arena::push`] its live entries again; only then may its number be
    /// reused ([`Arena::give_back`]), otherwise an old place could be mistaken for a new one.
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

    /// Allows the number of a removed page to be reused.
    pub(super) fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }

    #[cfg(test)]
    pub(super) fn dead_bytes(&self) -> usize {
        self.dead
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.pages.iter().map(|page| page.bytes.len()).sum()
    }

    /// Every entry in the pages including dead ones, with its place.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Place, EntryRef<'_>, &[u8])> {
        let pages = self.pages.iter().zip(0u32..);
        pages.flat_map(|(page, number)| entries_of(&page.bytes[..page.used], Place(number * PAGE_BYTES as u32)))
    }
}

/// A page that is being compacted.
pub(super) struct TakenPage {
    first: Place,
    bytes: Box<[u8]>,
    used: usize,
}

impl TakenPage {
    /// Its entries including dead ones, with their former places.
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

#[cfg(test)]
mod tests;
