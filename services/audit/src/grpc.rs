//! The audit service's gRPC face.

use std::sync::Arc;

use citycode_service_kit::auth::caller;
use citycode_wire::proto::audit::v1::audit_service_server::AuditService;
use citycode_wire::proto::audit::v1::{HistoryRequest, HistoryResponse};
use tonic::{Request, Response, Status};

use crate::Audit;

/// The gRPC service of an auditor.
#[derive(Clone)]
pub struct AuditFace(pub Arc<Audit>);

#[tonic::async_trait]
impl AuditService for AuditFace {
    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.history(&caller, request.get_ref()).await?))
    }
}
