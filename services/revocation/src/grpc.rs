//! The revocation service's gRPC API.

use std::sync::Arc;

use citycode_auth::caller;
use citycode_service_kit::deadline;
use citycode_wire::proto::revocation::v1 as proto;
use citycode_wire::proto::revocation::v1::revocation_service_server::RevocationService;
use tonic::{Request, Response, Status};

use crate::Revocation;

/// The gRPC endpoint of the revocation service.
#[derive(Clone)]
pub struct RevocationGrpc(pub Arc<Revocation>);

macro_rules! unary {
    ($($method:ident: $request:ident => $response:ident,)+) => {
        #[tonic::async_trait]
        impl RevocationService for RevocationGrpc {
            $(
                async fn $method(
                    &self,
                    request: Request<proto::$request>,
                ) -> Result<Response<proto::$response>, Status> {
                    let (metadata, message) = (request.metadata(), request.get_ref());
                    let answer = async {
                        let caller = caller(&request)?;
                        self.0.$method(&caller, message).await
                    };
                    Ok(Response::new(deadline::change(metadata, answer).await?))
                }
            )+

            async fn get_status_list(
                &self,
                request: Request<proto::GetStatusListRequest>,
            ) -> Result<Response<proto::GetStatusListResponse>, Status> {
                Ok(Response::new(self.0.lists.get(request.get_ref())?))
            }

            async fn list_status_lists(
                &self,
                _request: Request<proto::ListStatusListsRequest>,
            ) -> Result<Response<proto::ListStatusListsResponse>, Status> {
                Ok(Response::new(self.0.lists.list()?))
            }

            async fn list_status_keys(
                &self,
                _request: Request<proto::ListStatusKeysRequest>,
            ) -> Result<Response<proto::ListStatusKeysResponse>, Status> {
                Ok(Response::new(self.0.lists.list_keys()))
            }
        }
    };
}

unary! {
    report_loss: ReportLossRequest => ReportLossResponse,
    revoke: RevokeRequest => RevokeResponse,
    revoke_code: RevokeCodeRequest => RevokeCodeResponse,
    suspend: SuspendRequest => SuspendResponse,
    reinstate: ReinstateRequest => ReinstateResponse,
    set_standing: SetStandingRequest => SetStandingResponse,
}
