//! `citycode tokens`: access tokens for trials, issued by the authority of the machine that runs `up`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::codes::print_list;
use super::{Session, body, maybe};
use citycode_terminal::failure::Failure;

/// Flags of `tokens`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode tokens issue --role verifier:sentinel,staffed:gate-7 --for 8h > gate-7.token\n  citycode tokens issue --role channel:kiosk --role officer --for 30m --subject desk-3 --output json\n  citycode tokens revoke 0123456789abcdef\n\nRoles: channel:NAME, officer, health_authority, verifier:PLACE[,PLACE]:DEVICE, auditor, privacy. Never admin, at most 24 hours.\nAvailable only on the machine where `up` runs, to the user who runs it."
)]
pub(crate) struct TokensArgs {
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Subcommand)]
enum TokensCommand {
    /// Issue a token; with table output, standard output is the token alone.
    Issue(IssueTokenArgs),
    /// List the tokens that have not expired.
    List,
    /// Revoke a token: it is refused from now on, and its open streams are closed.
    Revoke {
        /// The token's id, 16 hex digits; `citycode tokens list` shows it.
        id: String,
    },
}

#[derive(Args)]
struct IssueTokenArgs {
    /// A role; may be given several times.
    #[arg(long, required = true)]
    role: Vec<String>,
    /// Validity period, e.g. 8h, 30m, 1h30m; at most 24h.
    #[arg(long = "for", value_name = "DURATION")]
    lifetime: jiff::SignedDuration,
    /// The subject; default: a generated one.
    #[arg(long)]
    subject: Option<String>,
    /// The bearer reads ID cards: `verify --id-card`.
    #[arg(long)]
    card_reader: bool,
}

pub(crate) async fn run(session: &Session, args: &TokensArgs) -> Result<(), Failure> {
    match &args.command {
        TokensCommand::Issue(args) => issue(session, args).await,
        TokensCommand::List => {
            let answer = session.client.get("/api/v1/tokens").await?;
            let columns = ["id", "subject", "roles", "issued_at", "expires_at", "revoked_at"];
            print_list(session, &answer, "tokens", &columns).await
        }
        TokensCommand::Revoke { id } => {
            let well_formed = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !well_formed {
                return Err(Failure::usage(
                    "a token's id is 16 hex digits",
                    "`citycode tokens list` shows them",
                ));
            }
            let path = format!("/api/v1/tokens/{}/revoke", id.to_ascii_lowercase());
            session
                .change(&path, json!({}), "revoked; its open streams are closed")
                .await
        }
    }
}

async fn issue(session: &Session, args: &IssueTokenArgs) -> Result<(), Failure> {
    let request = body(&[
        ("roles", Some(json!(args.role))),
        ("lifetime_seconds", Some(json!(args.lifetime.as_secs()))),
        ("subject", maybe(args.subject.as_ref())),
        ("card_reader", args.card_reader.then_some(Value::Bool(true))),
    ]);
    let answer = session.client.post("/api/v1/tokens", &request, None).await?;
    if session.output.format != citycode_terminal::output::Format::Table {
        return session.output.object(&answer);
    }
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    citycode_terminal::output::note(format_args!(
        "token {} for {} until {}",
        text("id"),
        text("subject"),
        session.calendar().await.local_time(text("expires_at"))
    ));
    // The token is alone on standard output, so that it can be redirected into a token file.
    session.output.lines(text("token"))
}
