//! The public files of the log's trees (C2SP tlog-tiles), and auditors' questions about them: proofs, and the check of the
//! whole log.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::problem::{Code, JsonBody, Problem};
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::proto::model::v1 as model;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{line, lines, progress_line};
use super::verify::PositionAnswer;
use crate::answer::{Binary, incomplete, invalid, json};
use crate::call::{Call, public};
use crate::portal::{Shared, SharedState};

/// Returns the public keys of the log's trees, one verifier key (C2SP signed-note) a line, one for each partition.
#[utoipa::path(get, path = "/log/keys", operation_id = "log_keys", tag = "log",
    responses((status = 200, description = "The keys, one a line", body = String, content_type = "text/plain")))]
pub(crate) async fn keys(State(shared): SharedState, headers: HeaderMap) -> Result<Response, Problem> {
    file(&shared, &headers, "keys".to_owned()).await
}

/// Returns the newest checkpoint of a partition (C2SP tlog-checkpoint): the size and root of its tree, signed. It includes
/// every commit that is older than five seconds.
#[utoipa::path(get, path = "/log/{partition}/checkpoint", operation_id = "log_checkpoint", tag = "log",
    params(("partition" = String, Path, description = "The partition in two digits, e.g. 07")),
    responses((status = 200, description = "A signed note", body = String, content_type = "text/plain")))]
pub(crate) async fn checkpoint(
    State(shared): SharedState,
    partition: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(partition) = partition.map_err(|_| unknown())?;
    file(&shared, &headers, format!("{partition}/checkpoint")).await
}

/// Returns the latest checkpoint of a partition that witnesses have cosigned. The newest checkpoint is replaced each second,
/// so that a reader may never find one that is cosigned already.
#[utoipa::path(get, path = "/log/{partition}/witnessed", operation_id = "log_witnessed", tag = "log",
    params(("partition" = String, Path, description = "The partition in two digits, e.g. 07")),
    responses((status = 200, description = "A signed note with cosignatures", body = String, content_type = "text/plain")))]
pub(crate) async fn witnessed(
    State(shared): SharedState,
    partition: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(partition) = partition.map_err(|_| unknown())?;
    file(&shared, &headers, format!("{partition}/witnessed")).await
}

/// Returns a tile of hashes of a partition's tree (C2SP tlog-tiles). Tiles never change. There are no entry bundles.
#[utoipa::path(get, path = "/log/{partition}/tile/{*tile}", operation_id = "log_tile", tag = "log",
    params(("partition" = String, Path, description = "The partition in two digits, e.g. 07"),
        ("tile" = String, Path, description = "Level and number of the tile, e.g. 0/x001/234 or 1/000.p/17")),
    responses((status = 200, description = "The hashes, 32 bytes each", body = Binary, content_type = "application/octet-stream")))]
pub(crate) async fn tile(
    State(shared): SharedState,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((partition, tile)) = path.map_err(|_| unknown())?;
    file(&shared, &headers, format!("{partition}/tile/{tile}")).await
}

fn unknown() -> Problem {
    Problem::new(Code::NotFound, "the log's trees have no such file")
}

async fn file(shared: &Shared, headers: &HeaderMap, path: String) -> Result<Response, Problem> {
    let mut audit = shared.clients.audit.clone();
    let message = public(headers, proto::GetLogFileRequest { path });
    let answer = audit.get_log_file(message).await?.into_inner();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| incomplete("audit"));
    let mut response = Body::from(answer.content).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value(&answer.media_type)?);
    headers.insert(
        CACHE_CONTROL,
        value(&format!("public, max-age={}", answer.ttl_seconds))?,
    );
    Ok(response)
}

/// What happened to a code.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum CodeEventBody {
    /// It was issued.
    Issued,
    /// It died before it expired.
    Died,
}

/// An event of a code, and the reason for looking at it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"purpose": "court order 12", "code_id": "0123456789abcdef", "event": "died"}))]
pub(crate) struct ProofBody {
    /// Why this is asked, without an ID or telephone number.
    #[schema(min_length = 4, max_length = 200)]
    purpose: String,
    /// The code, 16 hex digits.
    #[schema(pattern = "^[0-9a-fA-F]{16}$")]
    code_id: String,
    /// What happened to the code: `issued` or `died`.
    #[schema(value_type = String, pattern = "^(issued|died)$")]
    event: CodeEventBody,
}

/// A proof that an event is in the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProofAnswer<'a> {
    /// The proof file (C2SP tlog-proof).
    proof: &'a str,
}

