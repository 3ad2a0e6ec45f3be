//! The verifier's gRPC face.

use std::pin::Pin;
use std::sync::Arc;

use citycode_service_kit::auth::caller;
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierService;
use citycode_wire::proto::verifier::v1::{VerifyRequest, VerifyResponse};
use citycode_wire::verdict::problem_answer;
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::scan::Verifier;

/// Scans of one stream that are worked on at once: the registrations among them share the disk's syncs, and a client
/// that sends faster than it reads is held back.
const IN_FLIGHT: usize = 256;

/// The gRPC service of a verifier.
#[derive(Clone)]
pub struct VerifierFace(pub Arc<Verifier>);

#[tonic::async_trait]
impl VerifierService for VerifierFace {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.verify(&caller, request.get_ref()).await?))
    }

    type VerifyStreamStream = Pin<Box<dyn Stream<Item = Result<VerifyResponse, Status>> + Send>>;

    async fn verify_stream(
        &self,
        request: Request<Streaming<VerifyRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        let caller = caller(&request)?;
        let verifier = Arc::clone(&self.0);
        let answers = request.into_inner().map(move |scan| {
            let (verifier, caller) = (Arc::clone(&verifier), Arc::clone(&caller));
            async move {
                let scan = scan?;
                let answered = verifier.verify(&caller, &scan).await;
                Ok(answered.unwrap_or_else(|problem: Problem| {
                    problem_answer(&scan.place, problem.code().as_str(), problem.detail())
                }))
            }
        });
        Ok(Response::new(Box::pin(answers.buffered(IN_FLIGHT))))
    }
}
