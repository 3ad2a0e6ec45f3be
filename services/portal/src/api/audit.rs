//! Auditors' questions: why a verdict was given, and the recomputation of a period.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::problem::{JsonBody, Problem};
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::verdict::{decision, reason};
use futures::{StreamExt as _, stream};
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use tonic::Streaming;
use utoipa::ToSchema;

use super::verify::PositionAnswer;
use crate::answer::{Binary, Instant, incomplete, instant, invalid, json};
use crate::call::Call;
use crate::pipeline::problem_line;
use crate::portal::SharedState;

const DAY_SECONDS: i64 = 86_400;

/// What is explained: either `device` and `scan_id`, or `code`, `place` and `at`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"purpose": "complaint 17", "device": "gate-7", "scan_id": "000123"}))]
pub(crate) struct ExplainBody {
    /// Why this is asked, without an ID or telephone number.
    #[schema(min_length = 4, max_length = 200)]
    purpose: String,
    /// The scanning device.
    device: Option<String>,
    /// The device's id of the scan.
    scan_id: Option<String>,
    /// The day of the scan (UTC); all retained days if absent.
    #[schema(format = Date)]
    day: Option<String>,
    /// Text of a code or presentation.
    code: Option<String>,
    /// Name of the place.
    place: Option<String>,
    /// The instant at which the code is shown.
    #[schema(format = DateTime)]
    at: Option<String>,
}

/// A decision and its reason.
#[derive(Serialize, ToSchema)]
pub(crate) struct DecidedAnswer {
    /// `admit`, `admit_after_id_check`, `refuse` or `cannot_check`.
    #[schema(example = "refuse")]
    pub(super) decision: &'static str,
    /// The reason.
    #[schema(example = "superseded")]
    pub(super) reason: &'static str,
}

/// A verdict as it was recorded.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordedAnswer<'a> {
    /// What the place did.
    decision: &'static str,
    /// The reason.
    reason: &'static str,
    /// When the scan was judged.
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    /// The place.
    place: &'a str,
    /// The commit on which the verdict is based.
    position: PositionAnswer,
    /// Age of the knowledge in milliseconds.
    age_ms: u64,
}

/// A policy in the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyRefAnswer<'a> {
    /// Its name.
    name: &'a str,
    /// SHA-256 of its text, 64 hex digits.
    digest: &'a str,
}

/// An event on which a verdict rests.
#[derive(Serialize, ToSchema)]
pub(crate) struct RestingAnswer<'a> {
    /// Its position in the log.
    position: PositionAnswer,
    /// The event.
    #[schema(example = "CodeIssued")]
    event: &'a str,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    decided_at: Instant,
}

/// One of the questions that lead to a verdict, in the order of rule R23.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepAnswer<'a> {
    /// The rule.
    #[schema(example = "R19")]
    rule: &'a str,
    /// Name of the question.
    #[schema(example = "id_check")]
    check: &'a str,
    /// `passed`, `spoke` or `not_asked`.
    #[schema(example = "passed")]
    outcome: &'a str,
    /// A sentence in Chinese.
    zh: &'a str,
    /// A sentence in English.
    en: &'a str,
}

/// Why a verdict was given.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExplainAnswer<'a> {
    /// The verdict as recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<RecordedAnswer<'a>>,
    /// The recomputed verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    recomputed: Option<DecidedAnswer>,
    /// Whether both are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    agrees: Option<bool>,
    /// The policy under which it was recomputed.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyRefAnswer<'a>>,
    /// The events on which it rests.
    rests_on: Vec<RestingAnswer<'a>>,
    /// The questions in their order.
    steps: Vec<StepAnswer<'a>>,
    /// Why it cannot be recomputed.
    #[serde(skip_serializing_if = "str::is_empty")]
    not_recomputable: &'a str,
}

