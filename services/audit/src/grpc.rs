//! The audit service's gRPC API.

use std::sync::Arc;

use citycode_auth::caller;
use citycode_service_kit::deadline;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1::audit_service_server::AuditService;
use citycode_wire::proto::audit::v1::{HistoryRequest, HistoryResponse};
use citycode_wire::request::HistorySubject;
use tonic::{Request, Response, Status};

use crate::Audit;

/// The gRPC service for auditors.
#[derive(Clone)]
pub struct AuditGrpc(pub Arc<Audit>);

#[tonic::async_trait]
impl AuditService for AuditGrpc {
    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let answer = async {
            let caller = caller(&request)?;
            let subject = HistorySubject::try_from(message);
            let subject = subject.map_err(|invalid| Problem::new(Code::InvalidRequest, invalid.to_string()))?;
            self.0.history(&caller, subject).await
        };
        Ok(Response::new(deadline::query(metadata, answer).await?))
    }
}
