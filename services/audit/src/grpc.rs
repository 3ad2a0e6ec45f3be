//! The audit service's gRPC API.

use std::pin::Pin;
use std::sync::Arc;

use citycode_auth::{Caller, caller};
use citycode_domain::ids::CodeId;
use citycode_event_store::{Partition, Position, Sequence};
use citycode_query_stream::QueryKind;
use citycode_service_kit::deadline;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1::audit_service_server::AuditService;
use citycode_wire::proto::audit::v1::{
    AuditProgress, CheckLogRequest, CheckLogResponse, CodeEvent, CodesRequest, CodesResponse, ExplainRequest,
    ExplainResponse, ExportRequest, ExportResponse, ExportSummary, GetLogFileRequest, GetLogFileResponse,
    HistoryRequest, HistoryResponse, ListQueriesRequest, ListQueriesResponse, PartResult, ProveEventRequest,
    ProveEventResponse, RunRequest, RunResponse, StateRequest, StateResponse, StateResult, VerifyAtRequest,
    VerifyAtResponse, WhatIfRequest, WhatIfResponse, check_log_response, export_response, run_response, state_response,
    what_if_response,
};
use citycode_wire::request::{
    FieldFault, HistoryQuery, InvalidRequest, ListQueriesQuery, PastCodesQuery, Period, Question, ScanRequest, purpose,
};
use futures::Stream;
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tonic::{Request, Response, Status};

use crate::Audit;
use crate::export::RowSink;
use crate::queries::Asked;
use crate::run::Observer;

/// Messages of progress that wait for a slow caller.
const WAITING: usize = 4;

/// Audits of periods that run at once in a process: each holds the lives of all codes in memory.
static RUNNING: Semaphore = Semaphore::const_new(1);
/// Counts of the whole city that run at once in a process: each holds the codes of a partition in memory.
static COUNTING: Semaphore = Semaphore::const_new(1);
/// When a refused audit may be asked for again.
const RETRY_AFTER_SECONDS: u64 = 60;

/// The gRPC service for auditors.
#[derive(Clone)]
pub struct AuditGrpc(pub Arc<Audit>);