/// Recomputes one recorded verdict from the log as it stood at that moment, or computes the verdict that a verifier with
/// all knowledge of an instant would have given, and explains it.
#[utoipa::path(post, path = "/api/v1/audit/explain", tag = "audit", request_body = ExplainBody,
    responses((status = 200, description = "The verdict, what it rests on, and the questions that led to it", body = ExplainAnswer)))]
pub(crate) async fn explain(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<ExplainBody>,
) -> Result<Response, Problem> {
    let mut audit = shared.clients.audit.clone();
    let answer = audit.explain(call.with(question(body)?)).await?.into_inner();
    json(&explained(&answer).ok_or_else(|| incomplete("audit"))?)
}

fn question(body: ExplainBody) -> Result<proto::ExplainRequest, Problem> {
    use proto::explain_request::Question;
    let question = match body {
        ExplainBody {
            device: Some(device),
            scan_id: Some(scan_id),
            day,
            code: None,
            place: None,
            at: None,
            ..
        } => Question::Scan(proto::RecordedScan {
            device,
            scan_id,
            day: day.as_deref().map(day_number).transpose()?,
        }),
        ExplainBody {
            device: None,
            scan_id: None,
            day: None,
            code: Some(code),
            place: Some(place),
            at: Some(at),
            ..
        } => Question::Code(proto::ShownCode {
            code,
            place,
            at: instant("at", &at)?,
        }),
        _ => {
            return Err(invalid(
                "give either device and scan_id (and day), or code, place and at",
            ));
        }
    };
    Ok(proto::ExplainRequest {
        purpose: body.purpose,
        question: Some(question),
    })
}

fn day_number(text: &str) -> Result<u32, Problem> {
    let not_a_day = || invalid("day is not a date, e.g. 2026-11-24");
    let date: jiff::civil::Date = text.parse().map_err(|_| not_a_day())?;
    let start = jiff::tz::Offset::UTC
        .to_timestamp(date.at(0, 0, 0, 0))
        .map_err(|_| not_a_day())?;
    u32::try_from(start.as_second().div_euclid(DAY_SECONDS)).map_err(|_| not_a_day())
}

fn explained(answer: &proto::ExplainResponse) -> Option<ExplainAnswer<'_>> {
    let recorded = match &answer.recorded {
        None => None,
        Some(recorded) => {
            let DecidedAnswer { decision, reason } = decided(recorded.verdict.as_ref()?)?;
            Some(RecordedAnswer {
                decision,
                reason,
                at: Instant(recorded.at),
                place: &recorded.place,
                position: PositionAnswer::of(recorded.position.as_ref()?),
                age_ms: recorded.age_ms,
            })
        }
    };
    let recomputed = match &answer.recomputed {
        None => None,
        Some(verdict) => Some(decided(verdict)?),
    };
    let rests_on = answer.rests_on.iter().map(|event| {
        Some(RestingAnswer {
            position: PositionAnswer::of(event.position.as_ref()?),
            event: &event.event,
            decided_at: Instant(event.decided_at),
        })
    });
    let steps = answer.steps.iter().map(|step| StepAnswer {
        rule: &step.rule,
        check: &step.check,
        outcome: &step.outcome,
        zh: &step.zh,
        en: &step.en,
    });
    Some(ExplainAnswer {
        recorded,
        recomputed,
        agrees: answer.agrees,
        policy: answer.policy.as_ref().map(|policy| PolicyRefAnswer {
            name: &policy.name,
            digest: &policy.digest,
        }),
        rests_on: rests_on.collect::<Option<_>>()?,
        steps: steps.collect(),
        not_recomputable: &answer.not_recomputable,
    })
}

pub(super) fn decided(verdict: &proto::Verdict) -> Option<DecidedAnswer> {
    Some(DecidedAnswer {
        decision: decision(verdict.decision)?.name(),
        reason: reason(verdict.reason)?.name(),
    })
}

/// A period and the reason for looking at it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunBody {
    /// Why this is asked, without an ID or telephone number.
    #[schema(min_length = 4, max_length = 200)]
    purpose: String,
    /// Start, inclusive.
    #[schema(format = DateTime)]
    from: String,
    /// End, exclusive.
    #[schema(format = DateTime)]
    to: String,
}

