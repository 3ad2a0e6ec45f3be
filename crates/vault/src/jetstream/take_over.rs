//! Importing people from another vault of the same log: they keep their holder, key and personal data. Tokens
//! and reasons in the log stay sealed as they are and can still be opened.
//!
//! New officers' reasons about them are sealed under this vault's keys; earlier ones are sealed under the
//! holder's key.

use citycode_domain::ids::HolderId;

use super::{ERASED, JetStreamVault};
use crate::{PersonFile, Vault as _, VaultError, person};

/// The result of importing a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenOver {
    /// The person exists here under the same holder, since now or since an earlier run.
    Here,
    /// The holder was erased here and stays erased.
    Erased,
    /// The ID number leads to another holder, who was registered here in the meantime. Nothing was changed.
    OtherHolder,
}

impl JetStreamVault {
    /// Inserts a person who was registered in another vault. It is idempotent; a repeat completes what a crash
    /// left.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn take_over(&self, holder: HolderId, person: &PersonFile) -> Result<TakenOver, VaultError> {
        let record = self.pages.entry(self.people_page(holder)?, &holder.0).await?;
        if record.is_some_and(|record| record.as_slice() == ERASED) {
            return Ok(TakenOver::Erased);
        }
        let tag = self.id_tag(&person.id_number);
        let found = self.find_or_insert_index(&tag, holder, None).await?;
        if found.holder != holder {
            return Ok(TakenOver::OtherHolder);
        }
        let there = self.complete(found, || person::encode_again(person, &tag)).await?;
        Ok(if there { TakenOver::Here } else { TakenOver::Erased })
    }

    /// Resets the mark, so that erasures of the log are applied again from its start: imported people may have
    /// been erased since. An issuer applies them before it serves requests, and a running one at its next
    /// snapshot.
    ///
    /// # Errors
    /// [`VaultError`]; nothing was changed.
    pub async fn forget_mark(&self) -> Result<(), VaultError> {
        while let Some(mark) = self.erased_up_to().await? {
            let beginning = vec![0; mark.len()];
            if self.note_erased_up_to(Some(&mark), &beginning).await? {
                break;
            }
        }
        Ok(())
    }
}
