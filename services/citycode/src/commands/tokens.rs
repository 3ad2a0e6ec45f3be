//! `citycode tokens`: access tokens for trials, of the authority of the machine that runs `up`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::codes::print_list;
use super::{Session, body, maybe};
use citycode_terminal::failure::Failure;

/// Flags of `tokens`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode tokens issue --role verifier:sentinel,staffed:gate-7 --for 8h > gate-7.token\n  citycode tokens issue --role channel:kiosk --role officer --for 30m --subject desk-3 --output json\n  citycode tokens revoke 0123456789abcdef\n\nRoles: channel:NAME, officer, health_authority, verifier:PLACE[,PLACE]:DEVICE, auditor. Never admin, at most 24 hours.\nOnly where `up` runs, by the user who runs it."
)]
pub(crate) struct TokensArgs {
    #[command(subcommand)]
    act: TokensAct,
}

#[derive(Subcommand)]
enum TokensAct {
    /// Issue a token; a table shows it alone on standard output.
    Issue(IssueTokenArgs),
    /// List the tokens that have not expired.
    List,
    /// Revoke a token: it is refused from now on, and its open streams end.
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
    /// How long it lives, e.g. 8h, 30m, 1h30m; at most 24h.
    #[arg(long = "for", value_name = "DURATION")]
    lifetime: jiff::SignedDuration,
    /// Whom it is for; one is made up without it.
    #[arg(long)]
    subject: Option<String>,
    /// The bearer reads ID cards: `verify --id-card`.
    #[arg(long)]
    card_reader: bool,
}

pub(crate) async fn run(session: &Session, args: &TokensArgs) -> Result<(), Failure> {
    match &args.act {
        TokensAct::Issue(args) => issue(session, args).await,
        TokensAct::List => {
            let answer = session.client.get("/api/v1/tokens").await?;
            let columns = ["id", "subject", "roles", "issued_at", "expires_at", "revoked_at"];
            print_list(session, &answer, "tokens", &columns).await
        }
        TokensAct::Revoke { id } => {
            let well_formed = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !well_formed {
                return Err(Failure::usage(
                    "a token's id is 16 hex digits",
                    "`citycode tokens list` shows them",
                ));
            }
            let path = format!("/api/v1/tokens/{}/revoke", id.to_ascii_lowercase());
            session.change(&path, json!({}), "revoked; its open streams end").await
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
    // Alone on standard output, so that it goes into a file as it is.
    session.output.lines(text("token"))
}
