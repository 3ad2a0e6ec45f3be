//! Tests that names in the API equal those of the domain, with none missing on either side, and of responses to
//! scans.

use citycode_domain::admission::{Decision, Reason, explain};
use citycode_domain::ids::{CodeId, Position};
use citycode_domain::standing::Standing;
use citycode_domain::status::{Death, Life};
use citycode_domain::time::Timestamp;
use citycode_wire::answer::{code_life, code_life_name, standing, standing_value};
use citycode_wire::proto::issuer::v1::CodeLife;
use citycode_wire::proto::{model, verifier::v1};
use citycode_wire::verdict::{ReadCode, VerdictAnswer, decision, decision_value, reason, reason_value};

#[test]
fn every_decision_and_reason_has_the_same_name_on_both_sides() {
    for ours in Decision::ALL {
        let sent = decision_value(ours);
        assert_eq!(sent.as_str_name(), format!("DECISION_{}", ours.name().to_uppercase()));
        assert_eq!(decision(sent.into()), Some(ours));
    }
    for ours in Reason::ALL {
        let sent = reason_value(ours);
        assert_eq!(sent.as_str_name(), format!("REASON_{}", ours.name().to_uppercase()));
        assert_eq!(reason(sent.into()), Some(ours));
    }
    for ours in [Standing::Green, Standing::Yellow, Standing::Red] {
        let sent = standing_value(ours);
        assert_eq!(sent.as_str_name(), format!("STANDING_{}", ours.name().to_uppercase()));
        assert_eq!(standing(sent.into()), Some(ours));
    }
    // The reverse: the API has as many values as the domain, besides "unspecified".
    let sent = |known: fn(i32) -> bool| (1..1_000).filter(|value| known(*value)).count();
    assert_eq!(sent(|value| v1::Decision::try_from(value).is_ok()), Decision::ALL.len());
    assert_eq!(sent(|value| v1::Reason::try_from(value).is_ok()), Reason::ALL.len());
    assert_eq!(sent(|value| model::v1::Standing::try_from(value).is_ok()), 3);
    for unknown in [0, -1, 999] {
        assert_eq!(decision(unknown), None);
        assert_eq!(reason(unknown), None);
        assert_eq!(standing(unknown), None);
    }
}

fn staffed(reason: Reason, explain: bool) -> v1::VerifyResponse {
    VerdictAnswer {
        verdict: reason.verdict(),
        code: Some(ReadCode {
            kind: "offline",
            code_id: CodeId([0xab; 8]),
            expires_at: Timestamp(1_693_440_000),
        }),
        place: "staffed",
        standing: Some(Standing::Green),
        position: Some(Position::new(3, 77)),
        age_ms: 12,
        explain,
    }
    .into()
}

#[test]
fn r23_a_response_contains_the_verdict_and_its_basis() {
    let answer = staffed(Reason::IdCheckRequired, true);
    assert_eq!(answer.decision(), v1::Decision::AdmitAfterIdCheck);
    assert_eq!(answer.reason(), v1::Reason::IdCheckRequired);
    assert_eq!(answer.kind.as_deref(), Some("offline"));
    assert_eq!(answer.code_id.as_deref(), Some("abababababababab"));
    assert_eq!(answer.place, "staffed");
    assert_eq!(answer.expires_at, Some(1_693_440_000));
    assert_eq!(answer.standing(), model::v1::Standing::Green);
    assert_eq!(
        answer.as_of,
        Some(v1::AsOf {
            partition: Some(3),
            sequence: Some(77),
            age_ms: 12
        })
    );
    let words = explain(Reason::IdCheckRequired);
    assert_eq!(
        answer.explanation,
        Some(v1::Explanation {
            zh: words.zh.to_owned(),
            en: words.en.to_owned()
        })
    );
    assert_eq!(answer.problem, None);
    assert_eq!(staffed(Reason::Ok, false).explanation, None);
}

#[test]
fn an_earlier_end_takes_precedence_over_expiry() {
    let cases = [
        (Life::Valid, false, CodeLife::Valid, "valid"),
        (Life::Valid, true, CodeLife::Expired, "expired"),
        (Life::Suspended, false, CodeLife::Suspended, "suspended"),
        (Life::Suspended, true, CodeLife::Expired, "expired"),
        (Life::Dead(Death::Superseded), true, CodeLife::Superseded, "superseded"),
        (
            Life::Dead(Death::ReportedLost),
            false,
            CodeLife::ReportedLost,
            "reported_lost",
        ),
        (Life::Dead(Death::Revoked), true, CodeLife::Revoked, "revoked"),
    ];
    for (life, expired, sent, name) in cases {
        assert_eq!(code_life(life, expired), sent);
        assert_eq!(code_life_name(sent), Some(name));
    }
}
