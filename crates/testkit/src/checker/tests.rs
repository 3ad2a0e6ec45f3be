//! Correct histories of any seed have no faults, and every kind of fault is detected in a history into which it is
//! inserted.

mod good;
mod planted;

use proptest::prelude::*;

use super::check;
use good::good;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_correct_history_has_no_fault(seed: u64) {
        prop_assert_eq!(check(&good(seed)), Vec::new());
    }
}

#[test]
fn correct_histories_contain_every_kind_of_answer_and_verdict() {
    let run = good(1);
    let all = |wanted: fn(&super::Answer) -> bool| {
        let answers = run.commands.iter().flat_map(|command| &command.attempts);
        answers.filter(|attempt| wanted(&attempt.answer)).count()
    };
    assert!(all(|answer| matches!(answer, super::Answer::Done { .. })) > 40);
    assert!(all(|answer| *answer == super::Answer::Unknown) > 3);
    assert!(all(|answer| *answer == super::Answer::NotDone) > 3);
    assert!(all(|answer| *answer == super::Answer::Refused) > 3);
    assert!(run.verdicts.iter().filter(|verdict| verdict.admitted).count() > 10);
    assert!(run.verdicts.iter().filter(|verdict| !verdict.admitted).count() > 10);
    assert_eq!(run.projections.len(), 2);
    let same = |seed| format!("{:?}", good(seed).commands);
    assert_eq!(same(7), same(7), "the same seed yields the same history");
}
