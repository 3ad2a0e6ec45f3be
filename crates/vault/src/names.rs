//! Corrections of a person's name, as the person's record keeps them.
//!
//! A correction is made in three steps: the new name is staged beside the present one, the log takes the change, and
//! then the staged name takes the place of the present one, which is destroyed. So a crash in between never leaves a
//! change in the log whose name is nowhere, and never a name of which the log does not know.
//!
//! The order in which names are staged is the order in which the log takes their changes: a writer whose append is
//! refused, because another change came first, stages its name again, behind. So applying one change drops what was
//! staged before it: either it never came into the log, or it stands there earlier.

use citycode_domain::ids::NameChangeId;
use citycode_domain::name::PersonName;
use zeroize::Zeroizing;

use crate::PersonFile;

/// The most names that are staged for one person at a time. Beyond it the oldest is dropped: so many are under way only
/// where writers crashed between staging and the log.
const MAX_STAGED: usize = 8;
/// How many changes a record remembers, so that repeating one is told from one that was never heard of.
const MAX_APPLIED: usize = 16;

/// What became of a change of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameApplied {
    /// The name is the one of this change or of a later one.
    Applied,
    /// Nothing is kept of the holder (any more).
    NoPerson,
    /// The record has never heard of this change: it comes from a backup that was made before.
    NotStaged,
}

/// The changes of one person's name.
#[derive(Default, Clone)]
pub(crate) struct Names {
    /// Those that were applied or overtaken, oldest first.
    pub(crate) applied: Vec<NameChangeId>,
    /// Those whose place in the log is not known, in the order of staging.
    pub(crate) staged: Vec<(NameChangeId, Zeroizing<String>)>,
}

/// One step of a change, for either engine.
pub(crate) enum NameStep {
    Stage(NameChangeId, PersonName),
    Apply(NameChangeId),
    Discard(NameChangeId),
}

impl NameStep {
    /// Whether names are taken away, whose earlier bytes are then to be destroyed.
    pub(crate) fn destroys(&self) -> bool {
        !matches!(self, Self::Stage(..))
    }

    /// Takes the step on a record: whether it changed, and what became of the change.
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
                let forgotten = names.applied.len().saturating_sub(MAX_APPLIED);
                names.applied.drain(..forgotten);
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
    fn changes_that_are_applied_in_another_order_than_the_logs_leave_the_last_name() {
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
    fn what_is_staged_again_stands_behind_and_survives_the_change_that_came_first() {
        let mut person = person();
        stage(&mut person, 1, "张一");
        stage(&mut person, 2, "张二");
        // The log took change 2 first, and so refused the append of change 1.
        stage(&mut person, 1, "张一");
        assert_eq!(apply(&mut person, 2), (true, NameApplied::Applied));
        assert_eq!(*person.name, "张二");
        assert_eq!(apply(&mut person, 1), (true, NameApplied::Applied));
        assert_eq!(*person.name, "张一");
        assert_eq!(person.named_by(), Some(NameChangeId([1; 16])));
    }

    #[test]
    fn a_discarded_name_is_gone_and_what_is_kept_is_bounded() {
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
            assert!(crate::person::decode(&bytes[..length]).is_none(), "cut at {length}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(crate::person::decode(&longer).is_none());
    }
}
