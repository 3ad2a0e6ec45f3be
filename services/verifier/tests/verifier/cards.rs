//! ID cards: presented with a code, instead of one, and in a search for a holder's number.

use std::sync::Arc;
use std::time::Duration;

use citycode_auth::Caller;
use citycode_domain::admission::{Decision, Reason};
use citycode_domain::event::{CodeRevoked, Event, Sealed};
use citycode_scan_records::{RecordsError, Registered, ScanNote, ScanRecords, ShownBytes};
use citycode_service_kit::problem::Code as ProblemCode;
use citycode_verifier::Verifier;
use citycode_wire::proto::verifier::v1::VerifyRequest;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::city::{City, Code, LI, WANG, caller, card, desk, holder_stream, request, verify, words};

/// A paper code presented with a card, at one of two devices of a staffed place.
fn beside(code: &Code, number: &str, device: &str) -> VerifyRequest {
    let mut request = request("staffed", &code.text, "");
    request.id_number = number.into();
    request.device = device.into();
    request
}

/// A caller that verifies at a staffed place as either device.
fn either() -> Caller {
    caller(&["verifier:staffed:gate-1", "verifier:staffed:gate-2"])
}

/// The reason of the answer, or the code of the problem.
async fn says(verifier: &Verifier, request: &VerifyRequest) -> String {
    match verify(verifier, &either(), request).await {
        Ok(answer) => format!("{:?}", words(&answer).1),
        Err(problem) => problem.code().as_str().to_owned(),
    }
}

#[tokio::test]
async fn r19_a_search_for_a_holders_number_is_blocked_without_revealing_anything() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let (right, wrong) = (beside(&code, WANG, "gate-1"), beside(&code, LI, "gate-1"));
    for _ in 0..50 {
        assert_eq!(says(&city.verifier, &right).await, "Ok", "right cards are not counted");
    }
    for _ in 0..10 {
        assert_eq!(says(&city.verifier, &wrong).await, "IdMismatch");
    }
    for _ in 0..3 {
        assert_eq!(says(&city.verifier, &wrong).await, "rate_limited");
        assert_eq!(says(&city.verifier, &right).await, "rate_limited", "as a wrong one");
    }
    let of_right = verify(&city.verifier, &either(), &right).await.unwrap_err();
    assert_eq!(of_right, verify(&city.verifier, &either(), &wrong).await.unwrap_err());
    assert_eq!(of_right.retry_after_seconds(), Some(900));
    // Neither the code at other devices nor the device for other codes is blocked.
    assert_eq!(says(&city.verifier, &beside(&code, WANG, "gate-2")).await, "Ok");
    let other = city.issue("offline", 2).await;
    assert_eq!(says(&city.verifier, &beside(&other, WANG, "gate-1")).await, "Ok");
    city.clock.advance(Duration::from_secs(899));
    city.prove().await;
    assert_eq!(says(&city.verifier, &right).await, "rate_limited");
    city.clock.advance(Duration::from_secs(1));
    assert_eq!(says(&city.verifier, &right).await, "Ok");
}

#[tokio::test]
async fn r19_wrong_cards_are_counted_by_all_verifiers_together_and_after_a_restart() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let wrong = beside(&code, LI, "gate-1");
    let others = [city.another_verifier().await, city.another_verifier().await];
    let verifiers = [&city.verifier, &others[0], &others[1]];
    // Concurrently, so that no verifier has read what the others count.
    let attempts = (0..30).map(|attempt| says(verifiers[attempt % 3], &wrong));
    let answers = futures::future::join_all(attempts).await;
    let answered = answers.iter().filter(|answer| *answer == "IdMismatch").count();
    assert_eq!(answered, 10, "{answers:?}");
    assert!(
        answers
            .iter()
            .all(|answer| answer == "IdMismatch" || answer == "rate_limited")
    );
    for verifier in verifiers {
        assert_eq!(says(verifier, &beside(&code, WANG, "gate-1")).await, "rate_limited");
    }
    drop(others);
    let city = city.restart().await;
    assert_eq!(
        says(&city.verifier, &beside(&code, WANG, "gate-1")).await,
        "rate_limited"
    );
}

#[tokio::test]
async fn r19_a_search_across_the_boundary_of_two_periods_gets_no_more_answers() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let wrong = beside(&code, LI, "gate-1");
    // A second before a period of 15 minutes ends.
    let until_edge = 899 - crate::city::START.rem_euclid(900);
    city.clock.advance(Duration::from_secs(until_edge.unsigned_abs()));
    city.prove().await;
    for _ in 0..9 {
        assert_eq!(says(&city.verifier, &wrong).await, "IdMismatch");
    }
    city.clock.advance(Duration::from_secs(1));
    assert_eq!(says(&city.verifier, &wrong).await, "IdMismatch");
    assert_eq!(says(&city.verifier, &wrong).await, "rate_limited");
}

