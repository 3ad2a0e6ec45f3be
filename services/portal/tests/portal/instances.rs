//! Services with two instances each, on loopback ports.

use citycode_service_clients::{Clients, Endpoints};
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::serve::{Listener, app};
use citycode_service_kit::shutdown::{Signal, Trigger};
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierServiceServer;
use citycode_wire::proto::verifier::v1::{Decision, Reason, VerifyRequest, VerifyResponse};
use serde_json::json;
use tonic::Status;
use tonic::service::Routes;

use crate::fakes::{Behaviour, Fakes, verdict};
use crate::harness::City;

/// A portal with two verifiers without a health service: the first of the two is tried first. They serve until their
/// triggers are dropped.
fn city_with_two_verifiers() -> (City, [Fakes; 2], [Trigger; 2]) {
    let bind = || Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut listeners = [bind(), bind()];
    // The order is that of their addresses.
    listeners.sort_by_key(|listener| listener.address().to_string());
    let addresses = listeners
        .each_ref()
        .map(|listener| format!("http://{}", listener.address()));
    let fakes = [Fakes::default(), Fakes::default()];
    let [(first, first_stops), (second, second_stops)] = [Signal::channel(), Signal::channel()];
    for ((listener, fakes), stopped) in listeners.into_iter().zip(&fakes).zip([first_stops, second_stops]) {
        let services = Routes::new(VerifierServiceServer::new(fakes.clone()));
        tokio::spawn(listener.serve(app(services, axum::Router::new()), stopped));
    }
    let (clients, _) = Clients::connect(Endpoints {
        issuer: Vec::new(),
        revocation: Vec::new(),
        verifier: addresses.to_vec(),
        audit: Vec::new(),
        tls: None,
    })
    .unwrap();
    (City::before(clients), fakes, [first, second])
}

#[tokio::test]
async fn r20_a_scan_without_an_id_is_the_same_scan_at_the_next_verifier() {
    let (city, [first, second], _serving) = city_with_two_verifiers();
    first.behaviour(Behaviour::Fail(Status::unavailable("it went amid the scan")));
    second.ready(verdict());
    let mut ids = Vec::new();
    for _ in 0..2 {
        let body = json!({"place": "sampling_desk", "code": "TOKEN:TEXT"});
        let answer = city.post("/api/v1/verify", body).await.ok();
        assert!(answer.get("scan_id").is_none());
        let asked = [&first, &second].map(|verifier| verifier.asked::<VerifyRequest>().scan_id);
        assert!(!asked[0].is_empty() && asked[0] == asked[1], "{asked:?}");
        ids.extend(asked);
    }
    assert_ne!(ids[0], ids[2], "another call is another scan");
}

/// R24: `cannot_check` is a valid answer, whatever the second verifier does.
#[tokio::test]
async fn r24_cannot_check_is_returned_if_the_second_verifier_fails() {
    let (city, [first, second], _serving) = city_with_two_verifiers();
    let cannot_check = VerifyResponse {
        decision: Decision::CannotCheck.into(),
        reason: Reason::TooStale.into(),
        ..verdict()
    };
    first.ready(cannot_check);
    let body = json!({"place": "sentinel", "code": "TOKEN:TEXT"});
    for behaviour in [
        Behaviour::Refuse(Problem::new(
            Code::RateLimited,
            "too many different ID cards in a short time",
        )),
        Behaviour::Refuse(Problem::outcome_unknown(
            "whether the registration was recorded is not known",
        )),
        Behaviour::Refuse(Problem::internal()),
        Behaviour::Fail(Status::unavailable("a proxy lost it")),
        Behaviour::Panic,
        Behaviour::Hang,
    ] {
        second.behaviour(behaviour);
        let answer = city.post("/api/v1/verify", body.clone()).await.ok();
        assert_eq!(
            (&answer["decision"], &answer["reason"]),
            (&json!("cannot_check"), &json!("too_stale"))
        );
    }
    second.behaviour(Behaviour::Answer);
    second.ready(verdict());
    let answer = city.post("/api/v1/verify", body).await.ok();
    assert_eq!(answer["decision"], "admit_after_id_check", "the second one knows more");
}