/// A recorded verdict that differs from its recomputation.
#[derive(Serialize, ToSchema)]
struct DifferenceAnswer<'a> {
    device: &'a str,
    scan_id: &'a str,
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    recorded: DecidedAnswer,
    recomputed: DecidedAnswer,
    /// `altered_record`, `other_policy` or `software`.
    cause: &'a str,
}

/// Batches of scan records that do not agree with their digest in the log.
#[derive(Serialize, ToSchema)]
struct AlteredAnswer<'a> {
    /// Their day (UTC).
    #[schema(value_type = String, format = Date)]
    day: String,
    /// The process that wrote them.
    writer: &'a str,
    /// Number of the first batch of the day.
    first: u64,
    /// Number of batches.
    count: u32,
    /// Position of the digest.
    position: PositionAnswer,
}

/// A commit that is damaged, or that no correct writer appends.
#[derive(Serialize, ToSchema)]
struct UnfoldedCommitAnswer<'a> {
    /// Its position.
    position: PositionAnswer,
    /// What is wrong.
    what: &'a str,
}

/// The result of an audit.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunAnswer<'a> {
    /// Start of the period.
    #[schema(value_type = String, format = DateTime)]
    from: Instant,
    /// End of the period.
    #[schema(value_type = String, format = DateTime)]
    to: Instant,
    /// Recorded scans.
    scans: u64,
    /// How many were recomputed.
    recomputed: u64,
    /// How many of those agree.
    agree: u64,
    /// The first hundred that differ.
    differ: Vec<DifferenceAnswer<'a>>,
    /// How many differ.
    differ_total: u64,
    /// Batches whose digest is in the log and that are missing.
    missing: u64,
    /// Batches whose digest should be in the log and is not.
    extra: u64,
    /// Batches whose digest entered the log more than a minute after their newest record: after a crash or an outage of
    /// the log, or because they were added later.
    sealed_late: u64,
    /// How many were not recomputed, by reason.
    not_recomputable: BTreeMap<&'a str, u64>,
    /// Batches that were altered.
    altered: Vec<AlteredAnswer<'a>>,
    /// The first hundred commits of the log that are damaged, or that no correct writer appends. Nothing rests on them.
    log_faults: Vec<UnfoldedCommitAnswer<'a>>,
    /// How many there are.
    log_faults_total: u64,
    /// Partitions that are damaged from a position on. Verdicts that rest on them were not recomputed, and are counted as
    /// `damaged_log`.
    unaudited: Vec<UnauditedAnswer<'a>>,
}

/// A partition of the log that is damaged from a position on.
#[derive(Serialize, ToSchema)]
struct UnauditedAnswer<'a> {
    /// The first position on which nothing can be based.
    from: PositionAnswer,
    /// What is wrong there.
    why: &'a str,
}

/// Recomputes every recorded verdict of a period, and compares the scan records with their digests in the log. The answer
/// is lines of JSON: `{"progress":…}`, after each day `{"part":…}` with the result so far and the time `next` from which an
/// interrupted audit can be continued, and at the end `{"result":…}` or `{"problem":…}`.
#[utoipa::path(post, path = "/api/v1/audit/run", tag = "audit", request_body = RunBody,
    responses((status = 200, description = "Lines: progress, then `{\"result\": RunAnswer}`", body = Binary, content_type = "application/x-ndjson")))]
pub(crate) async fn run(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<RunBody>,
) -> Result<Response, Problem> {
    let message = proto::RunRequest {
        purpose: body.purpose,
        from: instant("from", &body.from)?,
        to: instant("to", &body.to)?,
    };
    let mut audit = shared.clients.audit.clone();
    let updates = audit.run(call.with(message)).await?.into_inner();
    Ok(lines(updates, |update| match update.update? {
        proto::run_response::Update::Progress(progress) => progress_line(&progress),
        proto::run_response::Update::Result(result) => line("result", &run_answer(&result)?),
        proto::run_response::Update::Part(part) => line("part", &part_answer(&part)?),
    }))
}

