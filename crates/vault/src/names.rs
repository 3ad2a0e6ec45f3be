//! Corrections of a person's name, as stored in the person's record.
//!
//! A correction has three steps: the new name is staged beside the present one, the change is appended to the
//! log, and then the staged name replaces the present one, which is destroyed. So a crash in between never
//! leaves a change in the log without its name, nor a name in use without its change in the log.
//!
//! Names are staged in the order in which the log contains their changes: a writer whose append conflicts with
//! another change stages its name again at the end. So applying one change removes the names that were staged
//! before it: their changes are either not in the log or earlier in it.

use citycode_domain::ids::NameChangeId;
use citycode_domain::name::PersonName;
use zeroize::Zeroizing;

use crate::PersonFile;

/// Limit of staged names per person. Beyond it the oldest is removed: so many exist only if writers crashed
/// between staging and the append.
const MAX_STAGED: usize = 8;
/// Number of changes that a record remembers, so that a repeated change is distinguished from an unknown one.
const MAX_APPLIED: usize = 16;

/// The result of applying a change of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameApplied {
    /// The name is that of this change or of a later one.
    Applied,
    /// The vault stores nothing about the holder, or no longer.
    NoPerson,
    /// The record does not contain this change: it comes from an earlier backup.
    NotStaged,
}

/// The changes of one person's name.
#[derive(Default, Clone)]
pub(crate) struct Names {
    /// Changes that were applied or superseded, oldest first.
    pub(crate) applied: Vec<NameChangeId>,
    /// Changes whose position in the log is unknown, in the order of staging.
    pub(crate) staged: Vec<(NameChangeId, Zeroizing<String>)>,
}

/// One step of a change, for both engines.
pub(crate) enum NameStep {
    Stage(NameChangeId, PersonName),
    Apply(NameChangeId),
    Discard(NameChangeId),
}

impl NameStep {
    /// Whether the step removes names, whose earlier bytes must then be destroyed.
    pub(crate) fn destroys(&self) -> bool {
        !matches!(self, Self::Stage(..))
    }

