//! What a request may contain, who may send it, and what an answer contains.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use citycode_auth::Caller;
use citycode_domain::admission::Reason;
use citycode_service_kit::problem::Code as ProblemCode;
use citycode_verifier::grpc::VerifierGrpc;
use citycode_wire::limits::{DEVICE, SCAN_ID};
use citycode_wire::proto::verifier::v1::verifier_service_client::VerifierServiceClient;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierServiceServer;
use citycode_wire::proto::verifier::v1::{VerifyRequest, VerifyResponse};
use tonic::Request;

use crate::city::{City, LI, WANG, caller, card, desk, request, words};

/// The code of the problem with which a request is refused; `None` if it is answered.
async fn refused(city: &City, caller: &Caller, request: VerifyRequest) -> Option<ProblemCode> {
    city.verify(caller, request).await.err().map(|problem| problem.code())
}

#[tokio::test]
async fn a_scan_id_and_a_device_have_the_lengths_and_characters_of_the_contract() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let admin = caller(&["admin"]);
    let with = |scan_id: &str, device: &str| VerifyRequest {
        device: device.into(),
        ..request("sampling_desk", &code.text, scan_id)
    };
    let (longest_id, longest_device) = ("i".repeat(SCAN_ID.max), "d".repeat(DEVICE.max));
    assert_eq!(refused(&city, &admin, with(&longest_id, &longest_device)).await, None);
    let (longer_id, longer_device) = (longest_id + "i", longest_device + "d");
    for request in [
        with(&longer_id, "desk"),
        with("scan", &longer_device),
        with("scan", "two words"),
        with("scan", "门岗"),
        with("scan", "line\n"),
    ] {
        let code = refused(&city, &admin, request.clone()).await;
        assert_eq!(code, Some(ProblemCode::InvalidRequest), "{request:?}");
    }
}

#[tokio::test]
async fn an_auditor_asks_about_another_time_and_verifies_no_passage() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let auditor = caller(&["auditor"]);
    let passage = request("sampling_desk", &code.text, "");
    let question = VerifyRequest {
        at: Some(city.now().0),
        ..passage.clone()
    };
    assert_eq!(refused(&city, &auditor, question.clone()).await, None);
    assert_eq!(refused(&city, &auditor, passage).await, Some(ProblemCode::NotAllowed));
    assert_eq!(refused(&city, &desk(), question).await, Some(ProblemCode::NotAllowed));
}

#[tokio::test]
async fn an_answer_names_the_code_and_is_explained_unless_the_caller_omits_it() {
    let city = City::new().await;
    for (place, kind) in [("sampling_desk", "sampling"), ("sentinel", "offline")] {
        let code = city.issue(kind, 1).await;
        for omit_explanation in [false, true] {
            let asked = VerifyRequest {
                omit_explanation,
                ..request(place, &code.text, "")
            };
            let answer = city.verify(&desk(), asked).await.unwrap();
            assert_eq!(answer.explanation.is_some(), !omit_explanation, "{place}");
            assert_eq!((answer.place.as_str(), answer.kind.as_deref()), (place, Some(kind)));
            assert_eq!(answer.code_id, Some(code.issued.code.code_id.to_string()));
            assert_eq!(answer.expires_at, Some(code.issued.expires_at.0));
        }
    }
}

/// The answers of a stream of scans.
async fn stream(city: &City, caller: Caller, scans: Vec<VerifyRequest>) -> Vec<VerifyResponse> {
    let caller = Arc::new(caller);
    let service = VerifierGrpc(Arc::clone(&city.verifier));
    let server = VerifierServiceServer::with_interceptor(service, move |mut request: Request<()>| {
        request.extensions_mut().insert(Arc::clone(&caller));
        Ok(request)
    });
    let mut client = VerifierServiceClient::new(server);
    let answers = client.verify_stream(futures::stream::iter(scans)).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut received = Vec::new();
    while let Some(answer) = answers.message().await.expect("the stream goes on") {
        received.push(answer);
    }
    received
}

