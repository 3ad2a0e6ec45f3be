//! The rows of an export, as lines of JSON.

use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{JsonBody, Problem};
use citycode_wire::proto::audit::v1::export_response::Update;
use citycode_wire::proto::audit::v1::{self as proto, daily_count::Counted};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{date, decided, line, lines, progress_line};
use super::verify::PositionAnswer;
use crate::answer::{Binary, Instant, instant};
use crate::call::Call;
use crate::portal::SharedState;

/// A period, and the reason for looking at it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportBody {
    /// Why this is asked, without an ID or telephone number.
    #[schema(min_length = 4, max_length = 200)]
    purpose: String,
    /// Start, inclusive.
    #[schema(format = DateTime)]
    from: String,
    /// End, exclusive.
    #[schema(format = DateTime)]
    to: String,
    /// Whether small daily counts are answered too; only an admin may ask for that.
    #[serde(default)]
    exact: bool,
}

/// One event, or one of the codes that it concerns. Codes are numbers that mean something only inside one export.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventRow<'a> {
    /// Partition of its commit.
    partition: u32,
    /// Sequence of its commit in the partition.
    sequence: u64,
    /// Number of the row among those of its commit, from 0.
    ordinal: u32,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    decided_at: Instant,
    /// Type of the event.
    #[schema(example = "CodeIssued")]
    event: &'a str,
    /// Role of the caller who caused it.
    #[schema(example = "channel:kiosk")]
    actor_role: &'a str,
    /// The code that it concerns.
    code: Option<u64>,
    /// The code's kind.
    kind: Option<&'a str>,
    /// Expiry of an issued code, exclusive.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
    /// The code that an issued code supersedes.
    supersedes: Option<u64>,
}

/// One recorded verdict, and what it is recomputed to.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerdictRow<'a> {
    /// When the scan was judged.
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    /// The place.
    place: &'a str,
    /// The device.
    device: &'a str,
    /// The device's id of the scan.
    scan_id: Option<&'a str>,
    /// The code.
    code: Option<u64>,
    /// The code's kind, or `id_card`.
    kind: Option<&'a str>,
    /// The recorded decision.
    decision: &'static str,
    /// Its reason.
    reason: &'static str,
    /// The recomputed decision.
    recomputed_decision: Option<&'static str>,
    /// Its reason.
    recomputed_reason: Option<&'static str>,
    /// Whether both are the same.
    agrees: Option<bool>,
    /// Why the verdict cannot be recomputed.
    not_recomputable: Option<&'a str>,
    /// SHA-256 of the policy under which it was judged, 64 hex digits.
    policy: Option<&'a str>,
    /// Partition of the commit on which the verdict is based.
    partition: u32,
    /// Sequence of that commit.
    sequence: u64,
    /// Age of the knowledge in milliseconds.
    age_ms: u64,
}

/// How many events or verdicts of one sort there were on a day.
#[derive(Serialize, ToSchema)]
pub(crate) struct DailyRow<'a> {
    /// The day (UTC).
    #[schema(value_type = String, format = Date)]
    day: String,
    /// The type of the events; absent for verdicts.
    event: Option<&'a str>,
    /// The place of the verdicts.
    place: Option<&'a str>,
    /// The kind of code, or `id_card`.
    kind: Option<&'a str>,
    /// The recorded decision.
    decision: Option<&'static str>,
    /// Its reason.
    reason: Option<&'static str>,
    /// How many; absent if suppressed.
    count: Option<u64>,
}

/// The end of an export.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExportAnswer {
    /// Rows of events.
    events: u64,
    /// Rows of verdicts.
    verdicts: u64,
    /// Rows of daily counts.
    daily: u64,
    /// Up to where each partition of the log was read.
    read_to: Vec<PositionAnswer>,
    /// Batches of scan records that cannot be opened, so that their verdicts are missing.
    unreadable_batches: u64,
}

