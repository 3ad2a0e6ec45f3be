//! The issuer's gRPC API: takes the caller out of a request, parses its fields, and passes a command on.

use std::pin::Pin;
use std::sync::Arc;

use citycode_auth::{UntilExpired, caller};
use citycode_command_auth::{Received, problem_of_request};
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

/// Implements unary methods. `change` or `query` determines whether their failures have an outcome. `person` methods may be
/// called with an assertion, whose use is bound to the whole message; the field in brackets is the id that a repetition of
/// the message has in common with it.
macro_rules! unary {
    (
        person { $($kind:ident $person:ident($id:ident): $person_request:ident => $person_response:ident,)+ }
        other { $($method:ident: $request:ident => $response:ident,)+ }
    ) => {
        #[tonic::async_trait]
        impl IssuerService for IssuerGrpc {
            $(
                async fn $person(
                    &self,
                    request: Request<proto::$person_request>,
                ) -> Result<Response<proto::$person_response>, Status> {
                    let caller = caller(&request);
                    let (metadata, _, message) = request.into_parts();
                    let answer = async {
                        let (caller, entropy) = (caller?, &*self.0.authorizer.entropy);
                        let received = Received::parse(&caller, stringify!($person), message, |message| &message.$id, entropy)?;
                        self.0.$person(&caller, received).await
                    };
                    Ok(Response::new(deadline::$kind(&metadata, answer).await?))
                }
            )+

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
                let import = Arc::new(Import::start(Arc::clone(&self.0), caller, options.into())?);
                let answers = rows
                    .map(move |message| {
                        let import = Arc::clone(&import);
                        // One task per row, so that rows use every core; they are answered in order.
                        async move {
                            match message?.part {
                                Some(proto::import_request::Part::Row(row)) => {
                                    let row = tokio::spawn(async move { import.row(row.line, row.try_into()).await });
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
    person {
        change register(command_id): RegisterRequest => RegisterResponse,
        change relate(command_id): RelateRequest => RelateResponse,
        change unrelate(command_id): UnrelateRequest => UnrelateResponse,
        change rename(command_id): RenameRequest => RenameResponse,
        change issue(command_id): IssueRequest => IssueResponse,
        change reprint(command_id): ReprintRequest => ReprintResponse,
        query list_codes(question_id): ListCodesRequest => ListCodesResponse,
        query list_queries_about(question_id): ListQueriesAboutRequest => ListQueriesAboutResponse,
    }
    other {
        erase: EraseRequest => EraseResponse,
        rotate_keys: RotateKeysRequest => RotateKeysResponse,
        compromise_key: CompromiseKeyRequest => CompromiseKeyResponse,
    }
}