    /// Applies the step to a record; returns whether the record changed, and the result.
    pub(crate) fn take(&self, person: &mut PersonFile) -> (bool, NameApplied) {
        let at = |names: &Names, change| names.staged.iter().position(|(staged, _)| *staged == change);
        let names = &mut person.names;
        match self {
            Self::Stage(change, name) => {
                names.staged.retain(|(staged, _)| staged != change);
                if names.staged.len() >= MAX_STAGED {
                    names.staged.remove(0);
                }
                names.staged.push((*change, Zeroizing::new(name.as_str().to_owned())));
                (true, NameApplied::Applied)
            }
            Self::Apply(change) => {
                let Some(at) = at(names, *change) else {
                    let known = names.applied.contains(change);
                    return (
                        false,
                        if known {
                            NameApplied::Applied
                        } else {
                            NameApplied::NotStaged
                        },
                    );
                };
                for (change, name) in names.staged.drain(..=at) {
                    names.applied.push(change);
                    person.name = name;
                }
                let excess = names.applied.len().saturating_sub(MAX_APPLIED);
                names.applied.drain(..excess);
                (true, NameApplied::Applied)
            }
            Self::Discard(change) => {
                let there = at(names, *change).map(|at| names.staged.remove(at)).is_some();
                (there, NameApplied::Applied)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::HolderKey;

    fn person() -> PersonFile {
        PersonFile {
            id_number: Zeroizing::new([b'1'; 18]),
            name: Zeroizing::new("张三".to_owned()),
            disability: true,
            group: Some("veteran".to_owned()),
            key: HolderKey::new([3; 32]),
            id_tag: [4; 32],
            names: Names::default(),
        }
    }

    fn stage(person: &mut PersonFile, change: u8, name: &str) {
        let name = PersonName::parse(name).expect("a name");
        assert!(NameStep::Stage(NameChangeId([change; 16]), name).take(person).0);
    }

    fn apply(person: &mut PersonFile, change: u8) -> (bool, NameApplied) {
        NameStep::Apply(NameChangeId([change; 16])).take(person)
    }

    #[test]
    fn changes_applied_out_of_order_leave_the_last_name() {
        let mut person = person();
        stage(&mut person, 1, "张一");
        stage(&mut person, 2, "张二");
        assert_eq!(*person.name, "张三", "staging changes nothing");
        assert_eq!(apply(&mut person, 2), (true, NameApplied::Applied));
        assert_eq!(apply(&mut person, 1), (false, NameApplied::Applied));
        assert_eq!(*person.name, "张二");
        assert!(person.names.staged.is_empty());
        assert_eq!(apply(&mut person, 9), (false, NameApplied::NotStaged));
    }

    #[test]
    fn a_name_that_is_staged_again_survives_an_earlier_change() {
        let mut person = person();
        stage(&mut person, 1, "张一");
        stage(&mut person, 2, "张二");
        // The log contains change 2 first, so the append of change 1 was refused.
        stage(&mut person, 1, "张一");
        assert_eq!(apply(&mut person, 2), (true, NameApplied::Applied));
        assert_eq!(*person.name, "张二");
        assert_eq!(apply(&mut person, 1), (true, NameApplied::Applied));
        assert_eq!(*person.name, "张一");
        assert_eq!(person.named_by(), Some(NameChangeId([1; 16])));
    }

    #[test]
    fn a_discarded_name_is_removed_and_the_record_is_bounded() {
        let mut person = person();
        stage(&mut person, 1, "张一");
        let discard = NameStep::Discard(NameChangeId([1; 16]));
        assert!(discard.take(&mut person).0 && !discard.take(&mut person).0);
        assert_eq!(apply(&mut person, 1), (false, NameApplied::NotStaged));
        for change in 0..40 {
            stage(&mut person, change, "张一");
        }
        assert_eq!(person.names.staged.len(), MAX_STAGED);
        for change in 32..40 {
            assert_eq!(apply(&mut person, change).1, NameApplied::Applied);
        }
        for change in 40..80 {
            stage(&mut person, change, "张二");
            assert_eq!(apply(&mut person, change), (true, NameApplied::Applied));
        }
        assert_eq!(person.names.applied.len(), MAX_APPLIED);
        let bytes = crate::person::encode_again(&person, &[4; 32]);
        let read = crate::person::decode(&bytes).expect("a record");
        assert_eq!((read.names.applied.len(), read.name.as_str()), (MAX_APPLIED, "张二"));
    }

    /// A buffer that grows leaves copies of the key and the person's data that are not wiped.
    #[test]
    fn r28_a_record_is_allocated_in_one_piece() {
        let mut person = person();
        for group in [None, Some("veteran".to_owned())] {
            person.group = group;
            let bytes = crate::person::encode_again(&person, &[4; 32]);
            assert_eq!(bytes.capacity(), bytes.len());
        }
        for change in 0..9 {
            stage(&mut person, change, "买买提·艾力");
            apply(&mut person, change / 2);
            let bytes = crate::person::encode_again(&person, &[4; 32]);
            assert_eq!(bytes.capacity(), bytes.len(), "after change {change}");
        }
    }

    #[test]
    fn a_record_with_changes_is_version_2_and_one_without_stays_version_1() {
        let mut person = person();
        assert_eq!(crate::person::encode_again(&person, &[4; 32])[0], 1);
        stage(&mut person, 1, "张一");
        apply(&mut person, 1);
        stage(&mut person, 2, "张二");
        let bytes = crate::person::encode_again(&person, &[4; 32]);
        assert_eq!(bytes[0], 2);
        let read = crate::person::decode(&bytes).expect("a record");
        assert_eq!(read.name.as_str(), "张一");
        assert_eq!(read.group.as_deref(), Some("veteran"));
        assert_eq!(read.named_by(), Some(NameChangeId([1; 16])));
        assert_eq!(read.names.staged, person.names.staged);
        for length in 0..bytes.len() {
            assert!(
                crate::person::decode(&bytes[..length]).is_none(),
                "truncated at {length}"
            );
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(crate::person::decode(&longer).is_none());
    }
}
