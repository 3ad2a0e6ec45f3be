//! Fakes of all four services, which record every message and return prepared answers.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1 as audit;
use citycode_wire::proto::audit::v1::audit_service_server::AuditService;
use citycode_wire::proto::issuer::v1 as issuer;
use citycode_wire::proto::issuer::v1::import_request::Part;
use citycode_wire::proto::issuer::v1::issuer_service_server::IssuerService;
use citycode_wire::proto::revocation::v1 as revocation;
use citycode_wire::proto::revocation::v1::revocation_service_server::RevocationService;
use citycode_wire::proto::verifier::v1 as verifier;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierService;
use citycode_wire::verdict::problem_answer;
use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

/// The fake services. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct Fakes(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    seen: Vec<Seen>,
    ready: HashMap<TypeId, Box<dyn Any + Send>>,
    behaviour: Behaviour,
}

/// How the services react to a call.
#[derive(Default, Clone)]
pub(crate) enum Behaviour {
    /// They answer.
    #[default]
    Answer,
    /// They refuse with this problem.
    Refuse(Problem),
    /// They fail with a status of the transport.
    Fail(Status),
    /// They never answer.
    Hang,
    /// They panic.
    Panic,
}

/// A call as it arrived.
struct Seen {
    metadata: HashMap<String, String>,
    message: Box<dyn Any + Send>,
}

impl Fakes {
    /// Prepares the answer of calls that answer with this type; without one they answer with empty fields.
    pub(crate) fn ready<A: Clone + Send + 'static>(&self, answer: A) {
        self.inner().ready.insert(TypeId::of::<A>(), Box::new(answer));
    }

    pub(crate) fn behaviour(&self, behaviour: Behaviour) {
        self.inner().behaviour = behaviour;
    }

    /// The only message of this type that has arrived since the last call of this method.
    pub(crate) fn asked<Q: 'static>(&self) -> Q {
        let mut inner = self.inner();
        let (wanted, others) = std::mem::take(&mut inner.seen)
            .into_iter()
            .partition::<Vec<_>, _>(|seen| seen.message.is::<Q>());
        inner.seen = others;
        let [seen] = <[Seen; 1]>::try_from(wanted)
            .ok()
            .expect("exactly one message of this type");
        *seen.message.downcast().expect("its type was looked at")
    }

    /// Number of calls that have arrived and were not taken by `asked`.
    pub(crate) fn calls(&self) -> usize {
        self.inner().seen.len()
    }

    /// This metadata of the last call.
    pub(crate) fn metadata(&self, name: &str) -> Option<String> {
        self.inner().seen.last()?.metadata.get(name).cloned()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn record<Q: Send + 'static>(&self, metadata: &tonic::metadata::MetadataMap, message: Q) {
        let metadata = metadata
            .clone()
            .into_headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .collect();
        let message = Box::new(message);
        self.inner().seen.push(Seen { metadata, message });
    }

    async fn behave(&self) -> Result<(), Status> {
        let behaviour = self.inner().behaviour.clone();
        match behaviour {
            Behaviour::Answer => Ok(()),
            Behaviour::Refuse(problem) => Err(problem.into()),
            Behaviour::Fail(status) => Err(status),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Panic => panic!("a service met a bug"),
        }
    }

    async fn take<Q, A>(&self, request: Request<Q>) -> Result<Response<A>, Status>
    where
        Q: Send + 'static,
        A: Clone + Default + 'static,
    {
        let (metadata, _, message) = request.into_parts();
        self.record(&metadata, message);
        self.behave().await?;
        let inner = self.inner();
        let ready = inner.ready.get(&TypeId::of::<A>());
        let answer = ready.and_then(|answer| answer.downcast_ref::<A>());
        Ok(Response::new(answer.cloned().unwrap_or_default()))
    }
}

macro_rules! fake {
    ($service:ident, $package:ident, { $($method:ident: $request:ident => $response:ident,)+ } { $($more:tt)* }) => {
        #[tonic::async_trait]
        impl $service for Fakes {
            $(
                async fn $method(
                    &self,
                    request: Request<$package::$request>,
                ) -> Result<Response<$package::$response>, Status> {
                    self.take(request).await
                }
            )+
            $($more)*
        }
    };
}