/// Answers the events, the verdicts and the daily counts of a period as rows. The answer is lines of JSON:
/// `{"progress":…}`, `{"events":[…]}`, `{"verdicts":[…]}`, `{"daily":[…]}`, and at the end `{"result":…}` or
/// `{"problem":…}`; without that end the rows are not complete. Daily counts under ten are suppressed.
#[utoipa::path(post, path = "/api/v1/audit/export", tag = "audit", request_body = ExportBody,
    responses((status = 200, description = "Lines: progress and rows, then `{\"result\": ExportAnswer}`", body = Binary, content_type = "application/x-ndjson")))]
pub(crate) async fn export(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<ExportBody>,
) -> Result<Response, Problem> {
    let message = proto::ExportRequest {
        purpose: body.purpose,
        from: instant("from", &body.from)?,
        to: instant("to", &body.to)?,
        exact: body.exact,
    };
    let mut audit = shared.clients.audit.clone();
    let updates = audit.export(call.with(message)).await?.into_inner();
    Ok(lines(updates, |update| match update.update? {
        Update::Progress(progress) => progress_line(&progress),
        Update::Events(events) => rows("events", &events.rows, event_row),
        Update::Verdicts(verdicts) => rows("verdicts", &verdicts.rows, verdict_row),
        Update::Daily(daily) => rows("daily", &daily.rows, daily_row),
        Update::Result(result) => line("result", &summary(&result)),
    }))
}

fn rows<'a, T, R: Serialize>(name: &str, rows: &'a [T], row: impl Fn(&'a T) -> Option<R>) -> Option<Vec<u8>> {
    line(name, &rows.iter().map(row).collect::<Option<Vec<_>>>()?)
}

/// The text unless it is empty.
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn event_row(row: &proto::ExportedEvent) -> Option<EventRow<'_>> {
    let position = row.position.as_ref()?;
    Some(EventRow {
        partition: position.partition,
        sequence: position.sequence,
        ordinal: row.ordinal,
        decided_at: Instant(row.decided_at),
        event: &row.event,
        actor_role: &row.actor_role,
        code: row.code,
        kind: some(&row.kind),
        expires_at: row.expires_at.map(Instant),
        supersedes: row.supersedes,
    })
}

fn verdict_row(row: &proto::ExportedVerdict) -> Option<VerdictRow<'_>> {
    let position = row.position.as_ref()?;
    let recorded = decided(row.recorded.as_ref()?)?;
    let recomputed = match &row.recomputed {
        None => None,
        Some(verdict) => Some(decided(verdict)?),
    };
    Some(VerdictRow {
        at: Instant(row.at),
        place: &row.place,
        device: &row.device,
        scan_id: some(&row.scan_id),
        code: row.code,
        kind: some(&row.kind),
        decision: recorded.decision,
        reason: recorded.reason,
        agrees: recomputed
            .as_ref()
            .map(|recomputed| recomputed.reason == recorded.reason),
        recomputed_decision: recomputed.as_ref().map(|recomputed| recomputed.decision),
        recomputed_reason: recomputed.as_ref().map(|recomputed| recomputed.reason),
        not_recomputable: some(&row.not_recomputable),
        policy: some(&row.policy),
        partition: position.partition,
        sequence: position.sequence,
        age_ms: row.age_ms,
    })
}

fn daily_row(row: &proto::DailyCount) -> Option<DailyRow<'_>> {
    let (event, verdict) = match row.counted.as_ref()? {
        Counted::Event(event) => (Some(event.as_str()), None),
        Counted::Verdict(verdict) => (None, Some(decided(verdict)?)),
    };
    Some(DailyRow {
        day: date(row.day)?,
        event,
        place: some(&row.place),
        kind: some(&row.kind),
        decision: verdict.as_ref().map(|verdict| verdict.decision),
        reason: verdict.as_ref().map(|verdict| verdict.reason),
        count: row.count,
    })
}

fn summary(summary: &proto::ExportSummary) -> ExportAnswer {
    ExportAnswer {
        events: summary.events,
        verdicts: summary.verdicts,
        daily: summary.daily,
        read_to: summary.read_to.iter().map(PositionAnswer::of).collect(),
        unreadable_batches: summary.unreadable_batches,
    }
}
