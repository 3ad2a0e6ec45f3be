//! The age of the state, which displays ask for without a scan.

use std::sync::Arc;
use std::time::Duration;

use citycode_service_kit::problem::Code as ProblemCode;
use citycode_verifier::grpc::VerifierGrpc;
use citycode_wire::proto::verifier::v1::GetKnowledgeRequest;
use citycode_wire::proto::verifier::v1::verifier_service_client::VerifierServiceClient;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierServiceServer;
use tonic::Request;

use crate::city::{City, caller, desk};

fn at(place: &str) -> GetKnowledgeRequest {
    GetKnowledgeRequest { place: place.into() }
}

#[tokio::test]
async fn r24_the_age_of_the_state_is_told_per_place_and_nothing_is_recorded() {
    let city = City::new().await;
    let of = |place: &str| {
        let answer = city.verifier.knowledge(&desk(), &at(place)).unwrap();
        (answer.age_ms, answer.fresh)
    };
    assert_eq!(of("staffed"), (Some(0), true));
    city.clock.advance(Duration::from_millis(10_000));
    assert_eq!(of("staffed"), (Some(10_000), true), "at the limit of the place");
    city.clock.advance(Duration::from_millis(1));
    assert_eq!(of("staffed"), (Some(10_500), false));
    assert_eq!(of("sampling_desk"), (Some(10_500), true));
    let auditor = city.verifier.knowledge(&caller(&["auditor"]), &at("staffed")).unwrap();
    assert_eq!(auditor.age_ms, Some(10_001), "auditors see the exact age");
    city.prove().await;
    assert_eq!(of("staffed"), (Some(0), true));
    let today = u32::try_from(crate::city::START / 86_400).unwrap();
    assert!(city.records.day(today).unwrap().is_empty());
}

#[tokio::test]
async fn only_a_verifier_of_the_place_may_ask_for_the_age() {
    let city = City::new().await;
    let refused = |roles: &[&str], place: &str| city.verifier.knowledge(&caller(roles), &at(place)).unwrap_err().code();
    assert_eq!(
        refused(&["verifier:staffed:gate-1"], "sentinel"),
        ProblemCode::NotAllowed
    );
    assert_eq!(refused(&["officer"], "staffed"), ProblemCode::NotAllowed);
    assert_eq!(refused(&["admin"], "nowhere"), ProblemCode::UnknownPlace);
}

#[tokio::test]
async fn the_age_is_answered_over_grpc_to_an_authenticated_caller() {
    let city = City::new().await;
    let service = VerifierGrpc(Arc::clone(&city.verifier));
    let caller = Arc::new(desk());
    let known = VerifierServiceServer::with_interceptor(service.clone(), move |mut request: Request<()>| {
        request.extensions_mut().insert(Arc::clone(&caller));
        Ok(request)
    });
    let answer = VerifierServiceClient::new(known)
        .get_knowledge(at("staffed"))
        .await
        .unwrap();
    assert!(answer.into_inner().fresh);
    let mut unknown = VerifierServiceClient::new(VerifierServiceServer::new(service));
    assert!(unknown.get_knowledge(at("staffed")).await.is_err());
}
