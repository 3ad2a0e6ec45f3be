//! Tests that the shipped policies agree with the rules.

use citycode_domain::policy::{Acceptance, ChannelAct, EligibilityRule, GuardianPolicy, Policy};
use citycode_domain::time::Timestamp;
use citycode_policy_file::{CAMPUS, SHANGHAI, local_date, parse};
use jiff::civil::date;

fn shanghai() -> Policy {
    parse(SHANGHAI).expect("the shipped policy is valid")
}

#[test]
fn shanghai_has_the_kinds_of_the_rules() {
    let policy = shanghai();
    let day = 86_400;
    let family = policy.kind_named("family").expect("a kind").kind;
    let table = [
        ("live", 1, 365 * day, true, false, GuardianPolicy::HolderOnly),
        ("family", 2, 365 * day, true, false, GuardianPolicy::PerGuardian),
        (
            "sampling",
            3,
            30 * day,
            false,
            false,
            GuardianPolicy::WithValidCode(family),
        ),
        ("offline", 4, 180 * day, false, true, GuardianPolicy::WithRelationship),
    ];
    assert_eq!(policy.kinds.len(), table.len());
    for (kind, (name, number, validity, device_bound, on_paper, guardian)) in policy.kinds.iter().zip(table) {
        assert_eq!(kind.name, name, "the order of the file is kept");
        assert_eq!(kind.kind.number(), number, "{name}");
        assert_eq!(kind.validity_seconds, validity, "{name}");
        assert_eq!(kind.device_bound, device_bound, "{name}");
        assert_eq!(kind.on_paper, on_paper, "{name}");
        assert_eq!(kind.guardian, guardian, "{name}");
    }
    assert_eq!(
        policy.kind_named("offline").expect("a kind").eligibility,
        [
            EligibilityRule::Under(18),
            EligibilityRule::From(60),
            EligibilityRule::Disability,
            EligibilityRule::Group,
        ]
    );
    assert_eq!(policy.proof.max_age_seconds, 60);
    assert_eq!(policy.proof.max_ahead_seconds, 5);
}

#[test]
fn shanghai_accepts_at_each_place_what_the_rules_say() {
    let policy = shanghai();
    let admit = Some(Acceptance::Admit);
    let after = Some(Acceptance::AfterIdCheck);
    // live, family, sampling, offline; id card, standing, freshness, registers
    let table = [
        ("sentinel", [admit, admit, None, None], true, true, 10_000, false),
        ("staffed", [admit, admit, None, after], true, true, 10_000, false),
        ("sampling_desk", [admit, admit, admit, admit], true, false, 60_000, true),
    ];
    assert_eq!(policy.places.len(), table.len());
    for (name, accepts, id_card, standing, age_ms, registers) in table {
        let place = policy.place(name).expect("a place");
        for (kind, acceptance) in policy.kinds.iter().zip(accepts) {
            assert_eq!(place.acceptance(kind.kind), acceptance, "{name} {}", kind.name);
        }
        assert_eq!(place.accepts_id_card, id_card, "{name}");
        assert_eq!(place.standing_counts, standing, "{name}");
        assert_eq!(place.max_knowledge_age_ms, age_ms, "{name}");
        assert_eq!(place.registers, registers, "{name}");
    }
}

/// Uncomments the lines of the policy file that show how to require assertions.
#[test]
fn uncommenting_the_assertion_lines_requires_assertions_of_app_and_terminals() {
    let mut asking = shanghai();
    assert!(asking.channels.iter().all(|channel| !channel.needs_assertion));
    for channel in &mut asking.channels {
        channel.needs_assertion = ["app", "kiosk", "bank_kiosk"].contains(&channel.name.as_str());
    }
    let uncommented = SHANGHAI.replace("\n# needs_assertion = true\n", "\nneeds_assertion = true\n");
    assert_eq!(parse(&uncommented).expect("still a policy"), asking);
}

