//! A pipelined stream of scans: one answer for each, in the order of the scans, even if some of them wait.

use std::sync::Arc;
use std::time::Duration;

use citycode_service_kit::clock::{Clock as _, UnixSeconds};
use citycode_service_kit::problem::{Code, Problem};
use citycode_verifier::grpc::VerifierGrpc;
use citycode_wire::proto::verifier::v1::Reason;
use citycode_wire::proto::verifier::v1::verifier_service_client::VerifierServiceClient;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierServiceServer;
use tonic::Request;

use crate::city::{City, desk, request};

/// More than are processed concurrently.
const SCANS: usize = 700;

#[tokio::test]
async fn registrations_that_wait_and_scans_that_do_not_are_answered_in_order() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let caller = Arc::new(desk());
    let face = VerifierGrpc(Arc::clone(&city.verifier));
    let server = VerifierServiceServer::with_interceptor(face, move |mut request: Request<()>| {
        request.extensions_mut().insert(Arc::clone(&caller));
        Ok(request)
    });
    let scans = (0..SCANS).map(|number| match number % 3 {
        0 => request("sampling_desk", &code.text, &format!("scan-{number}")),
        1 => request("sampling_desk", "no code", ""),
        _ => request("no_such_place", &code.text, ""),
    });
    let scans: Vec<_> = scans.collect();
    let mut client = VerifierServiceClient::new(server);
    let answers = client.verify_stream(futures::stream::iter(scans)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut number = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        match number % 3 {
            0 => assert_eq!(answer.reason(), Reason::Ok, "{number}"),
            1 => assert_eq!(answer.reason(), Reason::Unreadable, "{number}"),
            _ => assert!(format!("{answer:?}").contains("unknown_place"), "{number}: {answer:?}"),
        }
        number += 1;
    }
    assert_eq!(number, SCANS);
}

#[tokio::test]
async fn a_stream_ends_with_its_callers_token_after_its_scans_are_answered() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let mut caller = desk();
    caller.valid_until = Some(UnixSeconds(city.clock.now().0 + 60));
    let caller = Arc::new(caller);
    let face = VerifierGrpc(Arc::clone(&city.verifier));
    let server = VerifierServiceServer::with_interceptor(face, move |mut request: Request<()>| {
        request.extensions_mut().insert(Arc::clone(&caller));
        Ok(request)
    });
    let (sender, scans) = tokio::sync::mpsc::channel(4);
    let scans = futures::stream::unfold(scans, |mut scans| async move { Some((scans.recv().await?, scans)) });
    let mut client = VerifierServiceClient::new(server);
    let scan = || request("sampling_desk", &code.text, "");
    sender.send(scan()).await.unwrap();
    let mut answers = client.verify_stream(scans).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().reason(), Reason::Ok);
    city.clock.advance(Duration::from_secs(60));
    sender.send(scan()).await.unwrap();
    let ended = Problem::from(answers.message().await.unwrap_err());
    assert_eq!(ended.code(), Code::NotAllowed);
    assert!(ended.detail().contains("expired"), "{ended}");
    assert!(answers.message().await.unwrap().is_none());
}