/// The result of the period up to the end of a day.
#[derive(Serialize)]
struct PartAnswer<'a> {
    /// Where the rest of the period begins.
    next: Instant,
    result: RunAnswer<'a>,
}

fn part_answer(part: &proto::PartResult) -> Option<PartAnswer<'_>> {
    Some(PartAnswer {
        next: Instant((i64::from(part.day) + 1) * DAY_SECONDS),
        result: run_answer(part.result.as_ref()?)?,
    })
}

fn run_answer(result: &proto::RunResult) -> Option<RunAnswer<'_>> {
    let differ = result.differ.iter().map(|difference| {
        Some(DifferenceAnswer {
            device: &difference.device,
            scan_id: &difference.scan_id,
            at: Instant(difference.at),
            recorded: decided(difference.recorded.as_ref()?)?,
            recomputed: decided(difference.recomputed.as_ref()?)?,
            cause: &difference.cause,
        })
    });
    let altered = result.altered.iter().map(|batches| {
        Some(AlteredAnswer {
            day: date(batches.day)?,
            writer: &batches.writer,
            first: batches.first,
            count: batches.count,
            position: PositionAnswer::of(batches.position.as_ref()?),
        })
    });
    let log_faults = result.log_faults.iter().map(|fault| {
        Some(UnfoldedCommitAnswer {
            position: PositionAnswer::of(fault.position.as_ref()?),
            what: &fault.what,
        })
    });
    let unaudited = result.unaudited.iter().map(|part| {
        Some(UnauditedAnswer {
            from: PositionAnswer::of(part.from.as_ref()?),
            why: &part.why,
        })
    });
    Some(RunAnswer {
        from: Instant(result.from),
        to: Instant(result.to),
        scans: result.scans,
        recomputed: result.recomputed,
        agree: result.agree,
        differ: differ.collect::<Option<_>>()?,
        differ_total: result.differ_total,
        missing: result.missing,
        extra: result.extra,
        sealed_late: result.sealed_late,
        not_recomputable: by_reason(&result.not_recomputable),
        altered: altered.collect::<Option<_>>()?,
        log_faults: log_faults.collect::<Option<_>>()?,
        log_faults_total: result.log_faults_total,
        unaudited: unaudited.collect::<Option<_>>()?,
    })
}

fn by_reason(counts: &std::collections::HashMap<String, u64>) -> BTreeMap<&str, u64> {
    counts.iter().map(|(why, count)| (why.as_str(), *count)).collect()
}

pub(super) fn date(day: u32) -> Option<String> {
    let start = jiff::Timestamp::from_second(i64::from(day) * DAY_SECONDS).ok()?;
    Some(jiff::tz::Offset::UTC.to_datetime(start).date().to_string())
}

/// Another policy, and the period whose scans it is applied to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhatIfBody {
    /// Why this is asked, without an ID or telephone number.
    #[schema(min_length = 4, max_length = 200)]
    purpose: String,
    /// The text of the other policy's file.
    policy: String,
    /// Start, inclusive.
    #[schema(format = DateTime)]
    from: String,
    /// End, exclusive.
    #[schema(format = DateTime)]
    to: String,
}

/// Scans that the other policy decides in another way.
#[derive(Serialize, ToSchema)]
struct GroupAnswer<'a> {
    /// Name of the kind; `id_card` for ID cards.
    kind: &'a str,
    /// The place.
    place: &'a str,
    /// The verdict under the policy that was used.
    from: DecidedAnswer,
    /// The verdict under the other policy.
    to: DecidedAnswer,
    /// How many; absent if the count is suppressed because it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// A difference between two policies.
