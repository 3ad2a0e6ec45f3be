//! Another master key in the place of the one that was: every page is written anew under keys of the new one.
//!
//! Services go on meanwhile, if each was given both keys: what stands under either is opened, and a page is written under
//! the key that it stands under. Pages that were never written are written empty, so that nobody who still has two keys
//! puts something under the old one behind the back of this. What a crash leaves is pages under either; doing it again
//! looks at each and goes on.

use futures::StreamExt as _;
use futures::stream;
use zeroize::Zeroizing;

use super::pages::{Page, PageId, Table};
use super::{JetStreamVault, holder_in};
use crate::VaultError;

/// Pages under way at once: more than one server's answers take, and no burden beside a city's own work.
const AT_ONCE: usize = 16;

impl JetStreamVault {
    /// Writes every page under the newest key that this vault was opened with, and overwrites what stood under another;
    /// `tell` is called once for each page, which may be many thousand. Once it returns nothing that stands in the vault
    /// opens with the older key. Doing it again goes on where it was. How many pages were written anew.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn rotate(&self, tell: impl Fn() + Send + Sync) -> Result<u64, VaultError> {
        let mut pages = stream::iter(self.pages.all())
            .map(async |id| self.rotate_page(id).await)
            .buffer_unordered(AT_ONCE);
        let mut written = 0;
        while let Some(anew) = pages.next().await {
            written += u64::from(anew?);
            tell();
        }
        Ok(written)
    }

    /// How many pages there may be: as many as [`Self::rotate`] tells of.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages.all().count() as u64
    }

    async fn rotate_page(&self, id: PageId) -> Result<bool, VaultError> {
        let newest = self.pages.keys().newest(id.table).map(|key| key.id);
        let anew = |page: &mut Page| {
            let due = page.revision == 0 || page.under != newest;
            if !due || id.table != Table::Index {
                return (due, Ok(()));
            }
            let completed = page.entries.complete(|entry| {
                let holder = holder_in(entry)?;
                let salt = self.random_key();
                // Of format 1, which had none.
                let whole = [holder.0.as_slice(), salt.as_slice()].concat();
                Ok((entry.len() == holder.0.len()).then(|| Zeroizing::new(whole)))
            });
            (completed.is_ok(), completed)
        };
        let is_page = matches!(id.name, super::PageName::Number(_));
        let as_it_is = |page: &mut Page| (page.revision == 0 || page.under != newest, Ok(()));
        let (outcome, superseded) = if is_page {
            self.change_page(id, true, anew).await?
        } else {
            self.change_page(id, true, as_it_is).await?
        };
        outcome?;
        // A crash here leaves the old version, which the next rotation and every sweep overwrite.
        self.pages.forget_all_but_last(id).await?;
        Ok(superseded.is_some())
    }
}
