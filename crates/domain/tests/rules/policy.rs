//! What the rules derive from a policy, on the shipped one.

use citycode_domain::ids::CodeKind;
use citycode_domain::policy::Policy;

use crate::holder::DAY;

fn shanghai() -> Policy {
    citycode_policy_file::parse(citycode_policy_file::SHANGHAI).expect("the shipped policy is valid")
}

#[test]
fn r01_a_kind_is_found_by_its_name_and_by_its_number() {
    let policy = shanghai();
    for name in ["live", "family", "sampling", "offline"] {
        let by_name = policy.kind_named(name).expect("a kind of Shanghai");
        let by_number = policy.kind(by_name.kind).expect("the same kind");
        assert_eq!(by_number.name, name);
    }
    assert_eq!(policy.kind(CodeKind::new(15).expect("a number of kinds")), None);
}

#[test]
fn r19_only_tokens_that_need_an_id_check_somewhere_carry_a_commitment() {
    let policy = shanghai();
    let needing = policy.kinds.iter().filter(|kind| policy.needs_id_commitment(kind.kind));
    let names: Vec<&str> = needing.map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["offline"]);
}

#[test]
fn r24_the_tightest_limit_is_that_of_the_strictest_place() {
    let mut policy = shanghai();
    assert_eq!(policy.tightest_knowledge_age_ms(), 10_000);
    policy.places.retain(|place| place.name == "sampling_desk");
    assert_eq!(policy.tightest_knowledge_age_ms(), 60_000);
}

#[test]
fn a_retired_key_must_verify_for_the_longest_validity() {
    let mut policy = shanghai();
    assert_eq!(policy.longest_validity_seconds(), 365 * DAY);
    policy.kinds.retain(|kind| kind.name == "sampling");
    assert_eq!(policy.longest_validity_seconds(), 30 * DAY);
}
