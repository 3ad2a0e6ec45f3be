//! Recomputing recorded verdicts gives the same verdicts (R26).

use std::collections::BTreeMap;

use citycode_audit::{Audit, Observer};
use citycode_auth::{Caller, CallerId, Role};
use citycode_scan_records::ScanRecord;
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::request::{Period, Question};

use crate::city::{City, START};

/// An observer that lets the audit continue.
pub(crate) struct Patient;

impl Observer for Patient {
    fn progress(&mut self, _: proto::AuditProgress) -> bool {
        true
    }
}

/// The whole month and its next days.
pub(crate) fn whole_month() -> Period {
    Period::new(START, START + 40 * 86_400).expect("a period")
}

pub(crate) async fn run(audit: &Audit) -> proto::RunResult {
    audit.run(whole_month(), &mut Patient).await.expect("a result")
}

pub(crate) async fn recorded(audit: &Audit) -> Vec<ScanRecord> {
    let archive = audit.records.as_ref().expect("records");
    let mut records = Vec::new();
    for day in archive.days().await.expect("days") {
        let mut from = 0;
        loop {
            let read = archive.batches(day, from).await.expect("batches");
            if read.batches.is_empty() {
                break;
            }
            from = read.next;
            for batch in read.batches {
                records.extend(batch.records.expect("whole"));
            }
        }
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_every_verdict_of_a_month_is_recomputed_and_agrees() {
    let mut reasons = BTreeMap::<String, u64>::new();
    for seed in [1, 2] {
        let city = City::month(seed).await;
        let audit = city.audit().await;
        let result = run(&audit).await;
        let unread = result.not_recomputable.get("nothing_read").copied().unwrap_or(0);
        let all: u64 = result.not_recomputable.values().sum();
        assert_eq!(all, unread, "{result:?}");
        assert_eq!(result.recomputed + unread, result.scans, "{result:?}");
        assert_eq!(
            (result.agree, result.differ_total),
            (result.recomputed, 0),
            "seed {seed}: {result:?}"
        );
        assert_eq!(
            (result.missing, result.extra, result.altered.len()),
            (0, 0, 0),
            "{result:?}"
        );
        assert!(result.scans > 900, "{}", result.scans);
        for record in recorded(&audit).await {
            *reasons.entry(record.scan.reason.name().to_owned()).or_default() += 1;
        }
    }
    // The month must reach the rules that it is meant to test.
    for reason in [
        "ok",
        "expired",
        "kind_not_accepted_here",
        "superseded",
        "reported_lost",
        "revoked",
        "suspended",
        "standing_red",
        "too_stale",
        "unknown_code",
        "missing_proof",
        "stale_proof",
        "id_check_required",
        "id_mismatch",
        "unreadable",
    ] {
        assert!(
            reasons.contains_key(reason),
            "no scan was answered {reason}: {reasons:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_a_verdict_is_explained_by_the_questions_of_r23_in_their_order() {
    let city = City::month(4).await;
    let audit = city.audit().await;
    let auditor = Caller::new(CallerId::new("test", "auditor").expect("an id"), vec![Role::Auditor]);
    for record in recorded(&audit).await.iter().step_by(17) {
        let question = Question::Scan {
            device: &record.scan.device,
            scan_id: &record.scan.scan_id,
            day: None,
        };
        let answer = audit
            .explain(&auditor, "complaint 17", question)
            .await
            .expect("an explanation");
        let recorded = answer.recorded.expect("recorded");
        assert_eq!(recorded.at, record.scan.at);
        if !answer.not_recomputable.is_empty() {
            assert_eq!(answer.not_recomputable, "nothing_read");
            continue;
        }
        assert_eq!(answer.agrees, Some(true), "{record:?}");
        let outcomes: Vec<_> = answer.steps.iter().map(|step| step.outcome.as_str()).collect();
        let spoke = outcomes
            .iter()
            .position(|outcome| *outcome == "spoke")
            .unwrap_or(outcomes.len());
        assert!(
            outcomes[..spoke].iter().all(|outcome| *outcome == "passed"),
            "{outcomes:?}"
        );
        assert!(
            outcomes.iter().skip(spoke + 1).all(|outcome| *outcome == "not_asked"),
            "{outcomes:?}"
        );
        let is_ok = record.scan.reason.name() == "ok";
        assert_eq!(spoke == outcomes.len(), is_ok, "{record:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_the_right_or_without_a_record_is_refused() {
    let city = City::month(5).await;
    let audit = city.audit().await;
    let question = Question::Scan {
        device: "gate-0",
        scan_id: "no such scan",
        day: None,
    };
    for (role, code) in [(Role::Officer, "not_allowed"), (Role::Auditor, "no_record")] {
        let caller = Caller::new(CallerId::new("test", "x").expect("an id"), vec![role]);
        let refused = audit
            .explain(&caller, "complaint 17", question)
            .await
            .expect_err("refused");
        assert_eq!(refused.code().as_str(), code);
    }
}
