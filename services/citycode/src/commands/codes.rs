//! `citycode codes`.

use clap::Args;
use serde_json::Value;

use super::assertion::Asserted;
use super::audit::PastArgs;
use super::id_number::IdNumberArg;
use super::{Session, body, maybe, number};
use citycode_terminal::failure::Failure;

/// Flags of `codes`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode codes --id-number @number.txt\n  citycode codes --id-number @number.txt --as-of 2026-05-03T08:14:00+08:00 --purpose \"complaint 17\""
)]
pub(crate) struct CodesArgs {
    /// The holder's ID number.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// The requesting channel; none for officers and admins.
    #[arg(long)]
    channel: Option<String>,
    #[command(flatten)]
    asserted: Asserted,
    #[command(flatten)]
    past: PastArgs,
}

pub(crate) async fn run(session: &Session, args: &CodesArgs) -> Result<(), Failure> {
    let body = body(&[
        ("id_number", number("--id-number", args.id_number.as_ref())?),
        ("channel", maybe(args.channel.as_ref())),
        ("authentication", args.asserted.authentication()?),
        ("as_of", args.past.as_of()),
        ("purpose", args.past.purpose()?),
    ]);
    let question = args.asserted.question_id(session);
    let answer = session.client.post("/api/v1/codes", &body, question).await?;
    print_list(
        session,
        &answer,
        "codes",
        &["code_id", "kind", "state", "issued_at", "expires_at"],
    )
    .await
}

/// Prints a list of objects with a column for each key: times in the policy's zone, a position in the log as
/// `partition/sequence`.
pub(super) async fn print_list(session: &Session, answer: &Value, key: &str, columns: &[&str]) -> Result<(), Failure> {
    let entries = answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let calendar = session.calendar().await;
    let cell = |entry: &Value, column: &str| match entry.get(column) {
        Some(Value::String(text)) if is_time(column) => calendar.local_time(text),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(position) if column == "position" => {
            let number = |part: &str| position.get(part).map(Value::to_string).unwrap_or_default();
            format!("{}/{}", number("partition"), number("sequence"))
        }
        Some(other) => other.to_string(),
    };
    let rows = entries
        .iter()
        .map(|entry| columns.iter().map(|column| cell(entry, column)).collect())
        .collect();
    session.output.list(answer, &entries, columns, rows)
}

/// Whether a column is a time, by its name in the JSON API.
fn is_time(column: &str) -> bool {
    column.ends_with("_at") || column.ends_with("_from") || column.ends_with("_until")
}
