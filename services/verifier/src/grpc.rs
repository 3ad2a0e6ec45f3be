//! The verifier's gRPC API: parses a scan and passes it on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use citycode_auth::{Caller, UntilExpired, caller};
use citycode_service_kit::deadline;
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::model::v1 as model;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierService;
use citycode_wire::proto::verifier::v1::{GetKnowledgeRequest, GetKnowledgeResponse, VerifyRequest, VerifyResponse};
use citycode_wire::request::{InvalidRequest, ScanRequest};
use citycode_wire::verdict::problem_answer;
use futures::Stream;
use futures::future::BoxFuture;
use tonic::{Request, Response, Status, Streaming};

use crate::scan::Verifier;

/// Scans of one stream that are processed concurrently: registrations among them share disk syncs, and a client that
/// sends faster than it reads gets backpressure.
const IN_FLIGHT: usize = 256;

/// The gRPC service of a verifier.
#[derive(Clone)]
pub struct VerifierGrpc(pub Arc<Verifier>);

#[tonic::async_trait]
impl VerifierService for VerifierGrpc {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let answer = async {
            let caller = caller(&request)?;
            self.0.verify(&caller, &parse(message)?).await
        };
        Ok(Response::new(deadline::change(metadata, answer).await?))
    }

    type VerifyStreamStream = Pin<Box<dyn Stream<Item = Result<VerifyResponse, Status>> + Send>>;

    async fn verify_stream(
        &self,
        request: Request<Streaming<VerifyRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        let caller = caller(&request)?;
        let verifier = Arc::clone(&self.0);
        let scans = UntilExpired::new(request.into_inner(), &caller, &verifier.clock);
        Ok(Response::new(Box::pin(Pipeline {
            verifier,
            caller,
            scans: Some(scans),
            answers: VecDeque::new(),
        })))
    }

    async fn get_knowledge(
        &self,
        request: Request<GetKnowledgeRequest>,
    ) -> Result<Response<GetKnowledgeResponse>, Status> {
        let caller = caller(&request)?;
        let answer = self.0.knowledge(&caller, request.get_ref());
        Ok(Response::new(answer.map_err(Problem::of_query)?))
    }
}

type Answered = Result<VerifyResponse, Status>;

/// The scans of one stream, answered in order. Most need no I/O and are answered as they are read; the others, such as
/// registrations, wait concurrently.
struct Pipeline {
    verifier: Arc<Verifier>,
    caller: Arc<Caller>,
    /// `None` after the end of the requests.
    scans: Option<UntilExpired<Streaming<VerifyRequest>>>,
    answers: VecDeque<Slot>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are answered at once; a box for each would cost more than the memory"
)]
enum Slot {
    Answered(Answered),
    Waits(BoxFuture<'static, Answered>),
}

impl Pipeline {
    fn begin(&self, scan: VerifyRequest, context: &mut Context<'_>) -> Slot {
        let at_once = match parse(&scan) {
            Ok(parsed) => self.verifier.verify_at_once(&self.caller, &parsed),
            Err(problem) => Some(Err(problem)),
        };
        if let Some(answered) = at_once {
            return Slot::Answered(Ok(in_stream(answered, &scan)));
        }
        let (verifier, caller) = (Arc::clone(&self.verifier), Arc::clone(&self.caller));
        let mut answer: BoxFuture<'static, Answered> = Box::pin(async move {
            let answered = match parse(&scan) {
                Ok(parsed) => verifier.verify(&caller, &parsed).await,
                Err(problem) => Err(problem),
            };
            Ok(in_stream(answered, &scan))
        });
        match answer.as_mut().poll(context) {
            Poll::Ready(answered) => Slot::Answered(answered),
            Poll::Pending => Slot::Waits(answer),
        }
    }

    /// Reads scans while fewer than [`IN_FLIGHT`] are in progress. Returns an answer that is available at once if no
    /// earlier scan is in progress.
    fn read(&mut self, context: &mut Context<'_>) -> Option<Answered> {
        while self.answers.len() < IN_FLIGHT
            && let Some(scans) = &mut self.scans
        {
            let slot = match Pin::new(scans).poll_next(context) {
                Poll::Ready(Some(Ok(scan))) => self.begin(scan, context),
                Poll::Ready(Some(Err(status))) => {
                    self.scans = None;
                    Slot::Answered(Err(status))
                }
                Poll::Ready(None) => {
                    self.scans = None;
                    return None;
                }
                Poll::Pending => return None,
            };
            match slot {
                Slot::Answered(answered) if self.answers.is_empty() => return Some(answered),
                slot => self.answers.push_back(slot),
            }
        }
        None
    }
}

fn parse(message: &VerifyRequest) -> Result<ScanRequest<'_>, Problem> {
    message
        .try_into()
        .map_err(|invalid: InvalidRequest| Problem::invalid_request(&invalid))
}

/// The answer to a scan; the problem of a scan becomes its answer, and the stream continues.
fn in_stream(answered: Result<VerifyResponse, Problem>, scan: &VerifyRequest) -> VerifyResponse {
    answered.unwrap_or_else(|problem| {
        let problem = problem.of_change();
        let answer = model::Problem {
            code: problem.code().as_str().to_owned(),
            detail: problem.detail().to_owned(),
            outcome: problem
                .outcome()
                .map_or_else(String::new, |outcome| outcome.as_str().to_owned()),
        };
        problem_answer(&scan.place, answer)
    })
}

impl Stream for Pipeline {
    type Item = Answered;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Answered>> {
        let this = self.get_mut();
        for slot in &mut this.answers {
            if let Slot::Waits(answer) = slot
                && let Poll::Ready(answered) = answer.as_mut().poll(context)
            {
                *slot = Slot::Answered(answered);
            }
        }
        if !matches!(this.answers.front(), Some(Slot::Answered(_)))
            && let Some(answered) = this.read(context)
        {
            return Poll::Ready(Some(answered));
        }
        match this.answers.pop_front() {
            Some(Slot::Answered(answered)) => Poll::Ready(Some(answered)),
            Some(waits) => {
                this.answers.push_front(waits);
                Poll::Pending
            }
            None if this.scans.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
