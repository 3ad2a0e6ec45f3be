//! People of another vault of the same log are taken over: the same holder, the same key, the same personal data. What the
//! log has of them, tokens and reasons, stays sealed as it is and opens as before.
//!
//! New officers' reasons about them are sealed as this vault does it; those of before stand under the holder's key.

use citycode_domain::ids::HolderId;

use super::{ERASED, JetStreamVault};
use crate::{PersonFile, Vault as _, VaultError, person};

/// What came of taking a person over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenOver {
    /// The person stands here under the same holder: since now, or since an earlier run.
    Here,
    /// The holder was erased here, and stays so.
    Erased,
    /// The ID number leads to another holder here, who was registered here meanwhile. Nothing was changed.
    OtherHolder,
}

impl JetStreamVault {
    /// Puts a person in who was registered in another vault. Doing it again changes nothing; a crash in between leaves
    /// what the repeat completes.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn take_over(&self, holder: HolderId, person: &PersonFile) -> Result<TakenOver, VaultError> {
        let record = self.pages.entry(self.people_page(holder)?, &holder.0).await?;
        if record.is_some_and(|record| record.as_slice() == ERASED) {
            return Ok(TakenOver::Erased);
        }
        let tag = self.id_tag(&person.id_number);
        let found = self.settle_index(&tag, holder, None).await?;
        if found.holder != holder {
            return Ok(TakenOver::OtherHolder);
        }
        let there = self.complete(found, || person::encode_again(person, &tag)).await?;
        Ok(if there { TakenOver::Here } else { TakenOver::Erased })
    }

    /// Says that erasures of the log are to be applied again from its beginning: what was taken over may have people in it
    /// whom the log calls erased since. An issuer does it before it serves anybody, and a running one at its next snapshot.
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
