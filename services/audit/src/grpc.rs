//! The audit service's gRPC API.

use std::sync::Arc;

use citycode_auth::caller;
use citycode_service_kit::deadline;
use citycode_wire::proto::audit::v1::audit_service_server::AuditService;
use citycode_wire::proto::audit::v1::{HistoryRequest, HistoryResponse};
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
            self.0.history(&caller, message).await
        };
        Ok(Response::new(deadline::query(metadata, answer).await?))
    }
}