#[derive(Serialize, ToSchema)]
struct PolicyDifferenceAnswer<'a> {
    /// Where it is in the policy's file.
    #[schema(example = "kinds.offline.validity")]
    path: &'a str,
    /// A sentence in Chinese.
    zh: &'a str,
    /// A sentence in English.
    en: &'a str,
}

/// What another policy would have decided.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhatIfAnswer<'a> {
    /// What the other policy changes, compared with the present one.
    differences: Vec<PolicyDifferenceAnswer<'a>>,
    /// Scans that were judged under both.
    scans: u64,
    /// How many would have been decided in another way; absent if suppressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<u64>,
    /// By kind, place and verdicts.
    by: Vec<GroupAnswer<'a>>,
    /// How many were not judged, by reason.
    not_recomputable: BTreeMap<&'a str, u64>,
}

/// Judges the recorded scans of a period under another policy. The answer is lines of JSON as of `audit/run`. Counts under
/// ten are suppressed.
#[utoipa::path(post, path = "/api/v1/audit/what-if", tag = "audit", request_body = WhatIfBody,
    responses((status = 200, description = "Lines: progress, then `{\"result\": WhatIfAnswer}`", body = Binary, content_type = "application/x-ndjson")))]
pub(crate) async fn what_if(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<WhatIfBody>,
) -> Result<Response, Problem> {
    let message = proto::WhatIfRequest {
        purpose: body.purpose,
        policy: body.policy,
        from: instant("from", &body.from)?,
        to: instant("to", &body.to)?,
    };
    let mut audit = shared.clients.audit.clone();
    let updates = audit.what_if(call.with(message)).await?.into_inner();
    Ok(lines(updates, |update| match update.update? {
        proto::what_if_response::Update::Progress(progress) => progress_line(&progress),
        proto::what_if_response::Update::Result(result) => line("result", &what_if_answer(&result)?),
    }))
}

fn what_if_answer(result: &proto::WhatIfResult) -> Option<WhatIfAnswer<'_>> {
    let by = result.by.iter().map(|group| {
        Some(GroupAnswer {
            kind: &group.kind,
            place: &group.place,
            from: decided(group.was.as_ref()?)?,
            to: decided(group.would_be.as_ref()?)?,
            count: group.count,
        })
    });
    let differences = result.differences.iter().map(|difference| PolicyDifferenceAnswer {
        path: &difference.path,
        zh: &difference.zh,
        en: &difference.en,
    });
    Some(WhatIfAnswer {
        differences: differences.collect(),
        scans: result.scans,
        changed: result.changed,
        by: by.collect::<Option<_>>()?,
        not_recomputable: by_reason(&result.not_recomputable),
    })
}

pub(super) fn progress_line(progress: &proto::AuditProgress) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Progress {
        #[serde(skip_serializing_if = "Option::is_none")]
        day: Option<String>,
        scans: u64,
        commits: u64,
    }
    let day = match progress.day {
        0 => None,
        day => Some(date(day)?),
    };
    let (scans, commits) = (progress.scans, progress.commits);
    line("progress", &Progress { day, scans, commits })
}

pub(super) fn line(name: &str, value: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(&BTreeMap::from([(name, value)])).ok()?;
    line.push(b'\n');
    Some(line)
}

/// The updates of a stream as lines; the last one is a problem if the stream fails.
pub(super) fn lines<T: Send + 'static>(
    updates: Streaming<T>,
    render: impl Fn(T) -> Option<Vec<u8>> + Send + 'static,
) -> Response {
    let lines = stream::unfold(Some((updates, render)), |state| async move {
        let (mut updates, render) = state?;
        let problem = match updates.message().await {
            Ok(None) => return None,
            Ok(Some(update)) => match render(update) {
                Some(line) => return Some((line, Some((updates, render)))),
                None => incomplete("audit"),
            },
            Err(status) => Problem::from(status),
        };
        let mut line = problem_line(&problem.of_query());
        line.push(b'\n');
        Some((line, None))
    });
    let lines = lines.map(|line| Ok::<_, Infallible>(Bytes::from(line)));
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