#[tokio::test]
async fn r19_a_code_stays_blocked_for_15_minutes_across_the_boundary_of_two_periods() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let (right, wrong) = (beside(&code, WANG, "gate-1"), beside(&code, LI, "gate-1"));
    let until_late = 600 - crate::city::START.rem_euclid(900);
    city.clock.advance(Duration::from_secs(until_late.unsigned_abs()));
    city.prove().await;
    for _ in 0..10 {
        assert_eq!(says(&city.verifier, &wrong).await, "IdMismatch");
    }
    for (seconds, answer) in [(600, "rate_limited"), (299, "rate_limited"), (1, "Ok")] {
        city.clock.advance(Duration::from_secs(seconds));
        city.prove().await;
        assert_eq!(says(&city.verifier, &right).await, answer, "after {seconds} s more");
    }
}

#[tokio::test]
async fn r19_a_wrong_card_counts_for_15_minutes() {
    for (seconds, answered) in [(899, 1), (900, 10)] {
        let city = City::new().await;
        let code = city.issue("offline", 1).await;
        let wrong = beside(&code, LI, "gate-1");
        let until_start = 900 - crate::city::START.rem_euclid(900);
        city.clock.advance(Duration::from_secs(until_start.unsigned_abs()));
        city.prove().await;
        for _ in 0..9 {
            assert_eq!(says(&city.verifier, &wrong).await, "IdMismatch");
        }
        city.clock.advance(Duration::from_secs(seconds));
        city.prove().await;
        for _ in 0..answered {
            assert_eq!(says(&city.verifier, &wrong).await, "IdMismatch", "{seconds} s later");
        }
        assert_eq!(says(&city.verifier, &wrong).await, "rate_limited", "{seconds} s later");
    }
}

