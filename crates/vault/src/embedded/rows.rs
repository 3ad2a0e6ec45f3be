//! Rows of the vault's tables, sealed under their page's key.

use citycode_domain::ids::HolderId;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, Table as WriteTable, TableDefinition, TableError, WriteTransaction,
};

use aws_lc_rs::hmac;

use crate::page_keys::{PAGES, Page, PageKey, PageKeys, Table};
use crate::person::{self, PersonFile};
use crate::{FillRandom, VaultError, seal};

/// (page, tag) → sealed row.
pub(super) type Key = (u16, [u8; 16]);
pub(super) const INDEX: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("index-1");
pub(super) const PEOPLE: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("people-1");
/// (table, page) → generation of the page's key; 1 if there is no row.
pub(super) const GENERATIONS: TableDefinition<'_, (u8, u16), u32> = TableDefinition::new("generations-1");

/// Nonce, length, ID tag, holder, and the seal's tag.
const SEALED_INDEX_ROW_BYTES: usize = 12 + 1 + 32 + 16 + 16;

pub(super) const FIRST_GENERATION: u32 = 1;

/// A view of the tables, for a transaction and the keys.
pub(super) struct Rows<'k, I, P, G> {
    pub(super) index: Option<I>,
    pub(super) people: Option<P>,
    pub(super) generations: Option<G>,
    pub(super) keys: &'k PageKeys,
}

pub(super) type ReadRows<'k> =
    Rows<'k, ReadOnlyTable<Key, &'static [u8]>, ReadOnlyTable<Key, &'static [u8]>, ReadOnlyTable<(u8, u16), u32>>;
pub(super) type WriteRows<'k, 't> =
    Rows<'k, WriteTable<'t, Key, &'static [u8]>, WriteTable<'t, Key, &'static [u8]>, WriteTable<'t, (u8, u16), u32>>;

pub(super) fn unavailable(error: impl std::error::Error) -> VaultError {
    VaultError::Unavailable(error.to_string())
}

fn absent_is_none<T>(table: Result<T, TableError>) -> Result<Option<T>, VaultError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

impl<'k> ReadRows<'k> {
    pub(super) fn reading(transaction: &ReadTransaction, keys: &'k PageKeys) -> Result<Self, VaultError> {
        Ok(Self {
            index: absent_is_none(transaction.open_table(INDEX))?,
            people: absent_is_none(transaction.open_table(PEOPLE))?,
            generations: absent_is_none(transaction.open_table(GENERATIONS))?,
            keys,
        })
    }
}

impl<'k, 't> WriteRows<'k, 't> {
    pub(super) fn writing(transaction: &'t WriteTransaction, keys: &'k PageKeys) -> Result<Self, VaultError> {
        Ok(Self {
            index: Some(transaction.open_table(INDEX).map_err(unavailable)?),
            people: Some(transaction.open_table(PEOPLE).map_err(unavailable)?),
            generations: Some(transaction.open_table(GENERATIONS).map_err(unavailable)?),
            keys,
        })
    }

    /// Inserts a new person. The caller has checked that there is none.
    pub(super) fn create(
        &mut self,
        id_tag: &[u8; 32],
        holder: HolderId,
        record: &[u8],
        random: &FillRandom,
    ) -> Result<(), VaultError> {
        self.put(index_page(id_tag), id_tag, &holder.0, random)?;
        self.put(people_page(holder), &holder.0, record, random)
    }

    pub(super) fn put(&mut self, page: Page, name: &[u8], plain: &[u8], random: &FillRandom) -> Result<(), VaultError> {
        let key = self.page_key(page)?;
        let row = (page.number, row_tag(&key, name));
        let mut nonce = [0u8; 12];
        random(&mut nonce);
        let sealed = seal::seal(&key.key, &row_context(page, &row), nonce, &with_name(name, plain));
        self.table(page.table)
            .insert(row, sealed.as_slice())
            .map_err(unavailable)?;
        Ok(())
    }

    pub(super) fn table(&mut self, table: Table) -> &mut WriteTable<'t, Key, &'static [u8]> {
        match table {
            Table::Index => &mut self.index,
            Table::People => &mut self.people,
        }
        .as_mut()
        .expect("a writing transaction opens every table")
    }
}