fake!(IssuerService, issuer, {
    register: RegisterRequest => RegisterResponse,
    relate: RelateRequest => RelateResponse,
    unrelate: UnrelateRequest => UnrelateResponse,
    issue: IssueRequest => IssueResponse,
    reprint: ReprintRequest => ReprintResponse,
    list_codes: ListCodesRequest => ListCodesResponse,
    list_queries_about: ListQueriesAboutRequest => ListQueriesAboutResponse,
    rename: RenameRequest => RenameResponse,
    erase: EraseRequest => EraseResponse,
    list_keys: ListKeysRequest => ListKeysResponse,
    rotate_keys: RotateKeysRequest => RotateKeysResponse,
    compromise_key: CompromiseKeyRequest => CompromiseKeyResponse,
} {
    type ImportStream = Pin<Box<dyn Stream<Item = Result<issuer::ImportResponse, Status>> + Send>>;

    async fn import(
        &self,
        request: Request<Streaming<issuer::ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let (metadata, _, mut rows) = request.into_parts();
        let first = rows.message().await?.and_then(|message| message.part);
        let Some(Part::Options(options)) = first else {
            return Err(Status::internal("no options"));
        };
        self.record(&metadata, options);
        self.behave().await?;
        let fakes = self.clone();
        Ok(Response::new(Box::pin(rows.map(move |message| match message?.part {
            Some(Part::Row(row)) => fakes.import_row(row),
            _ => Err(Status::internal("no row")),
        }))))
    }
});

fake!(RevocationService, revocation, {
    report_loss: ReportLossRequest => ReportLossResponse,
    revoke: RevokeRequest => RevokeResponse,
    revoke_code: RevokeCodeRequest => RevokeCodeResponse,
    suspend: SuspendRequest => SuspendResponse,
    reinstate: ReinstateRequest => ReinstateResponse,
    set_standing: SetStandingRequest => SetStandingResponse,
    get_status_list: GetStatusListRequest => GetStatusListResponse,
    list_status_keys: ListStatusKeysRequest => ListStatusKeysResponse,
    list_status_lists: ListStatusListsRequest => ListStatusListsResponse,
} {});

fake!(VerifierService, verifier, { verify: VerifyRequest => VerifyResponse,
    get_knowledge: GetKnowledgeRequest => GetKnowledgeResponse, } {
    type VerifyStreamStream = Pin<Box<dyn Stream<Item = Result<verifier::VerifyResponse, Status>> + Send>>;

    async fn verify_stream(
        &self,
        request: Request<Streaming<verifier::VerifyRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        self.behave().await?;
        let scans = request.into_inner();
        Ok(Response::new(Box::pin(scans.map(|scan| Ok(streamed(&scan?))))))
    }
});

fake!(AuditService, audit, { history: HistoryRequest => HistoryResponse, explain: ExplainRequest => ExplainResponse,
    codes: CodesRequest => CodesResponse, verify_at: VerifyAtRequest => VerifyAtResponse,
    list_queries: ListQueriesRequest => ListQueriesResponse,
    get_log_file: GetLogFileRequest => GetLogFileResponse, prove_event: ProveEventRequest => ProveEventResponse, } {
    type CheckLogStream = Pin<Box<dyn Stream<Item = Result<audit::CheckLogResponse, Status>> + Send>>;

    async fn check_log(&self, request: Request<audit::CheckLogRequest>) -> Result<Response<Self::CheckLogStream>, Status> {
        let update: Response<audit::CheckLogResponse> = self.take(request).await?;
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(update.into_inner())]))))
    }

    type RunStream = Pin<Box<dyn Stream<Item = Result<audit::RunResponse, Status>> + Send>>;

    async fn run(&self, request: Request<audit::RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        let update: Response<audit::RunResponse> = self.take(request).await?;
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(update.into_inner())]))))
    }

    type StateStream = Pin<Box<dyn Stream<Item = Result<audit::StateResponse, Status>> + Send>>;

    async fn state(&self, request: Request<audit::StateRequest>) -> Result<Response<Self::StateStream>, Status> {
        let update: Response<audit::StateResponse> = self.take(request).await?;
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(update.into_inner())]))))
    }

    type WhatIfStream = Pin<Box<dyn Stream<Item = Result<audit::WhatIfResponse, Status>> + Send>>;

    async fn what_if(&self, request: Request<audit::WhatIfRequest>) -> Result<Response<Self::WhatIfStream>, Status> {
        let update: Response<audit::WhatIfResponse> = self.take(request).await?;
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(update.into_inner())]))))
    }

    type ExportStream = Pin<Box<dyn Stream<Item = Result<audit::ExportResponse, Status>> + Send>>;

    async fn export(&self, request: Request<audit::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let update: Response<audit::ExportResponse> = self.take(request).await?;
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(update.into_inner())]))))
    }
});