#[tokio::test]
async fn r19_a_search_by_many_devices_raises_one_alarm_and_requests_for_other_times_raise_none() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let alarms = || {
        let text = rendered.render();
        let line = text
            .lines()
            .find(|line| line.starts_with("citycode_verifier_card_searches_total"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let admin = caller(&["admin"]);
    for device in 0..4 {
        for _ in 0..10 {
            let mut question = beside(&code, LI, &format!("desk-{device}"));
            question.at = Some(city.now().0);
            let answer = city.verify(&admin, question).await.unwrap();
            assert_eq!(words(&answer).1, Reason::IdMismatch);
        }
    }
    assert_eq!(alarms(), 0);
    for device in 0..4 {
        for card in 0..10 {
            let answer = city
                .verify(&admin, beside(&code, LI, &format!("gate-{device}")))
                .await
                .unwrap();
            assert_eq!(words(&answer).1, Reason::IdMismatch);
            let counted = device * 10 + card + 1;
            assert_eq!(alarms(), u64::from(counted >= 30), "{counted} cards");
        }
    }
}

/// Scan records that cannot be reached.
struct Away;

#[tonic::async_trait]
impl ScanRecords for Away {
    fn note(&self, _: &ScanNote<&str>) {}

    async fn register(&self, _: &ScanNote<&str>, _: ShownBytes) -> Result<Registered, RecordsError> {
        Err(RecordsError::Unavailable("away".into()))
    }

    async fn registered(&self, _: &ScanNote<&str>, _: &ShownBytes) -> Result<Option<Registered>, RecordsError> {
        Err(RecordsError::Unavailable("away".into()))
    }

    async fn flush(&self) {}
}

/// R23, R24: an answer that needs no records is returned while the records are unavailable.
#[tokio::test]
async fn r23_refusals_and_cannot_check_need_no_records() {
    let city = City::new().await;
    let (alive, dead) = (city.issue("offline", 1).await, city.issue("offline", 2).await);
    let revoked = CodeRevoked {
        code: dead.issued.code,
        reason: Sealed::default(),
    };
    city.tell(&holder_stream(), Event::CodeRevoked(revoked)).await;
    let verifier = city.verifier_with(Arc::new(Away)).await;
    for number in [WANG, LI] {
        assert_eq!(says(&verifier, &beside(&dead, number, "gate-1")).await, "Revoked");
        assert_eq!(says(&verifier, &beside(&alive, number, "gate-1")).await, "unavailable");
    }
    city.clock.advance(Duration::from_secs(61));
    assert_eq!(says(&verifier, &beside(&alive, WANG, "gate-1")).await, "TooStale");
    let at_desk = verify(&verifier, &desk(), &request("sampling_desk", &alive.text, "s/1")).await;
    assert_eq!(words(&at_desk.unwrap()).1, Reason::TooStale);
}

#[tokio::test]
async fn r27_a_malformed_number_is_refused_with_the_reason() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let mut malformed = request("staffed", &code.text, "");
    malformed.id_number = "110105194912310021".into();
    let problem = city.verify(&desk(), malformed).await.unwrap_err();
    assert_eq!(problem.code(), ProblemCode::InvalidIdNumber);
    let reader = caller(&["admin"]);
    let problem = city.verify(&reader, card("staffed", "12345", "")).await.unwrap_err();
    assert_eq!(problem.code(), ProblemCode::InvalidIdNumber);
}

#[tokio::test]
async fn only_callers_with_the_right_may_verify_a_card_alone() {
    let city = City::new().await;
    let refused = city.verify(&desk(), card("staffed", WANG, "")).await.unwrap_err();
    assert_eq!(refused.code(), ProblemCode::NotAllowed);
    let mut reader = desk();
    reader.card_reader = true;
    let answer = city.verify(&reader, card("staffed", WANG, "")).await.unwrap();
    assert_eq!(
        words(&answer).1,
        Reason::Ok,
        "R21: a person unknown to the city counts as green"
    );
}

#[tokio::test]
async fn r31_a_card_reader_cannot_harvest_a_city() {
    let city = City::new().await;
    let mut reader = desk();
    reader.card_reader = true;
    let mut asked = 0u32;
    for day in 1..=28 {
        for serial in 0..200 {
            let mut number = format!("110105195001{day:02}{serial:03}");
            number.push(char::from(citycode_domain::id_number::check_character(
                number.as_bytes(),
            )));
            match city.verify(&reader, card("staffed", &number, "")).await {
                Ok(_) => asked += 1,
                Err(problem) => {
                    assert_eq!(problem.code(), ProblemCode::RateLimited);
                    assert!(asked >= 500, "a busy checkpoint is not limited: {asked}");
                    return;
                }
            }
        }
    }
    panic!("{asked} people asked for, and nobody stopped it");
}

/// R19: staff compare the person with the card; what they find is a verdict like any other.
#[tokio::test]
async fn r19_a_person_who_does_not_match_the_card_is_refused_and_recorded() {
    let city = City::new().await;
    let differs = |place: &str, text: &str| VerifyRequest {
        person_differs: true,
        ..request(place, text, "scan-1")
    };
    let (paper, sampling) = (city.issue("offline", 1).await, city.issue("sampling", 2).await);
    let mut with_number = differs("staffed", &paper.text);
    with_number.id_number = WANG.into();
    for scan in [&differs("staffed", &paper.text), &with_number] {
        let answer = city.verify(&desk(), scan.clone()).await.unwrap();
        assert_eq!(words(&answer), (Decision::Refuse, Reason::IdMismatch));
    }
    // Reasons that come before it in R23 stay.
    let answer = city.verify(&desk(), differs("staffed", &sampling.text)).await.unwrap();
    assert_eq!(words(&answer).1, Reason::KindNotAcceptedHere);
    let today = u32::try_from(crate::city::START / 86_400).unwrap();
    // The records are read after a restart, when all are written.
    let city = city.restart().await;
    let recorded: Vec<Reason> = city
        .records
        .day(today)
        .unwrap()
        .iter()
        .map(|record| record.scan.reason)
        .collect();
    assert_eq!(
        recorded,
        [Reason::IdMismatch, Reason::IdMismatch, Reason::KindNotAcceptedHere]
    );
}

#[tokio::test]
async fn r19_a_person_who_does_not_match_is_not_answered_as_registered_before() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let registered = request("sampling_desk", &code.text, "scan-1");
    let answer = city.verify(&desk(), registered.clone()).await.unwrap();
    assert_eq!(words(&answer).1, Reason::Ok);
    let differs = VerifyRequest {
        person_differs: true,
        ..registered
    };
    let answer = city.verify(&desk(), differs).await.unwrap();
    assert_eq!(words(&answer), (Decision::Refuse, Reason::IdMismatch));
}

#[tokio::test]
async fn a_person_is_compared_only_with_a_code() {
    let city = City::new().await;
    let mut reader = desk();
    reader.card_reader = true;
    let alone = VerifyRequest {
        person_differs: true,
        ..card("staffed", WANG, "")
    };
    let refused = city.verify(&reader, alone).await.unwrap_err();
    assert_eq!(refused.code(), ProblemCode::InvalidRequest);
}