/// A stream answers at once only what needs neither the vault nor records, and everything as a single request.
#[tokio::test]
async fn a_stream_compares_cards_and_registers_like_single_requests() {
    let city = City::new().await;
    let (paper, sampling) = (city.issue("offline", 1).await, city.issue("sampling", 2).await);
    let mut reader = desk();
    reader.card_reader = true;
    let with_card = |number: &str| VerifyRequest {
        id_number: number.into(),
        ..request("staffed", &paper.text, "")
    };
    let brief = VerifyRequest {
        omit_explanation: true,
        ..request("sentinel", &paper.text, "")
    };
    let differs = VerifyRequest {
        person_differs: true,
        ..request("staffed", &paper.text, "")
    };
    let scans = vec![
        request("staffed", &paper.text, ""),
        with_card(WANG),
        with_card(LI),
        card("staffed", WANG, ""),
        request("sampling_desk", &sampling.text, "scan-1"),
        brief,
        differs,
    ];
    let answers = stream(&city, reader, scans).await;
    let reasons: Vec<Reason> = answers.iter().map(|answer| words(answer).1).collect();
    assert_eq!(
        reasons,
        [
            Reason::IdCheckRequired,
            Reason::Ok,
            Reason::IdMismatch,
            Reason::Ok,
            Reason::Ok,
            Reason::KindNotAcceptedHere,
            Reason::IdMismatch,
        ]
    );
    let explained: Vec<bool> = answers.iter().map(|answer| answer.explanation.is_some()).collect();
    assert_eq!(explained, [true, true, true, true, true, false, true]);
    // The registration is durable: another code under the same scan id is refused.
    let other = city.issue("sampling", 3).await;
    let reused = request("sampling_desk", &other.text, "scan-1");
    assert_eq!(
        refused(&city, &desk(), reused).await,
        Some(ProblemCode::IdempotencyKeyReused)
    );
}

/// R24: only a proof decides about a code that is not in the log, and only if the answer depends on it.
#[tokio::test]
async fn r24_a_code_is_undelivered_only_if_a_proof_would_change_its_answer() {
    let city = City::new().await;
    let unknown = city.sign("offline", 7, None);
    let at = |place: &str| {
        let answer = city.scan(place, &unknown.text);
        (answer.verdict.reason, answer.undelivered)
    };
    assert_eq!(at("staffed"), (Reason::TooStale, true));
    assert_eq!(at("sentinel"), (Reason::KindNotAcceptedHere, false));
    city.clock.advance(Duration::from_millis(10_000));
    assert_eq!(at("staffed"), (Reason::TooStale, true), "at the limit of the place");
    city.clock.advance(Duration::from_millis(1));
    assert_eq!(
        at("staffed"),
        (Reason::TooStale, false),
        "the state is too old for any code"
    );
}

/// Counts the events of the level `ERROR` whose message contains a text.
#[derive(Clone)]
struct Alarms {
    text: &'static str,
    count: Arc<AtomicUsize>,
}

impl tracing::Subscriber for Alarms {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            if field.name() == "message" {
                message = format!("{value:?}");
            }
        });
        if message.contains(self.text) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// A stolen signing key is noticed by the operator, not only by the person at the gate.
#[tokio::test]
async fn r25_a_token_that_is_not_in_the_log_raises_an_alarm_for_a_passage_only() {
    let alarms = Alarms {
        text: "is not in the log",
        count: Arc::default(),
    };
    let _installed = tracing::subscriber::set_default(alarms.clone());
    let city = City::new().await;
    let (genuine, forged) = (city.issue("sampling", 1).await, city.sign("sampling", 2, None));
    assert_eq!(city.reason("sampling_desk", &forged.text), Reason::TooStale);
    // A proof that began after the token was shown decides that it is forged.
    city.clock.advance(Duration::from_millis(1));
    city.prove().await;
    for text in [&genuine.text, &"no code".to_owned()] {
        city.verify(&desk(), request("sampling_desk", text, "")).await.unwrap();
    }
    let mut question = request("sampling_desk", &forged.text, "");
    question.at = Some(city.now().0);
    let answer = city.verify(&caller(&["auditor"]), question).await.unwrap();
    assert_eq!(words(&answer).1, Reason::UnknownCode);
    assert_eq!(alarms.count.load(Ordering::SeqCst), 0);
    let answer = city
        .verify(&desk(), request("sampling_desk", &forged.text, ""))
        .await
        .unwrap();
    assert_eq!(words(&answer).1, Reason::UnknownCode);
    assert_eq!(alarms.count.load(Ordering::SeqCst), 1);
}
