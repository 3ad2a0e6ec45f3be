//! The revocation service's gRPC API: takes the caller out of a request, parses its fields, and passes a command on.

use std::sync::Arc;

use citycode_auth::caller;
use citycode_command_auth::problem_of_request;
use citycode_service_kit::deadline;
use citycode_wire::proto::revocation::v1 as proto;
use citycode_wire::proto::revocation::v1::revocation_service_server::RevocationService;
use tonic::{Request, Response, Status};

use crate::Revocation;

/// The gRPC endpoint of the revocation service.
#[derive(Clone)]
pub struct RevocationGrpc(pub Arc<Revocation>);

/// Parsed methods take a command that [`citycode_wire::request`] makes of the message; the others take the message.
macro_rules! unary {
    (
        parsed { $($parsed:ident: $parsed_request:ident => $parsed_response:ident,)+ }
        message { $($method:ident: $request:ident => $response:ident,)+ }
    ) => {
        #[tonic::async_trait]
        impl RevocationService for RevocationGrpc {
            $(
                async fn $parsed(
                    &self,
                    request: Request<proto::$parsed_request>,
                ) -> Result<Response<proto::$parsed_response>, Status> {
                    let caller = caller(&request);
                    let (metadata, _, message) = request.into_parts();
                    let answer = async {
                        let caller = caller?;
                        let command = message.try_into().map_err(problem_of_request)?;
                        self.0.$parsed(&caller, command).await
                    };
                    Ok(Response::new(deadline::change(&metadata, answer).await?))
                }
            )+

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
    parsed {
        revoke: RevokeRequest => RevokeResponse,
        revoke_code: RevokeCodeRequest => RevokeCodeResponse,
        suspend: SuspendRequest => SuspendResponse,
        reinstate: ReinstateRequest => ReinstateResponse,
        set_standing: SetStandingRequest => SetStandingResponse,
    }
    message {
        report_loss: ReportLossRequest => ReportLossResponse,
    }
}
