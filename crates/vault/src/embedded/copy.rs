//! Reading the identity and age of a copy of a vault, e.g. in a backup. No key is needed.

use std::path::Path;

use redb::ReadOnlyDatabase;

use super::{DATABASE_FILE, OpenForLogError, mark, rows};
use crate::log_binding;

/// The identity and age of a copy of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultCopy {
    /// The log to which it belongs; `None` if it does not record one.
    pub log_id: Option<[u8; 16]>,
    /// The sequence of each partition up to which it is complete; `None` if that was never recorded.
    pub whole_up_to: Option<Vec<u64>>,
}

impl VaultCopy {
    /// Whether a vault with this mark is at least as new as the copy.
    #[must_use]
    pub fn is_reached_by(&self, mark: Option<&[u64]>) -> bool {
        let Some(own) = &self.whole_up_to else {
            return true;
        };
        mark.is_some_and(|mark| mark.len() == own.len() && mark.iter().zip(own).all(|(mark, own)| mark >= own))
    }
}

/// Reads the identity and age of the copy in `folder`.
///
/// # Errors
/// [`OpenForLogError`] if there is no copy, or it cannot be read.
pub fn copy_of(folder: &Path) -> Result<VaultCopy, OpenForLogError> {
    let path = folder.join(DATABASE_FILE);
    log_binding::require(&path)?;
    let database = ReadOnlyDatabase::open(&path).map_err(rows::unavailable)?;
    Ok(VaultCopy {
        log_id: log_binding::read(&database)?,
        whole_up_to: mark::read(&database)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reaches_a_copy_if_no_partition_is_behind() {
        let copy = |whole_up_to| VaultCopy {
            log_id: None,
            whole_up_to,
        };
        let marked = copy(Some(vec![3, 5]));
        assert!(marked.is_reached_by(Some(&[3, 5])) && marked.is_reached_by(Some(&[4, 9])));
        for behind in [None, Some(&[9, 4][..]), Some(&[2, 9][..]), Some(&[3][..])] {
            assert!(!marked.is_reached_by(behind), "{behind:?}");
        }
        assert!(copy(None).is_reached_by(None));
    }
}
