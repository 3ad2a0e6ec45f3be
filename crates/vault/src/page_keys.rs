//! The page keys: a small file that is overwritten in place, so that a destroyed key cannot be recovered.
//!
//! The database copies on write and leaves old pages in its file. Its content is therefore sealed under keys
//! that are not in it: people are distributed by hash over [`PAGES`] pages per table, and each page has a key
//! in this file. Erasing a person seals the other people of the page under a new key and then overwrites the
//! old key. The filesystem must write in place (ext4, xfs), not copy on write.
//!
//! ```text
//! file  = magic:8 ("CCVKEYS1") slot*            slot number = (table * PAGES + page) * 2 + generation mod 2
//! slot  = generation:u32 (big-endian) key:28+4  generation 0 and an all-zero key: empty
//! ```
//! A page key is HMAC-SHA-256(master key, slot number ‖ slot bytes), so that the file alone decrypts nothing.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::{FillRandom, VaultError};

/// Pages per table.
pub(crate) const PAGES: u16 = 1024;
const TABLES: u16 = 2;
const MAGIC: &[u8; 8] = b"CCVKEYS1";
const SLOT: usize = 36;
const HEADER: usize = 8;

/// The table of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Table {
    /// ID number → holder.
    Index = 0,
    /// Holder → personal data.
    People = 1,
}

/// One page of one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    pub(crate) table: Table,
    pub(crate) number: u16,
}

/// The key of one page in one generation.
pub(crate) struct PageKey {
    pub(crate) key: Zeroizing<[u8; 32]>,
}

pub(crate) struct PageKeys {
    file: File,
    slots: Zeroizing<Vec<u8>>,
    master: hmac::Key,
}

impl PageKeys {
    /// Opens the file, or creates it with a fresh key for every page.
    pub(crate) fn open(path: &Path, master: &[u8; 32], random: &FillRandom) -> Result<Self, VaultError> {
        let length = usize::from(TABLES) * usize::from(PAGES) * 2 * SLOT;
        let master = hmac::Key::new(hmac::HMAC_SHA256, master);
        if path.exists() {
            let bytes = Zeroizing::new(std::fs::read(path).map_err(unavailable)?);
            if bytes.len() != HEADER + length || &bytes[..HEADER] != MAGIC {
                return Err(VaultError::Damaged(
                    "the file of page keys has a wrong format or length".into(),
                ));
            }
            let file = OpenOptions::new().write(true).open(path).map_err(unavailable)?;
            return Ok(Self {
                file,
                slots: Zeroizing::new(bytes[HEADER..].to_vec()),
                master,
            });
        }
        let mut slots = Zeroizing::new(vec![0u8; length]);
        for pair in slots.chunks_exact_mut(2 * SLOT) {
            // Generation 1 is in the second slot of its pair.
            pair[SLOT..SLOT + 4].copy_from_slice(&1u32.to_be_bytes());
            random(&mut pair[SLOT + 4..]);
        }
        let temporary = path.with_extension("new");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary);
        let file = file.map_err(unavailable)?;
        file.write_all_at(MAGIC, 0).map_err(unavailable)?;
        file.write_all_at(&slots, HEADER as u64).map_err(unavailable)?;
        file.sync_all().map_err(unavailable)?;
        // A crash before the rename leaves no key file, and the next start creates one: nothing was sealed yet.
        std::fs::rename(&temporary, path).map_err(unavailable)?;
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(unavailable)?;
        }
        Ok(Self { file, slots, master })
    }

    /// The page's key of this generation; `None` if it was destroyed.
    pub(crate) fn key(&self, page: Page, generation: u32) -> Option<PageKey> {
        let number = slot_number(page, generation);
        if !self.has(page, generation) {
            return None;
        }
        let slot = self.slot(number);
        let mut context = hmac::Context::with_key(&self.master);
        context.update(&(number as u64).to_be_bytes());
        context.update(slot);
        let tag = context.sign();
        let key = Zeroizing::new(tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes"));
        Some(PageKey { key })
    }

    /// Whether the page's key of this generation exists.
    pub(crate) fn has(&self, page: Page, generation: u32) -> bool {
        generation != 0 && self.slot(slot_number(page, generation))[..4] == generation.to_be_bytes()
    }

    /// Every page of every table.
    pub(crate) fn pages() -> impl Iterator<Item = Page> {
        let of = |table| (0..PAGES).map(move |number| Page { table, number });
        of(Table::Index).chain(of(Table::People))
    }

    /// The newest generation for which the page has a key; 0 if it has none.
    pub(crate) fn newest(&self, page: Page) -> u32 {
        let generation = |number| u32::from_be_bytes(self.slot(number)[..4].try_into().expect("four bytes"));
        generation(slot_number(page, 0)).max(generation(slot_number(page, 1)))
    }

    /// Draws a key for the next generation and makes it durable. The current key stays.
    pub(crate) fn add(&mut self, page: Page, generation: u32, random: &FillRandom) -> Result<(), VaultError> {
        let mut slot = Zeroizing::new([0u8; SLOT]);
        slot[..4].copy_from_slice(&generation.to_be_bytes());
        random(&mut slot[4..]);
        self.write(slot_number(page, generation), &slot)
    }

    /// Destroys the key of a generation; it cannot be recovered after this returns.
    pub(crate) fn destroy(&mut self, page: Page, generation: u32) -> Result<(), VaultError> {
        self.write(slot_number(page, generation), &[0u8; SLOT])
    }

    /// Every page with keys of two generations, because a crash interrupted an erasure.
    pub(crate) fn interrupted(&self) -> Vec<(Page, u32, u32)> {
        let mut pages = Vec::new();
        for (at, pair) in self.slots.chunks_exact(2 * SLOT).enumerate() {
            let [even, odd] = [&pair[..4], &pair[SLOT..SLOT + 4]]
                .map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")));
            if even != 0 && odd != 0 {
                let table = if at < usize::from(PAGES) {
                    Table::Index
                } else {
                    Table::People
                };
                let number = u16::try_from(at % usize::from(PAGES)).expect("below PAGES");
                pages.push((Page { table, number }, even.min(odd), even.max(odd)));
            }
        }
        pages
    }

    fn slot(&self, number: usize) -> &[u8] {
        &self.slots[number * SLOT..(number + 1) * SLOT]
    }

    fn write(&mut self, number: usize, slot: &[u8; SLOT]) -> Result<(), VaultError> {
        let at = HEADER + number * SLOT;
        self.file.write_all_at(slot, at as u64).map_err(unavailable)?;
        self.file.sync_data().map_err(unavailable)?;
        self.slots[number * SLOT..(number + 1) * SLOT].copy_from_slice(slot);
        Ok(())
    }
}

fn slot_number(page: Page, generation: u32) -> usize {
    let pair = page.table as usize * usize::from(PAGES) + usize::from(page.number);
    pair * 2 + usize::from(generation % 2 == 1)
}

fn unavailable(error: std::io::Error) -> VaultError {
    VaultError::Unavailable(format!("file of page keys: {error}"))
}
