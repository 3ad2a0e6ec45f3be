//! `citycode audit queries`.

use clap::Args;
use serde_json::{Value, json};

use super::assertion::Asserted;
use super::audit::Purpose;
use super::codes::print_list;
use super::id_number::IdNumberArg;
use super::{Session, body, maybe, maybe_number, text};
use citycode_terminal::failure::Failure;

/// Flags of `audit queries`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode audit queries\n  citycode audit queries --about @number.txt --purpose \"request for access 12\"\n\nFor the role privacy. The look at the stream is itself recorded. --about shows dates and purposes, not who asked."
)]
pub(super) struct QueriesArgs {
    /// Only the queries about the person with this ID number.
    #[arg(long, value_name = "N, - or @FILE")]
    about: Option<IdNumberArg>,
    /// The channel through which the person asks; none for a privacy officer.
    #[arg(long, requires = "about")]
    channel: Option<String>,
    /// The first sequence.
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "about")]
    from: Option<u64>,
    #[command(flatten)]
    asserted: Asserted,
    #[command(flatten)]
    purpose: Purpose,
}

pub(super) async fn run(session: &Session, args: &QueriesArgs) -> Result<(), Failure> {
    if args.about.is_some() {
        return about(session, args).await;
    }
    let (mut entries, mut from) = (Vec::new(), args.from);
    let mut answer;
    loop {
        let request = body(&[
            ("purpose", maybe(args.purpose.given())),
            ("from", from.map(Value::from)),
        ]);
        answer = session.client.post("/api/v1/audit/queries", &request, None).await?;
        if let Some(Value::Array(more)) = answer.get_mut("queries").map(Value::take) {
            entries.extend(more);
        }
        from = answer.get("next").and_then(Value::as_u64);
        if from.is_none() {
            break;
        }
    }
    let answer = json!({ "queries": entries });
    let columns = ["sequence", "asked_at", "asker", "kind", "rows", "person", "purpose"];
    print_list(session, &answer, "queries", &columns).await
}

async fn about(session: &Session, args: &QueriesArgs) -> Result<(), Failure> {
    let purpose = match args.channel {
        Some(_) => maybe(args.purpose.given()),
        None => text(&args.purpose.get()?),
    };
    let request = body(&[
        ("id_number", maybe_number("--about", args.about.as_ref())?),
        ("purpose", purpose),
        ("channel", maybe(args.channel.as_ref())),
        ("authentication", args.asserted.authentication()?),
    ]);
    let question = args.asserted.question_id(session);
    let answer = session
        .client
        .post("/api/v1/audit/queries/about", &request, question)
        .await?;
    print_list(session, &answer, "queries", &["date", "kind", "purpose"]).await
}
