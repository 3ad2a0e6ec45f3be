//! Registration records at a sampling desk (R20), and the content of their files.

use citycode_domain::admission::{Decision, IdCheck, ProofState, Reason};
use citycode_domain::event::{CodeRevoked, Event, Sealed};
use citycode_scan_records::ShownEvidence;
use citycode_service_kit::problem::Code as ProblemCode;

use crate::city::{City, LI, WANG, card, desk, holder_stream, request, words};

#[tokio::test]
async fn r20_the_same_scan_sent_twice_is_one_record_and_answers_as_recorded_also_after_a_restart() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let first = city
        .verify(&desk(), request("sampling_desk", &code.text, "scan-1"))
        .await
        .unwrap();
    assert_eq!(words(&first), (Decision::Admit, Reason::Ok));
    let revoked = CodeRevoked {
        code: code.issued.code,
        reason: Sealed::default(),
    };
    city.tell(&holder_stream(), Event::CodeRevoked(revoked)).await;
    let again = city
        .verify(&desk(), request("sampling_desk", &code.text, "scan-1"))
        .await
        .unwrap();
    assert_eq!(words(&again), (Decision::Admit, Reason::Ok), "as recorded");
    assert_eq!(again.as_of, first.as_of, "and based on the same state");
    let city = city.restart().await;
    let again = city
        .verify(&desk(), request("sampling_desk", &code.text, "scan-1"))
        .await
        .unwrap();
    assert_eq!(words(&again), (Decision::Admit, Reason::Ok), "also after a restart");
    let fresh = city
        .verify(&desk(), request("sampling_desk", &code.text, "scan-2"))
        .await
        .unwrap();
    assert_eq!(
        words(&fresh),
        (Decision::Refuse, Reason::Revoked),
        "another scan is judged again"
    );
}

#[tokio::test]
async fn r20_a_scan_id_used_for_another_code_or_another_card_registers_nobody() {
    let city = City::new().await;
    let (one, other) = (city.issue("sampling", 1).await, city.issue("sampling", 2).await);
    city.verify(&desk(), request("sampling_desk", &one.text, "scan-1"))
        .await
        .unwrap();
    let reused = city
        .verify(&desk(), request("sampling_desk", &other.text, "scan-1"))
        .await
        .unwrap_err();
    assert_eq!(reused.code(), ProblemCode::IdempotencyKeyReused);
    let mut reader = desk();
    reader.card_reader = true;
    let wang = city
        .verify(&reader, card("sampling_desk", WANG, "scan-9"))
        .await
        .unwrap();
    assert_eq!(words(&wang), (Decision::Admit, Reason::Ok));
    let again = city
        .verify(&reader, card("sampling_desk", WANG, "scan-9"))
        .await
        .unwrap();
    assert_eq!(words(&again), (Decision::Admit, Reason::Ok));
    let li = city.verify(&reader, card("sampling_desk", LI, "scan-9")).await;
    assert_eq!(
        li.unwrap_err().code(),
        ProblemCode::IdempotencyKeyReused,
        "another person would appear to be registered and would not be"
    );
}

#[tokio::test]
async fn r20_an_unreadable_record_does_not_affect_other_registrations() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.verify(&desk(), request("sampling_desk", &code.text, "scan-1"))
        .await
        .unwrap();
    let folder = city.folder.path().join("scans/keys");
    for entry in std::fs::read_dir(&folder).unwrap() {
        std::fs::write(entry.unwrap().path(), [0xEE; 32]).unwrap();
    }
    let city = city.restart().await;
    let desk = desk();
    let (damaged, sound) = tokio::join!(
        city.verify(&desk, request("sampling_desk", &code.text, "scan-1")),
        city.verify(&desk, request("sampling_desk", &code.text, "scan-2")),
    );
    assert_eq!(
        damaged.unwrap_err().code(),
        ProblemCode::Unavailable,
        "never an unproved success"
    );
    assert_eq!(words(&sound.unwrap()), (Decision::Admit, Reason::Ok));
}

