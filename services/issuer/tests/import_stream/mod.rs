//! An import over gRPC ends when the token that opened it does.

use std::sync::Arc;
use std::time::Duration;

use citycode_auth::{Caller, CallerId, Role};
use citycode_issuer::grpc::IssuerGrpc;
use citycode_service_kit::clock::{Clock as _, UnixSeconds};
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_testkit::IdNumbers;
use citycode_wire::proto::issuer::v1::import_request::Part;
use citycode_wire::proto::issuer::v1::issuer_service_client::IssuerServiceClient;
use citycode_wire::proto::issuer::v1::issuer_service_server::IssuerServiceServer;
use citycode_wire::proto::issuer::v1::{ImportOptions, ImportOutcome, ImportRequest, ImportRow, ListCodesRequest};
use tonic::Request;

use crate::fixture::{City, TODAY};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_ends_with_its_callers_token_and_a_later_row_is_not_imported() {
    let city = City::new().await;
    let mut caller = Caller::new(CallerId::new("test", "importer").expect("an id"), vec![Role::Admin]);
    caller.valid_until = Some(UnixSeconds(city.clock.now().0 + 60));
    let caller = Arc::new(caller);
    let face = IssuerGrpc(Arc::clone(&city.issuer.0));
    let server = IssuerServiceServer::with_interceptor(face, move |mut request: Request<()>| {
        request.extensions_mut().insert(Arc::clone(&caller));
        Ok(request)
    });
    let mut numbers = IdNumbers::new(51);
    let people = [numbers.aged(70, TODAY), numbers.aged(70, TODAY)];
    let part = |part| ImportRequest { part: Some(part) };
    let row = |line: u8| {
        part(Part::Row(ImportRow {
            line: line.into(),
            id_number: people[usize::from(line)].clone(),
            name: "张小三".into(),
            attestation: None,
        }))
    };
    let (sender, rows) = tokio::sync::mpsc::channel(4);
    let rows = futures::stream::unfold(rows, |mut rows| async move { Some((rows.recv().await?, rows)) });
    let options = ImportOptions {
        kind: "offline".into(),
        channel: "pc".into(),
        ..ImportOptions::default()
    };
    sender.send(part(Part::Options(options))).await.expect("taken");
    sender.send(row(0)).await.expect("taken");
    let mut client = IssuerServiceClient::new(server);
    let mut answers = client.import(rows).await.expect("begun").into_inner();
    let first = answers.message().await.expect("an answer").expect("an answer");
    assert_eq!((first.line, first.outcome()), (0, ImportOutcome::Issued));

    city.clock.advance(Duration::from_secs(60));
    sender.send(row(1)).await.expect("taken");

    let ended = Problem::from(answers.message().await.expect_err("it ends"));
    assert_eq!(
        (ended.code(), ended.outcome()),
        (Code::NotAllowed, Some(Outcome::NotDone))
    );
    assert!(ended.detail().contains("expired"), "{ended}");
    assert!(answers.message().await.expect("the end").is_none());
    let codes = ListCodesRequest {
        id_number: people[1].clone(),
        ..ListCodesRequest::default()
    };
    let codes = city.issuer.list_codes(&city.admin, &codes).await;
    assert_eq!(codes.expect_err("nobody").code(), Code::NotRegistered);
}
