//! Rotation of the master key: every page is rewritten under keys of the new one.
//!
//! Services continue during a rotation if each has both keys: pages under either key are decrypted, and a page
//! is written under the key that it has. Pages that were never written are written empty, so that no service
//! with both keys creates one under the old key behind the rotation. A crash leaves pages under either key;
//! repeating the rotation checks each page and continues.

use futures::StreamExt as _;
use futures::stream;
use zeroize::Zeroizing;

use super::page_id::{PageId, Table};
use super::pages::Page;
use super::{JetStreamVault, holder_in};
use crate::VaultError;

/// Limit of concurrent pages: more than one server's responses need, and little compared with a city's normal
/// load.
const AT_ONCE: usize = 16;

impl JetStreamVault {
    /// Rewrites every page under the newest key with which this vault was opened, and overwrites the earlier
    /// versions. `progress` is called once per page, of which there may be thousands. When it returns, nothing
    /// in the vault can be decrypted with the older key. Repeating it continues. Returns the number of pages
    /// rewritten.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn rotate(&self, progress: impl Fn() + Send + Sync) -> Result<u64, VaultError> {
        let mut pages = stream::iter(self.pages.all())
            .map(async |id| self.rotate_page(id).await)
            .buffer_unordered(AT_ONCE);
        let mut written = 0;
        while let Some(rewritten) = pages.next().await {
            written += u64::from(rewritten?);
            progress();
        }
        Ok(written)
    }

    /// The number of possible pages, for each of which [`Self::rotate`] calls `progress` once.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages.all().count() as u64
    }

    async fn rotate_page(&self, id: PageId) -> Result<bool, VaultError> {
        let newest = self.pages.keys().newest(id.table).map(|key| key.id);
        let rewrite = |page: &mut Page| {
            let due = page.revision == 0 || page.under != newest;
            if !due || id.table != Table::Index {
                return (due, Ok(()));
            }
            let completed = page.entries.complete(|entry| {
                let holder = holder_in(entry)?;
                let salt = self.random_key();
                // Entries of format 1 had no salt.
                let whole = [holder.0.as_slice(), salt.as_slice()].concat();
                Ok((entry.len() == holder.0.len()).then(|| Zeroizing::new(whole)))
            });
            (completed.is_ok(), completed)
        };
        let is_page = matches!(id.name, super::PageName::Number(_));
        let keep_entries = |page: &mut Page| (page.revision == 0 || page.under != newest, Ok(()));
        let (outcome, superseded) = if is_page {
            self.change_page(id, true, rewrite).await?
        } else {
            self.change_page(id, true, keep_entries).await?
        };
        outcome?;
        // A crash here leaves the old version, which the next rotation and every sweep overwrite.
        self.pages.overwrite_all_but_last(id).await?;
        Ok(superseded.is_some())
    }
}
