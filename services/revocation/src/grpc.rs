//! The revocation service's gRPC API: takes the caller out of a request, parses its fields, and passes a command on.

use std::sync::Arc;

use citycode_auth::caller;
use citycode_command_auth::{Received, problem_of_request};
use citycode_service_kit::deadline;
use citycode_wire::proto::revocation::v1 as proto;
use citycode_wire::proto::revocation::v1::revocation_service_server::RevocationService;
use tonic::{Request, Response, Status};

use crate::Revocation;

/// The gRPC endpoint of the revocation service.
#[derive(Clone)]
pub struct RevocationGrpc(pub Arc<Revocation>);

/// Implements the service; these methods take the command that [`citycode_wire::request`] makes of the message.
macro_rules! unary {
    ($($method:ident: $request:ident => $response:ident,)+) => {
        #[tonic::async_trait]
        impl RevocationService for RevocationGrpc {
            $(
                async fn $method(
                    &self,
                    request: Request<proto::$request>,
                ) -> Result<Response<proto::$response>, Status> {
                    let caller = caller(&request);
                    let (metadata, _, message) = request.into_parts();
                    let answer = async {
                        let caller = caller?;
                        let command = message.try_into().map_err(problem_of_request)?;
                        self.0.$method(&caller, command).await
                    };
                    Ok(Response::new(deadline::change(&metadata, answer).await?))
                }
            )+

            async fn report_loss(
                &self,
                request: Request<proto::ReportLossRequest>,
            ) -> Result<Response<proto::ReportLossResponse>, Status> {
                let caller = caller(&request);
                let (metadata, _, message) = request.into_parts();
                let answer = async {
                    let (caller, entropy) = (caller?, &*self.0.authorizer.entropy);
                    // The use of an assertion is bound to the whole message.
                    let received = Received::parse(&caller, "report_loss", message, |message| &message.command_id, entropy)?;
                    self.0.report_loss(&caller, received).await
                };
                Ok(Response::new(deadline::change(&metadata, answer).await?))
            }

            async fn get_status_list(
                &self,
                request: Request<proto::GetStatusListRequest>,
            ) -> Result<Response<proto::GetStatusListResponse>, Status> {
                let request = request.get_ref();
                Ok(Response::new(match request.time {
                    Some(instant) => self.0.lists.get_at(request, instant).await?,
                    None => self.0.lists.get(request)?,
                }))
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
    revoke: RevokeRequest => RevokeResponse,
    revoke_code: RevokeCodeRequest => RevokeCodeResponse,
    suspend: SuspendRequest => SuspendResponse,
    reinstate: ReinstateRequest => ReinstateResponse,
    set_standing: SetStandingRequest => SetStandingResponse,
}