type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AuditService for AuditGrpc {
    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let answer = async {
            let caller = caller(&request)?;
            let query = HistoryQuery::try_from(message).map_err(invalid)?;
            self.0.history(&caller, query).await
        };
        Ok(Response::new(deadline::query(metadata, answer).await?))
    }

    async fn codes(&self, request: Request<CodesRequest>) -> Result<Response<CodesResponse>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let answer = async {
            let caller = caller(&request)?;
            let query = PastCodesQuery::try_from(message).map_err(invalid)?;
            self.0.codes(&caller, query).await
        };
        Ok(Response::new(deadline::query(metadata, answer).await?))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let answer = async {
            let caller = caller(&request)?;
            let question = Question::try_from(message).map_err(invalid)?;
            self.0.explain(&caller, message.purpose.trim(), question).await
        };
        Ok(Response::new(deadline::query(metadata, answer).await?))
    }

    async fn list_queries(
        &self,
        request: Request<ListQueriesRequest>,
    ) -> Result<Response<ListQueriesResponse>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let answer = async {
            let caller = caller(&request)?;
            let query = ListQueriesQuery::try_from(message).map_err(invalid)?;
            self.0.list_queries(&caller, &query).await
        };
        Ok(Response::new(deadline::query(metadata, answer).await?))
    }

    type RunStream = Updates<RunResponse>;

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        let caller = caller(&request)?;
        let RunRequest { purpose: why, from, to } = request.into_inner();
        let (period, permit) = self.begin(&caller, &why, (from, to))?;
        let audit = Arc::clone(&self.0);
        let updates = updates(|mut observer: Sender<RunResponse>| async move {
            let _running = permit;
            let asked = of_period(QueryKind::AuditRun, &why);
            // The results of parts are answers too, so the question is recorded before the first one.
            let result = match audit.record_query(&caller, asked, 0).await {
                Ok(()) => audit.run(period, &mut observer).await,
                Err(problem) => Err(problem),
            };
            let result = audit.record_answer(&caller, asked, result, |result| result.scans).await;
            let result = result.map(|result| RunResponse {
                update: Some(run_response::Update::Result(result)),
            });
            observer.end(result).await;
        });
        Ok(Response::new(updates))
    }

    type WhatIfStream = Updates<WhatIfResponse>;

    async fn what_if(&self, request: Request<WhatIfRequest>) -> Result<Response<Self::WhatIfStream>, Status> {
        let caller = caller(&request)?;
        let WhatIfRequest {
            purpose: why,
            policy,
            from,
            to,
        } = request.into_inner();
        let (period, permit) = self.begin(&caller, &why, (from, to))?;
        let audit = Arc::clone(&self.0);
        let updates = updates(|mut observer: Sender<WhatIfResponse>| async move {
            let _running = permit;
            let result = audit.what_if(&policy, period, &mut observer).await;
            let asked = of_period(QueryKind::WhatIf, &why);
            let result = audit.record_answer(&caller, asked, result, |result| result.scans).await;
            let result = result.map(|result| WhatIfResponse {
                update: Some(what_if_response::Update::Result(result)),
            });
            observer.end(result).await;
        });
        Ok(Response::new(updates))
    }

    type ExportStream = Updates<ExportResponse>;

    async fn export(&self, request: Request<ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let caller = caller(&request)?;
        let ExportRequest {
            purpose: why,
            from,
            to,
            exact,
        } = request.into_inner();
        self.0.may_export(&caller, exact)?;
        let (period, permit) = self.begin(&caller, &why, (from, to))?;
        let audit = Arc::clone(&self.0);
        // Recorded before the first row leaves, and again with the number of rows once it is known.
        let asked = of_period(QueryKind::Export, &why);
        audit.record_query(&caller, asked, 0).await?;
        let updates = updates(|mut rows: Sender<ExportResponse>| async move {
            let _running = permit;
            let result = audit.export(period, exact, &mut rows).await;
            let asked = of_period(QueryKind::Export, &why);
            let count = |summary: &ExportSummary| summary.events + summary.verdicts + summary.daily;
            let result = audit.record_answer(&caller, asked, result, count).await;
            let result = result.map(|summary| ExportResponse {
                update: Some(export_response::Update::Result(summary)),
            });
            rows.end(result).await;
        });
        Ok(Response::new(updates))
    }

    async fn get_log_file(&self, request: Request<GetLogFileRequest>) -> Result<Response<GetLogFileResponse>, Status> {
        let (audit, path) = (Arc::clone(&self.0), request.into_inner().path);
        let read = tokio::task::spawn_blocking(move || audit.log_file(&path)).await;
        Ok(Response::new(read.map_err(|_| Problem::internal())??))
    }

    async fn prove_event(&self, request: Request<ProveEventRequest>) -> Result<Response<ProveEventResponse>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let answer = async {
            let caller = caller(&request)?;
            let why = purpose(&message.purpose).map_err(invalid)?;
            let wrong = |what| Problem::new(Code::InvalidRequest, what);
            let code_id = CodeId::from_hex(&message.code_id).ok_or_else(|| wrong("a code id has 16 hex digits"))?;
            let is_birth = match message.event() {
                CodeEvent::Issued => true,
                CodeEvent::Died => false,
                CodeEvent::Unspecified => return Err(wrong("the event is missing: issued or died")),
            };
            let proof = self.0.prove(&caller, why, (code_id, is_birth)).await?;
            Ok(ProveEventResponse { proof })
        };
        Ok(Response::new(deadline::query(metadata, answer).await?))
    }

    type CheckLogStream = Updates<CheckLogResponse>;

    async fn check_log(&self, request: Request<CheckLogRequest>) -> Result<Response<Self::CheckLogStream>, Status> {
        let caller = caller(&request)?;
        self.0.auditors_only(&caller)?;
        let permit = running()?;
        let from = request.into_inner().from.map(checked_position).transpose()?;
        let audit = Arc::clone(&self.0);
        let updates = updates(|mut observer: Sender<CheckLogResponse>| async move {
            let _running = permit;
            let result = audit.check_log(from, &mut observer).await;
            let result = result.map(|result| CheckLogResponse {
                update: Some(check_log_response::Update::Result(result)),
            });
            observer.end(result).await;
        });
        Ok(Response::new(updates))
    }

    type StateStream = Updates<StateResponse>;

    async fn state(&self, request: Request<StateRequest>) -> Result<Response<Self::StateStream>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let permit = self.begin_state(&caller, &asked)?;
        let audit = Arc::clone(&self.0);
        let updates = updates(move |mut observer: Sender<StateResponse>| async move {
            let _running = permit;
            let result = audit.state(asked.as_of, asked.exact, &mut observer).await;
            let question = of_period(QueryKind::State, &asked.purpose);
            let rows = |result: &StateResult| result.by.len() as u64;
            let result = audit.record_answer(&caller, question, result, rows).await;
            let result = result.map(|result| StateResponse {
                update: Some(state_response::Update::Result(result)),
            });
            observer.end(result).await;
        });
        Ok(Response::new(updates))
    }

    async fn verify_at(&self, request: Request<VerifyAtRequest>) -> Result<Response<VerifyAtResponse>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let answer = async {
            let caller = caller(&request)?;
            let missing = || invalid(InvalidRequest::new("scan", FieldFault::Missing));
            let scan = ScanRequest::try_from(message.scan.as_ref().ok_or_else(missing)?).map_err(invalid)?;
            let verdict = self.0.verify_at(&caller, &scan).await?;
            Ok(VerifyAtResponse { verdict: Some(verdict) })
        };
        Ok(Response::new(deadline::query(metadata, answer).await?))
    }
}

