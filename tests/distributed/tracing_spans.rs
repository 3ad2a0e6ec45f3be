//! One trace from a person's request through the issuer and the log to each verifier's projection, received by a real
//! OTLP receiver.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use citycode_testkit::{IdNumbers, eventually};
use jiff::civil::date;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::city::{City, audit, behind, issuer, portal, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(30);

/// Trace, service and name.
type Seen = (Vec<u8>, String, String);

/// Every received span.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<BTreeSet<Seen>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource
                .resource
                .map(|resource| resource.attributes)
                .unwrap_or_default();
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
            let service = match name.and_then(|attribute| attribute.value).and_then(|value| value.value) {
                Some(AnyValue::StringValue(service)) => service,
                _ => String::new(),
            };
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let seen = spans.map(|span| (span.trace_id, service.clone(), span.name));
            self.0.lock().extend(seen);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_request_through_the_log_into_each_verifier() {
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(receiver.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let mut city = City::on_one().await;
    city.collector = Some(address);
    city.provision().await;
    let issuer = city.start(&issuer(), "issuer", "").await;
    let revocation = city.start(&revocation(), "revocation", "").await;
    let verifiers = [
        city.start(&verifier(), "verifier-1", "").await,
        city.start(&verifier(), "verifier-2", "").await,
    ];
    let audit = city.start(&audit(), "audit", "").await;
    let services = behind(
        &[issuer.url()],
        &[revocation.url()],
        &[verifiers[0].url(), verifiers[1].url()],
        &[audit.url()],
    );
    let portal = city.start(&portal(), "portal", &services).await;
    let id_number = IdNumbers::new(4).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    city.issue(portal.url(), &id_number, "offline").await;
    eventually("one trace has spans of all three services", PATIENCE, || async {
        let seen = receiver.0.lock();
        let folded = seen
            .iter()
            .filter(|(_, service, name)| service == "citycode-verifier" && name == "fold");
        folded.into_iter().any(|(trace, ..)| {
            let of = |wanted: &str| seen.iter().any(|(of, service, _)| of == trace && service == wanted);
            of("citycode-issuer") && of("citycode-portal")
        })
    })
    .await;
}