impl Fakes {
    /// A row named "break" breaks the stream, one named "reject" is rejected, every other is issued.
    fn import_row(&self, row: issuer::ImportRow) -> Result<issuer::ImportResponse, Status> {
        let mut answer = issuer::ImportResponse {
            line: row.line,
            outcome: issuer::ImportOutcome::Issued.into(),
            code: Some(code()),
            problem: None,
        };
        match row.name.as_str() {
            "break" => return Err(Problem::new(Code::Unavailable, "the log is away").into()),
            "reject" => {
                answer.outcome = issuer::ImportOutcome::Rejected.into();
                answer.code = None;
                answer.problem = Some(citycode_wire::proto::model::v1::Problem {
                    code: "invalid_id_number".into(),
                    detail: "the check character is wrong".into(),
                    outcome: "not_done".into(),
                });
            }
            _ => {}
        }
        self.record(&tonic::metadata::MetadataMap::new(), row);
        Ok(answer)
    }
}

/// A place "moon" cannot be judged; otherwise the verdict names the scan's text as its code id.
fn streamed(scan: &verifier::VerifyRequest) -> verifier::VerifyResponse {
    if scan.place == "moon" {
        let problem = citycode_wire::proto::model::v1::Problem {
            code: "unknown_place".into(),
            detail: "the policy knows no such place".into(),
            outcome: "not_done".into(),
        };
        return problem_answer("moon", problem);
    }
    let text = match &scan.scan {
        Some(verifier::verify_request::Scan::Code(text)) => text.clone(),
        _ => String::new(),
    };
    verifier::VerifyResponse {
        code_id: Some(text),
        ..verdict()
    }
}

/// A code as the issuer returns it.
pub(crate) fn code() -> issuer::IssuedCode {
    issuer::IssuedCode {
        code_id: "9f86d081884c7d65".into(),
        kind: "offline".into(),
        token: "TOKEN:TEXT".into(),
        issued_at: 1_661_911_200,
        expires_at: 1_677_463_200,
        supersedes: Some("0011223344556677".into()),
        status: Some(issuer::StatusPlace {
            list: "0000002a".into(),
            index: 77,
        }),
        masked_name: None,
    }
}

/// A verdict as the verifier returns it.
pub(crate) fn verdict() -> verifier::VerifyResponse {
    verifier::VerifyResponse {
        decision: verifier::Decision::AdmitAfterIdCheck.into(),
        reason: verifier::Reason::IdCheckRequired.into(),
        kind: Some("offline".into()),
        code_id: Some("9f86d081884c7d65".into()),
        place: "staffed".into(),
        expires_at: Some(1_677_463_200),
        standing: citycode_wire::proto::model::v1::Standing::Green.into(),
        as_of: Some(verifier::AsOf {
            partition: Some(3),
            sequence: Some(41),
            age_ms: 120,
        }),
        explanation: Some(verifier::Explanation {
            zh: "请核对身份证".into(),
            en: "Check the ID card".into(),
        }),
        problem: None,
    }
}