#[test]
fn shanghai_lets_each_channel_do_what_the_rules_say() {
    use ChannelAct::{Issue, Reissue, ReportLoss, Reprint};
    let policy = shanghai();
    let three: &[ChannelAct] = &[Issue, Reissue, ReportLoss];
    let four: &[ChannelAct] = &[Issue, Reissue, ReportLoss, Reprint];
    let table: [(&str, [&[ChannelAct]; 4], bool); 5] = [
        ("app", [three, three, four, &[]], false),
        ("kiosk", [&[], &[], &[], three], true),
        ("bank_kiosk", [&[], &[], &[], three], true),
        ("pc", [&[], &[], &[], four], false),
        ("counter", [&[], &[], &[], &[]], true),
    ];
    assert_eq!(policy.channels.len(), table.len());
    for (name, acts, attests) in table {
        let channel = policy.channel(name).expect("a channel");
        for (kind, allowed) in policy.kinds.iter().zip(acts) {
            for act in four {
                assert_eq!(
                    channel.may(*act, kind.kind),
                    allowed.contains(act),
                    "{name} {} {act:?}",
                    kind.name
                );
            }
        }
        assert_eq!(channel.attests, attests, "{name}");
    }
}

#[test]
fn the_campus_policy_differs_in_kinds_and_places() {
    let policy = parse(CAMPUS).expect("the shipped policy is valid");
    assert!(policy.places.iter().all(|place| !place.standing_counts));
    assert_ne!(policy.time_zone, shanghai().time_zone);
    for kind in &policy.kinds {
        assert!(shanghai().kind_named(&kind.name).is_none(), "{}", kind.name);
        let used = policy.places.iter().any(|place| place.acceptance(kind.kind).is_some());
        let issued = policy
            .channels
            .iter()
            .any(|channel| channel.may(ChannelAct::Issue, kind.kind));
        assert!(used && issued, "{} is issued somewhere and admits somewhere", kind.name);
    }
}

#[test]
fn r12_the_date_is_that_of_the_policy_s_zone() {
    // 2022-08-31T15:59:59Z is the last second of that day in Shanghai (UTC+8).
    let last = Timestamp(1_661_961_599);
    let policy = shanghai();
    assert_eq!(local_date(&policy, last), date(2022, 8, 31));
    assert_eq!(local_date(&policy, last.plus_seconds(1)), date(2022, 9, 1));
    // Zurich has summer time: 22:00Z in August, 23:00Z in December.
    let campus = parse(CAMPUS).expect("the shipped policy is valid");
    assert_eq!(local_date(&campus, Timestamp(1_661_983_199)), date(2022, 8, 31));
    assert_eq!(local_date(&campus, Timestamp(1_661_983_200)), date(2022, 9, 1));
    assert_eq!(local_date(&campus, Timestamp(1_672_527_599)), date(2022, 12, 31));
    assert_eq!(local_date(&campus, Timestamp(1_672_527_600)), date(2023, 1, 1));
    // The ends of the time range yield dates, not panics.
    let _ = local_date(&policy, Timestamp(i64::MIN));
    let _ = local_date(&policy, Timestamp(i64::MAX));
}

#[test]
fn retention_is_optional_and_at_least_a_day() {
    let with = |section: &str| parse(&SHANGHAI.replacen("[proof]", &format!("[retention]\n{section}\n[proof]"), 1));
    let shipped = parse(SHANGHAI).expect("a policy").retention;
    assert_eq!((shipped.scan_days, shipped.query_days), (None, None));
    let both = with("scan_days = 14\nquery_days = 730").expect("a policy").retention;
    assert_eq!((both.scan_days, both.query_days), (Some(14), Some(730)));
    assert_eq!(with("query_days = 1").expect("a policy").retention.scan_days, None);
    for wrong in [
        "scan_days = 0",
        "query_days = 36501",
        "query_days = \"30d\"",
        "queries = 30",
    ] {
        assert!(with(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn pages_name_a_reissue_as_the_city_does() {
    let policy = parse(SHANGHAI).expect("a policy");
    assert_eq!(policy.help_telephone.as_deref(), Some("12345"));
    let of_kind = policy
        .kind_named("sampling")
        .and_then(|kind| kind.reissue_label.clone());
    assert_eq!(of_kind.expect("a label").zh, "重新生成");
    let of_channel = |name: &str| policy.channel(name).and_then(|channel| channel.reissue_label.clone());
    assert_eq!(of_channel("kiosk").expect("a label").zh, "补领");
    assert_eq!(of_channel("pc").expect("a label").zh, "再次申领");
    assert_eq!(of_channel("counter"), None);
    // Both are optional.
    let campus = parse(CAMPUS).expect("a policy");
    assert_eq!(campus.help_telephone, None);
}
