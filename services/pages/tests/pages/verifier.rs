//! A verifier that answers as the test says, and remembers what it was asked.
#![expect(clippy::unwrap_used, reason = "a failure of the fixture fails the test")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use citycode_domain::admission::Reason;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierService;
use citycode_wire::proto::verifier::v1::{
    AsOf, GetKnowledgeRequest, GetKnowledgeResponse, VerifyRequest, VerifyResponse,
};
use citycode_wire::verdict::{decision_value, reason_value};
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

/// How it answers.
#[derive(Clone)]
pub(crate) enum Says {
    /// A verdict with this reason, on a code of this kind.
    Verdict(Reason, Option<&'static str>),
    Fails(Status),
    /// It never answers.
    Hangs,
}

#[derive(Clone, Default)]
pub(crate) struct FakeVerifier(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    says: VecDeque<Says>,
    asked: Vec<VerifyRequest>,
    knowledge: Option<GetKnowledgeResponse>,
}

impl FakeVerifier {
    /// The answer to the next scan.
    pub(crate) fn says(&self, says: Says) {
        self.0.lock().unwrap().says.push_back(says);
    }

    /// The age that it tells; `None`: it does not answer.
    pub(crate) fn knows(&self, knowledge: Option<GetKnowledgeResponse>) {
        self.0.lock().unwrap().knowledge = knowledge;
    }

    /// The scans since the last call.
    pub(crate) fn asked(&self) -> Vec<VerifyRequest> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

#[tonic::async_trait]
impl VerifierService for FakeVerifier {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let request = request.into_inner();
        let place = request.place.clone();
        let says = {
            let mut inner = self.0.lock().unwrap();
            inner.asked.push(request);
            inner.says.pop_front().expect("the test says how to answer")
        };
        match says {
            Says::Verdict(reason, kind) => Ok(Response::new(VerifyResponse {
                decision: decision_value(reason.verdict().decision).into(),
                reason: reason_value(reason).into(),
                kind: kind.map(str::to_owned),
                expires_at: kind.map(|_| 1_700_000_000),
                place,
                as_of: Some(AsOf {
                    age_ms: 500,
                    ..AsOf::default()
                }),
                ..VerifyResponse::default()
            })),
            Says::Fails(status) => Err(status),
            Says::Hangs => std::future::pending().await,
        }
    }

    type VerifyStreamStream = Pin<Box<dyn Stream<Item = Result<VerifyResponse, Status>> + Send>>;

    async fn verify_stream(
        &self,
        _: Request<Streaming<VerifyRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        Err(Status::unimplemented("pages send single scans"))
    }

    async fn get_knowledge(&self, _: Request<GetKnowledgeRequest>) -> Result<Response<GetKnowledgeResponse>, Status> {
        let knowledge = self.0.lock().unwrap().knowledge;
        knowledge
            .map(Response::new)
            .ok_or_else(|| Status::unavailable("it does not answer"))
    }
}
