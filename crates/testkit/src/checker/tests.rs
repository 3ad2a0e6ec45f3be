//! Good histories pass, whatever their seed; of every kind of fault one is planted, and each is found by its name.

mod good;
mod planted;

use proptest::prelude::*;

use super::check;
use good::good;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_good_history_has_no_fault(seed: u64) {
        prop_assert_eq!(check(&good(seed)), Vec::new());
    }
}

#[test]
fn good_histories_are_rich_enough_to_be_spoilt_in_every_way() {
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
    assert_eq!(same(7), same(7), "the same seed is the same history");
}