#[tokio::test]
async fn r28_the_files_of_records_contain_no_id_number() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let mut reader = desk();
    reader.card_reader = true;
    let mut beside = request("staffed", &code.text, "scan-1");
    beside.id_number = WANG.into();
    city.verify(&reader, beside).await.unwrap();
    city.verify(&reader, card("sampling_desk", WANG, "scan-2"))
        .await
        .unwrap();
    city.verify(&reader, request("sampling_desk", &code.text, "scan-3"))
        .await
        .unwrap();
    let mut folders = vec![city.folder.path().join("scans")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let code_id = code.issued.code.code_id.to_string();
            for secret in [WANG, "scan-3", "desk-1", &code_id] {
                let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{} holds something in the clear", path.display());
            }
        }
    }
    assert!(files >= 2, "records and a key were checked");
}

#[tokio::test]
async fn every_scan_is_in_the_records_of_its_day() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let desk = desk();
    for scan in 0..300 {
        let scan = format!("scan-{scan}");
        city.verify(&desk, request("sampling_desk", &code.text, &scan))
            .await
            .unwrap();
        city.verify(&desk, request("sentinel", &code.text, &scan))
            .await
            .unwrap();
    }
    let city = city.restart().await;
    let today = u32::try_from(crate::city::START / 86_400).unwrap();
    let records = city.records.day(today).unwrap();
    for (place, reason, registered) in [
        ("sampling_desk", Reason::Ok, true),
        ("sentinel", Reason::KindNotAcceptedHere, false),
    ] {
        let here: Vec<_> = records.iter().filter(|record| *record.scan.place == *place).collect();
        let ids: Vec<_> = here.iter().map(|record| record.scan.scan_id.to_string()).collect();
        let expected: Vec<_> = (0..300).map(|scan| format!("scan-{scan}")).collect();
        assert_eq!(ids, expected, "each once, in their order, at {place}");
        for record in here {
            assert_eq!(record.scan.reason, reason);
            assert_eq!(record.scan.code_id, Some(code.issued.code.code_id));
            assert_eq!((&*record.scan.device, record.scan.at), ("desk-1", crate::city::START));
            assert_eq!(record.shown.is_some(), registered);
        }
    }
    assert!(city.records.day(today + 1).unwrap().is_empty());
}

#[tokio::test]
async fn r20_retention_destroys_the_days_records_and_key() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.verify(&desk(), request("sampling_desk", &code.text, "scan-1"))
        .await
        .unwrap();
    let keys = city.folder.path().join("scans/keys");
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 1);
    let city = city.restart().await;
    let tomorrow = u32::try_from(crate::city::START / 86_400 + 1).unwrap();
    city.records.forget_before(tomorrow).unwrap();
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 0);
    let again = city
        .verify(&desk(), request("sampling_desk", &code.text, "scan-1"))
        .await
        .unwrap();
    assert_eq!(
        words(&again),
        (Decision::Admit, Reason::Ok),
        "its record is destroyed, so it is a new scan"
    );
}

#[tokio::test]
async fn a_record_has_the_basis_of_its_verdict_once_the_policy_is_in_the_log() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let scan = |scan_id: &str| request("sampling_desk", &code.text, scan_id);
    city.verify(&desk(), scan("before")).await.unwrap();
    assert!(!city.verifier.has_policy_in_log());
    let adopted = city.policy_file.adopted();
    city.tell("policies", Event::PolicyAdopted(adopted)).await;
    assert!(city.verifier.has_policy_in_log());
    city.verify(&desk(), scan("after")).await.unwrap();
    let city = city.restart().await;
    assert!(city.verifier.has_policy_in_log(), "it is read again at a start");
    let today = u32::try_from(crate::city::START / 86_400).unwrap();
    let records = city.records.day(today).unwrap();
    let basis = |scan_id: &str| {
        let record = records.iter().find(|record| &*record.scan.scan_id == scan_id);
        record.expect("recorded").scan.basis
    };
    assert_eq!(basis("before"), None);
    let basis = basis("after").expect("a basis");
    assert_eq!(basis.policy, city.policy_file.digest);
    let digest = code.issued.claims_digest.0;
    assert!(
        matches!(basis.shown, ShownEvidence::Code { claims, proof: ProofState::Absent, id_check: IdCheck::None } if claims == digest[..16]),
        "{basis:?}"
    );
    assert!(
        basis.clock_trusted && !basis.confined && basis.not_in_log.is_none(),
        "{basis:?}"
    );
    assert!(basis.keys_sequence > 0, "{basis:?}");
}