/// The position from which a log is checked.
fn checked_position(sent: citycode_wire::proto::model::v1::Position) -> Result<Position, Problem> {
    let invalid = || Problem::new(Code::InvalidRequest, "from is not a position of the log");
    let partition = u16::try_from(sent.partition).map_err(|_| invalid())?;
    if sent.sequence == 0 {
        return Err(invalid());
    }
    Ok(Position {
        partition: Partition(partition),
        sequence: Sequence(sent.sequence),
    })
}

/// The permission to run one of the audits that read the whole log.
fn running() -> Result<SemaphorePermit<'static>, Problem> {
    permit(&RUNNING)
}

impl AuditGrpc {
    /// Checks who asks for counts, and why.
    fn begin_state(&self, caller: &Caller, asked: &StateRequest) -> Result<SemaphorePermit<'static>, Problem> {
        self.0.auditors_only(caller)?;
        if asked.exact {
            self.0.exact_counts_only(caller)?;
        }
        if !asked.purpose.is_empty() {
            purpose(&asked.purpose).map_err(invalid)?;
        }
        permit(&COUNTING)
    }

    /// Checks who asks for a period, and why.
    fn begin(
        &self,
        caller: &Caller,
        why: &str,
        (from, to): (i64, i64),
    ) -> Result<(Period, SemaphorePermit<'static>), Problem> {
        self.0.auditors_only(caller)?;
        purpose(why).map_err(invalid)?;
        let period = Period::new(from, to).map_err(invalid)?;
        Ok((period, running()?))
    }
}

/// A question about a period or the city, which is about no single person.
fn of_period(kind: QueryKind, why: &str) -> Asked<'_> {
    Asked {
        kind,
        purpose: why.trim(),
        holder: None,
    }
}

fn permit(running: &'static Semaphore) -> Result<SemaphorePermit<'static>, Problem> {
    running.try_acquire().map_err(|_| {
        let busy = Problem::new(
            Code::Unavailable,
            "another such audit, of a period, the log or the city, is running",
        );
        busy.with_retry_after(RETRY_AFTER_SECONDS)
    })
}

fn invalid(invalid: InvalidRequest) -> Problem {
    Problem::invalid_request(&invalid)
}

/// An update of progress.
trait Update: Sized + Send + 'static {
    fn progress(progress: AuditProgress) -> Self;

    /// The result of a part; `None` where there are no parts.
    fn part(_: PartResult) -> Option<Self> {
        None
    }
}

impl Update for RunResponse {
    fn progress(progress: AuditProgress) -> Self {
        Self {
            update: Some(run_response::Update::Progress(progress)),
        }
    }

    fn part(part: PartResult) -> Option<Self> {
        Some(Self {
            update: Some(run_response::Update::Part(part)),
        })
    }
}

impl Update for StateResponse {
    fn progress(progress: AuditProgress) -> Self {
        Self {
            update: Some(state_response::Update::Progress(progress)),
        }
    }
}

impl Update for CheckLogResponse {
    fn progress(progress: AuditProgress) -> Self {
        Self {
            update: Some(check_log_response::Update::Progress(progress)),
        }
    }
}

impl Update for WhatIfResponse {
    fn progress(progress: AuditProgress) -> Self {
        Self {
            update: Some(what_if_response::Update::Progress(progress)),
        }
    }
}

impl Update for ExportResponse {
    fn progress(progress: AuditProgress) -> Self {
        Self {
            update: Some(export_response::Update::Progress(progress)),
        }
    }
}

/// Sends updates to a caller.
struct Sender<T>(mpsc::Sender<Result<T, Status>>);

impl<T: Update> Sender<T> {
    async fn end(self, result: Result<T, Problem>) {
        // A caller that left needs no result.
        let _ = self.0.send(result.map_err(Status::from)).await;
    }
}

impl<T: Update> Observer for Sender<T> {
    fn progress(&mut self, progress: AuditProgress) -> bool {
        // Progress is dropped while a slow caller has not read earlier progress.
        match self.0.try_send(Ok(T::progress(progress))) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    fn part(&mut self, part: PartResult) {
        // Each part includes the earlier ones, so a slow caller may miss some.
        if let Some(update) = T::part(part) {
            let _ = self.0.try_send(Ok(update));
        }
    }
}

#[tonic::async_trait]
impl RowSink for Sender<ExportResponse> {
    async fn rows(&mut self, rows: export_response::Update) -> bool {
        self.0.send(Ok(ExportResponse { update: Some(rows) })).await.is_ok()
    }
}

/// The updates of a task, which is spawned here and ends when the caller leaves or the connection is closed, as at a stop of
/// the service. Recomputing is work for a processor, so the task has a thread for blocking work.
fn updates<T: Update, F>(task: impl FnOnce(Sender<T>) -> F) -> Updates<T>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    let caller = sender.clone();
    let work = task(Sender(sender));
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            tokio::select! {
                () = work => {}
                () = caller.closed() => {}
            }
        });
    });
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        let update = receiver.recv().await?;
        Some((update, receiver))
    }))
}
