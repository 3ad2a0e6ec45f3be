//! Correcting a name: the person's page is rewritten, and its earlier versions are overwritten on the servers'
//! disks.

use citycode_domain::ids::HolderId;

use super::pages::Entries;
use super::{ERASED, JetStreamVault};
use crate::names::NameStep;
use crate::{NameApplied, VaultError, person};

impl JetStreamVault {
    /// One step of correcting a name. A step that removes names is complete only when no server has earlier
    /// versions of the page. A crash before that leaves them to the repeat of the step, to the page's next
    /// erasure, or to the sweep at each opening.
    pub(super) async fn rename(&self, holder: HolderId, step: &NameStep) -> Result<NameApplied, VaultError> {
        let page = self.people_page(holder)?;
        let take = |entries: &mut Entries| {
            let Some(record) = entries.get(&holder.0).filter(|record| *record != ERASED) else {
                return (false, Ok(NameApplied::NoPerson));
            };
            let Some(mut person) = person::decode(record) else {
                return (false, Err(VaultError::Damaged("a record has an unknown format".into())));
            };
            let (changed, outcome) = step.take(&mut person);
            if changed {
                let record = person::encode_again(&person, &person.id_tag);
                entries.remove(&holder.0);
                entries.insert(&holder.0, &record);
            }
            (changed, Ok(outcome))
        };
        let (outcome, superseded) = self.change(page, take).await?;
        let outcome = outcome?;
        if step.destroys() {
            self.pages.overwrite_all_but_last(page).await?;
        } else {
            self.overwrite_superseded(superseded).await;
        }
        Ok(outcome)
    }
}
