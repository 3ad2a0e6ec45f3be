//! What a copy of a vault says of itself, e.g. in a backup. It is only read, and no key is needed.

use std::path::Path;

use redb::ReadOnlyDatabase;

use super::{DATABASE_FILE, OpenForLogError, mark, rows};
use crate::log_binding;

/// Which vault a copy is of, and how new it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultCopy {
    /// The log that it belongs to; none where it does not say.
    pub log_id: Option<[u8; 16]>,
    /// Up to which sequence of each partition it is whole; none where it was never noted.
    pub whole_up_to: Option<Vec<u64>>,
}

impl VaultCopy {
    /// Whether a vault with this mark is as new as the copy, or newer.
    #[must_use]
    pub fn is_reached_by(&self, mark: Option<&[u64]>) -> bool {
        let Some(own) = &self.whole_up_to else {
            return true;
        };
        mark.is_some_and(|mark| mark.len() == own.len() && mark.iter().zip(own).all(|(mark, own)| mark >= own))
    }
}

/// Reads what the copy in `folder` says of itself.
///
/// # Errors
/// [`OpenForLogError`]: there is none, or it cannot be read.
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
    fn a_mark_reaches_a_copy_where_no_partition_is_behind() {
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