impl<I, P, G> Rows<'_, I, P, G>
where
    I: ReadableTable<Key, &'static [u8]>,
    P: ReadableTable<Key, &'static [u8]>,
    G: ReadableTable<(u8, u16), u32>,
{
    /// The holder with this ID tag.
    pub(super) fn find(&self, id_tag: &[u8; 32]) -> Result<Option<HolderId>, VaultError> {
        let Some(index) = &self.index else {
            return Ok(None);
        };
        let Some(plain) = self.get(index, index_page(id_tag), id_tag)? else {
            return Ok(None);
        };
        let damaged = || VaultError::Damaged("a holder of another length".into());
        HolderId::from_slice(&plain).map(Some).ok_or_else(damaged)
    }

    /// Does the work of opening an index row without one, so that looking up an unknown person takes as long as
    /// looking up a known one.
    pub(super) fn open_nothing(&self, id_tag: &[u8; 32]) -> Result<(), VaultError> {
        let page = index_page(id_tag);
        let key = self.page_key(page)?;
        let context = row_context(page, &(page.number, [0; 16]));
        // It cannot be opened, which is detected only after reading all of it.
        std::hint::black_box(seal::open(&key.key, &context, &[0; SEALED_INDEX_ROW_BYTES]).is_ok());
        Ok(())
    }

    /// What the vault stores about a holder.
    pub(super) fn open(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        let Some(people) = &self.people else {
            return Ok(None);
        };
        let Some(plain) = self.get(people, people_page(holder), &holder.0)? else {
            return Ok(None);
        };
        person::decode(&plain)
            .map(Some)
            .ok_or_else(|| VaultError::Damaged("a person's record has an unknown format".into()))
    }

    /// Every holder about whom the vault stores something, by page.
    pub(super) fn holders(&self) -> Result<Vec<HolderId>, VaultError> {
        let mut holders = Vec::new();
        let Some(people) = &self.people else {
            return Ok(holders);
        };
        let damaged = || VaultError::Damaged("a row does not open under its page's key".into());
        for row in people.iter().map_err(unavailable)? {
            let (row, sealed) = row.map_err(unavailable)?;
            let row = row.value();
            let page = Page {
                table: Table::People,
                number: row.0,
            };
            let key = self.page_key(page)?;
            let opened = seal::open(&key.key, &row_context(page, &row), sealed.value()).map_err(|_| damaged())?;
            let (name, _) = split_name(&opened).ok_or_else(damaged)?;
            holders.push(HolderId::from_slice(name).ok_or_else(damaged)?);
        }
        Ok(holders)
    }

    fn get(
        &self,
        table: &impl ReadableTable<Key, &'static [u8]>,
        page: Page,
        name: &[u8],
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, VaultError> {
        let key = self.page_key(page)?;
        let row = (page.number, row_tag(&key, name));
        let Some(sealed) = table.get(row).map_err(unavailable)? else {
            return Ok(None);
        };
        let damaged = || VaultError::Damaged("a row does not open under its page's key".into());
        let opened = seal::open(&key.key, &row_context(page, &row), sealed.value()).map_err(|_| damaged())?;
        let (stored, plain) = split_name(&opened).ok_or_else(damaged)?;
        if stored != name {
            return Err(damaged());
        }
        Ok(Some(zeroize::Zeroizing::new(plain.to_vec())))
    }

    /// The generation under which a page's rows are sealed.
    pub(super) fn generation(&self, page: Page) -> Result<u32, VaultError> {
        let Some(generations) = &self.generations else {
            return Ok(FIRST_GENERATION);
        };
        let known = generations.get((page.table as u8, page.number)).map_err(unavailable)?;
        Ok(known.map_or(FIRST_GENERATION, |generation| generation.value()))
    }

    pub(super) fn page_key(&self, page: Page) -> Result<PageKey, VaultError> {
        let generation = self.generation(page)?;
        let missing = || VaultError::Damaged(format!("the key of a page is missing (generation {generation})"));
        self.keys.key(page, generation).ok_or_else(missing)
    }
}

/// Prefixes a row's plain bytes with its name (`length:u8 name`), so that it can be sealed again under another
/// key, with which its tag differs.
pub(super) fn with_name(name: &[u8], plain: &[u8]) -> zeroize::Zeroizing<Vec<u8>> {
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(1 + name.len() + plain.len()));
    bytes.push(u8::try_from(name.len()).expect("names are 16 or 32 bytes"));
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(plain);
    bytes
}

pub(super) fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(length))
}

pub(super) fn index_page(id_tag: &[u8; 32]) -> Page {
    Page {
        table: Table::Index,
        number: u16::from_be_bytes([id_tag[0], id_tag[1]]) % PAGES,
    }
}

pub(super) fn people_page(holder: HolderId) -> Page {
    Page {
        table: Table::People,
        number: u16::from_be_bytes([holder.0[0], holder.0[1]]) % PAGES,
    }
}

pub(super) fn row_tag(key: &PageKey, name: &[u8]) -> [u8; 16] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.key.as_slice()), name);
    tag.as_ref()[..16].try_into().expect("16 of 32 bytes")
}

pub(super) fn row_context(page: Page, row: &Key) -> Vec<u8> {
    let mut context = b"citycode-vault-row-v1".to_vec();
    context.push(page.table as u8);
    context.extend_from_slice(&row.0.to_be_bytes());
    context.extend_from_slice(&row.1);
    context
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// R31: looking up an unknown person opens as many bytes as looking up a known one.
    #[test]
    fn r31_the_row_of_nobody_has_the_length_of_a_persons_row() {
        let row = with_name(&[1; 32], &[2; HolderId::LEN]);
        assert_eq!(
            seal::seal(&[3; 32], b"row", [4; 12], &row).len(),
            SEALED_INDEX_ROW_BYTES
        );
        assert_eq!(split_name(&row), Some((&[1; 32][..], &[2; HolderId::LEN][..])));
        for length in 0..=32 {
            assert_eq!(split_name(&row[..length]), None, "cut to {length}");
        }
    }

    /// R28: an erasure seals the rows of one page again, so that pages must stay small.
    #[test]
    fn r28_people_are_spread_over_all_pages() {
        let names = || (0..=u16::MAX).map(u16::to_be_bytes);
        let index: BTreeSet<u16> = names()
            .map(|first| {
                let mut tag = [0; 32];
                tag[..2].copy_from_slice(&first);
                index_page(&tag).number
            })
            .collect();
        let people: BTreeSet<u16> = names()
            .map(|first| {
                let mut holder = [0; HolderId::LEN];
                holder[..2].copy_from_slice(&first);
                people_page(HolderId(holder)).number
            })
            .collect();
        assert!(index.iter().copied().eq(0..PAGES) && people.iter().copied().eq(0..PAGES));
    }

    /// These bytes are never edited: rows of existing vaults are sealed with them. They bind a row to its place.
    #[test]
    fn golden_bytes_of_a_rows_context() {
        let page = Page {
            table: Table::People,
            number: 0x0102,
        };
        let golden = [b"citycode-vault-row-v1\x01\x01\x02".as_slice(), &[9; 16]].concat();
        assert_eq!(row_context(page, &(0x0102, [9; 16])), golden);
    }
}
