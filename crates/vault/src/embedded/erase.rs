//! Destroying the data that identify a person, and completing this after a crash.
//!
//! For each of the person's two pages: (1) a key of the next generation is made durable; (2) one transaction
//! removes the person's row (or replaces it, if only a name is destroyed), seals every other row of the page
//! again, and records the new generation; (3) the old key is overwritten. A crash after (1) leaves two keys and
//! the old generation: the new key is destroyed, as if nothing had happened. A crash after (2) leaves two keys
//! and the new generation: the old key is destroyed. [`Core::finish_interrupted`] recovers both at the next
//! start. The follower of the log repeats the erasure itself, because the event precedes it.

use citycode_domain::ids::HolderId;
use redb::{ReadableDatabase, ReadableTable};

use super::Core;
use super::rows::{self, Key, Rows};
use crate::names::NameStep;
use crate::page_keys::{Page, PageKey};
use crate::{NameApplied, VaultError, seal};

impl Core {
    pub(super) fn erase(&self, holder: HolderId) -> Result<(), VaultError> {
        let Some(person) = self.open_person(holder)? else {
            return Ok(());
        };
        // The index row is removed first: afterwards the ID number no longer leads to the holder, and a repeat
        // of this call, which starts from the holder, still finds the rest.
        self.rekey(rows::index_page(&person.id_tag), &person.id_tag, None)?;
        self.rekey(rows::people_page(holder), &holder.0, None)
    }

    /// One step of correcting a name. A staged name is stored under the page's present key. A step that removes
    /// names replaces the page's key, so that the remains of the old row in freed parts of the file cannot be
    /// decrypted.
    pub(super) fn rename(&self, holder: HolderId, step: &NameStep) -> Result<NameApplied, VaultError> {
        let Some(mut person) = self.open_person(holder)? else {
            return Ok(NameApplied::NoPerson);
        };
        let (changed, outcome) = step.take(&mut person);
        if !changed {
            return Ok(outcome);
        }
        let page = rows::people_page(holder);
        let record = crate::person::encode_again(&person, &person.id_tag);
        if step.destroys() {
            self.rekey(page, &holder.0, Some(&record))?;
        } else {
            let keys = self.keys.read();
            let transaction = self.database.begin_write().map_err(rows::unavailable)?;
            Rows::writing(&transaction, &keys)?.put(page, &holder.0, &record, &self.random)?;
            transaction.commit().map_err(rows::unavailable)?;
        }
        Ok(outcome)
    }

    /// Refuses a vault that was created under another master key, before anything is written to it.
    pub(super) fn check_master(&self) -> Result<(), VaultError> {
        let transaction = self.database.begin_read().map_err(rows::unavailable)?;
        let keys = self.keys.read();
        let tables = Rows::reading(&transaction, &keys)?;
        let Some(people) = &tables.people else {
            return Ok(());
        };
        let Some((row, sealed)) = people.first().map_err(rows::unavailable)? else {
            return Ok(());
        };
        let row = row.value();
        let page = Page {
            table: crate::page_keys::Table::People,
            number: row.0,
        };
        let key = tables.page_key(page)?;
        let other = |_| VaultError::Damaged("it was created under another master key".into());
        seal::open(&key.key, &rows::row_context(page, &row), sealed.value())
            .map(drop)
            .map_err(other)
    }

    pub(super) fn finish_interrupted(&self) -> Result<(), VaultError> {
        let mut keys = self.keys.write();
        for (page, older, newer) in keys.interrupted() {
            let generation = {
                let transaction = self.database.begin_read().map_err(rows::unavailable)?;
                Rows::reading(&transaction, &keys)?.generation(page)?
            };
            keys.destroy(page, if generation == newer { older } else { newer })?;
        }
        Ok(())
    }

    /// Replaces a page's key and destroys the old one; the row of `name` is removed, or replaced by `record`.
    fn rekey(&self, page: Page, name: &[u8], record: Option<&[u8]>) -> Result<(), VaultError> {
        let mut keys = self.keys.write();
        let old_generation = {
            let transaction = self.database.begin_read().map_err(rows::unavailable)?;
            Rows::reading(&transaction, &keys)?.generation(page)?
        };
        let new_generation = old_generation
            .checked_add(1)
            .ok_or_else(|| VaultError::Damaged("the generations of a page key are exhausted".into()))?;
        keys.add(page, new_generation, &self.random)?;
        let gone = || VaultError::Damaged("a page key is missing".into());
        let old = keys.key(page, old_generation).ok_or_else(gone)?;
        let new = keys.key(page, new_generation).ok_or_else(gone)?;
        let transaction = self.database.begin_write().map_err(rows::unavailable)?;
        {
            let mut tables = Rows::writing(&transaction, &keys)?;
            self.reseal(&mut tables, page, &old, &new, (name, record))?;
            let generations = tables
                .generations
                .as_mut()
                .expect("a writing transaction opens every table");
            generations
                .insert((page.table as u8, page.number), new_generation)
                .map_err(rows::unavailable)?;
        }
        transaction.commit().map_err(rows::unavailable)?;
        keys.destroy(page, old_generation)
    }

    /// Seals every row of a page under the new key; the changed row is removed, or replaced by the record.
    fn reseal(
        &self,
        tables: &mut rows::WriteRows<'_, '_>,
        page: Page,
        old: &PageKey,
        new: &PageKey,
        (changed, record): (&[u8], Option<&[u8]>),
    ) -> Result<(), VaultError> {
        let table = tables.table(page.table);
        let changed_row = rows::row_tag(old, changed);
        let mut record = record.map(|record| rows::with_name(changed, record));
        let whole_page = (page.number, [0u8; 16])..=(page.number, [0xFF; 16]);
        let sealed: Vec<(Key, Vec<u8>)> = table
            .range(whole_page)
            .map_err(rows::unavailable)?
            .map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())))
            .collect::<Result<_, _>>()
            .map_err(rows::unavailable)?;
        for (row, bytes) in sealed {
            table.remove(row).map_err(rows::unavailable)?;
            let opened = if row.1 == changed_row {
                match record.take() {
                    Some(record) => record,
                    None => continue,
                }
            } else {
                seal::open(&old.key, &rows::row_context(page, &row), &bytes)
                    .map_err(|_| VaultError::Damaged("a row does not open under its page's key".into()))?
            };
            let (name, _) =
                rows::split_name(&opened).ok_or_else(|| VaultError::Damaged("a row without its name".into()))?;
            let row = (page.number, rows::row_tag(new, name));
            let mut nonce = [0u8; 12];
            (self.random)(&mut nonce);
            let bytes = seal::seal(&new.key, &rows::row_context(page, &row), nonce, &opened);
            table.insert(row, bytes.as_slice()).map_err(rows::unavailable)?;
        }
        Ok(())
    }
}
