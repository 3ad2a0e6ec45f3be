//! The issuer's gRPC API: obtains the caller from the request and calls the command's method.

use std::pin::Pin;
use std::sync::Arc;

use citycode_auth::{UntilExpired, caller};
use citycode_service_kit::deadline;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1 as proto;
use citycode_wire::proto::issuer::v1::issuer_service_server::IssuerService;
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::Issuer;
use crate::import::Import;

/// Rows of one import that are processed concurrently: enough to fill the log's group commits, and a bound on memory.
const IMPORT_IN_FLIGHT: usize = 1024;

/// The gRPC service of an issuer.
#[derive(Clone)]
pub struct IssuerGrpc(pub Arc<Issuer>);

/// Implements unary methods. `change` or `query` determines whether their failures have an outcome.
macro_rules! unary {
    ($($(#[$doc:meta])* $kind:ident $method:ident: $request:ident => $response:ident,)+) => {
        #[tonic::async_trait]
        impl IssuerService for IssuerGrpc {
            $(
                $(#[$doc])*
                async fn $method(
                    &self,
                    request: Request<proto::$request>,
                ) -> Result<Response<proto::$response>, Status> {
                    let (metadata, message) = (request.metadata(), request.get_ref());
                    let answer = async {
                        let caller = caller(&request)?;
                        self.0.$method(&caller, message).await
                    };
                    Ok(Response::new(deadline::$kind(metadata, answer).await?))
                }
            )+

            async fn list_keys(
                &self,
                _request: Request<proto::ListKeysRequest>,
            ) -> Result<Response<proto::ListKeysResponse>, Status> {
                Ok(Response::new(self.0.list_keys()))
            }

            type ImportStream = Pin<Box<dyn Stream<Item = Result<proto::ImportResponse, Status>> + Send>>;

            async fn import(
                &self,
                request: Request<Streaming<proto::ImportRequest>>,
            ) -> Result<Response<Self::ImportStream>, Status> {
                let caller = caller(&request)?;
                let mut rows = UntilExpired::new(request.into_inner(), &caller, &self.0.authorizer.clock);
                let first = rows.next().await.transpose()?.and_then(|message| message.part);
                let Some(proto::import_request::Part::Options(options)) = first else {
                    return Err(Problem::new(Code::InvalidRequest, "the first message of an import must contain its options").into());
                };
                let import = Arc::new(Import::start(Arc::clone(&self.0), caller, options)?);
                let answers = rows
                    .map(move |message| {
                        let import = Arc::clone(&import);
                        // One task per row, so that rows use every core; they are answered in order.
                        async move {
                            match message?.part {
                                Some(proto::import_request::Part::Row(row)) => {
                                    let row = tokio::spawn(async move { import.row(row).await });
                                    row.await.map_err(|_| Status::from(Problem::internal()))
                                }
                                _ => Err(Problem::new(Code::InvalidRequest, "all messages after the options must contain rows").into()),
                            }
                        }
                    })
                    .buffered(IMPORT_IN_FLIGHT);
                Ok(Response::new(Box::pin(answers)))
            }
        }
    };
}

unary! {
    change register: RegisterRequest => RegisterResponse,
    change relate: RelateRequest => RelateResponse,
    change unrelate: UnrelateRequest => UnrelateResponse,
    change rename: RenameRequest => RenameResponse,
    change issue: IssueRequest => IssueResponse,
    change reprint: ReprintRequest => ReprintResponse,
    query list_codes: ListCodesRequest => ListCodesResponse,
    change erase: EraseRequest => EraseResponse,
    change rotate_keys: RotateKeysRequest => RotateKeysResponse,
    change compromise_key: CompromiseKeyRequest => CompromiseKeyResponse,
}