/// Proves to somebody without access that a birth or a death of a code is in the log. The proof (C2SP tlog-proof) names
/// neither a person nor another code; `citycode log verify` checks it offline.
#[utoipa::path(post, path = "/api/v1/audit/log-proof", operation_id = "prove_event", tag = "audit", request_body = ProofBody,
    responses((status = 200, description = "The proof", body = ProofAnswer)))]
pub(crate) async fn prove(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<ProofBody>,
) -> Result<Response, Problem> {
    let event = match body.event {
        CodeEventBody::Issued => proto::CodeEvent::Issued,
        CodeEventBody::Died => proto::CodeEvent::Died,
    };
    let message = proto::ProveEventRequest {
        purpose: body.purpose,
        code_id: body.code_id,
        event: event.into(),
    };
    let mut audit = shared.clients.audit.clone();
    let proof = audit.prove_event(call.with(message)).await?.into_inner().proof;
    let proof = std::str::from_utf8(&proof).map_err(|_| incomplete("audit"))?;
    json(&ProofAnswer { proof })
}

/// From where a log is checked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckBody {
    /// The first message to check, as `PP/SEQUENCE`; only its partition is then checked. The whole log if absent.
    #[schema(example = "07/1523", pattern = "^[0-9]{2,5}/[1-9][0-9]{0,18}$")]
    from: Option<String>,
}

/// Faults of one kind in one partition of the log.
#[derive(Serialize, ToSchema)]
struct FaultAnswer<'a> {
    /// The check that found them.
    #[schema(example = "leaf")]
    check: &'a str,
    /// Position of the first one.
    position: PositionAnswer,
    /// How many there are.
    count: u64,
    /// What is wrong with the first one.
    detail: &'a str,
}

/// A signed checkpoint with which the log was compared.
#[derive(Serialize, ToSchema)]
struct ComparedAnswer<'a> {
    /// The partition.
    partition: u32,
    /// Leaves of the tree.
    size: u64,
    /// Root of the tree, base64.
    root: &'a str,
}

/// The result of a check of the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckAnswer<'a> {
    /// Whether nothing is wrong.
    whole: bool,
    /// Messages that were read.
    commits: u64,
    /// Leaves that were compared with the published trees.
    compared: u64,
    /// The checkpoints with which they were compared.
    checkpoints: Vec<ComparedAnswer<'a>>,
    /// Recorded queries that agree with their digests in the log.
    queries: u64,
    /// What is wrong.
    faults: Vec<FaultAnswer<'a>>,
}

/// Reads the whole log: hashes, chains, order, and the published trees. It names the first position of each fault. The
/// answer is lines of JSON as of `audit/run`.
#[utoipa::path(post, path = "/api/v1/audit/log-check", operation_id = "check_log", tag = "audit", request_body = CheckBody,
    responses((status = 200, description = "Lines: progress, then `{\"result\": CheckAnswer}`", body = Binary, content_type = "application/x-ndjson")))]
pub(crate) async fn check(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<CheckBody>,
) -> Result<Response, Problem> {
    let message = proto::CheckLogRequest {
        from: body.from.as_deref().map(position).transpose()?,
    };
    let mut audit = shared.clients.audit.clone();
    let updates = audit.check_log(call.with(message)).await?.into_inner();
    Ok(lines(updates, |update| match update.update? {
        proto::check_log_response::Update::Progress(progress) => progress_line(&progress),
        proto::check_log_response::Update::Result(result) => line("result", &answer(&result)?),
    }))
}

fn position(text: &str) -> Result<model::Position, Problem> {
    let parse = || {
        let (partition, sequence) = text.split_once('/')?;
        Some(model::Position {
            partition: partition.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    };
    parse().ok_or_else(|| invalid("from is a position, e.g. 07/1523"))
}

fn answer(result: &proto::CheckLogResult) -> Option<CheckAnswer<'_>> {
    let faults = result.faults.iter().map(|fault| {
        Some(FaultAnswer {
            check: &fault.check,
            position: PositionAnswer::of(fault.position.as_ref()?),
            count: fault.count,
            detail: &fault.detail,
        })
    });
    let checkpoints = result.checkpoints.iter().map(|compared| ComparedAnswer {
        partition: compared.partition,
        size: compared.size,
        root: &compared.root,
    });
    Some(CheckAnswer {
        whole: result.faults.is_empty(),
        commits: result.commits,
        compared: result.compared,
        queries: result.queries,
        checkpoints: checkpoints.collect(),
        faults: faults.collect::<Option<_>>()?,
    })
}
