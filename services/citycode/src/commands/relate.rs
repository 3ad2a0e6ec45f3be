//! `citycode relate` and `citycode unrelate`.

use clap::Args;
use serde_json::Value;

use super::assertion::{Asserted, AssertionArg, authentication};
use super::id_number::IdNumberArg;
use super::{Session, body, maybe, number};
use citycode_terminal::failure::Failure;

/// The two people of a relationship.
#[derive(Args)]
struct Pair {
    /// ID number of the family member who acts.
    #[arg(long, value_name = "N, - or @FILE")]
    guardian: Option<IdNumberArg>,
    /// ID number of the relative for whom the codes are issued.
    #[arg(long, value_name = "N, - or @FILE")]
    dependent: Option<IdNumberArg>,
}

/// Flags of `relate`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode relate --guardian @mother.txt --dependent @child.txt\n  citycode relate --guardian - --dependent - < two-lines.txt\n  citycode relate --guardian @mother.txt --dependent @child.txt --channel app --guardian-assertion @mother.jwt --dependent-assertion @child.jwt"
)]
pub(crate) struct RelateArgs {
    #[command(flatten)]
    pair: Pair,
    /// The channel where both are present; none for an officer.
    #[arg(long)]
    channel: Option<String>,
    /// The identity provider's assertion about the guardian, where the policy demands one of the channel.
    #[arg(long, value_name = "- or @FILE")]
    guardian_assertion: Option<AssertionArg>,
    /// The one about the dependent.
    #[arg(long, value_name = "- or @FILE")]
    dependent_assertion: Option<AssertionArg>,
}

/// Flags of `unrelate`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode unrelate --guardian @mother.txt --dependent @child.txt\n  citycode unrelate --guardian @mother.txt --dependent @child.txt --channel app --assertion @child.jwt"
)]
pub(crate) struct UnrelateArgs {
    #[command(flatten)]
    pair: Pair,
    /// The channel through which the dependent asks; none for an officer.
    #[arg(long)]
    channel: Option<String>,
    // The assertion of the dependent, who alone ends a relationship through a channel.
    #[command(flatten)]
    asserted: Asserted,
}

impl Pair {
    /// The fields of a request's body. Reads standard input or files if the flags name them.
    fn parts(&self) -> Result<[(&'static str, Option<Value>); 2], Failure> {
        Ok([
            ("guardian", number("--guardian", self.guardian.as_ref())?),
            ("dependent", number("--dependent", self.dependent.as_ref())?),
        ])
    }
}

pub(crate) async fn relate(session: &Session, args: &RelateArgs) -> Result<(), Failure> {
    let [guardian, dependent] = args.pair.parts()?;
    let of_guardian = authentication("--guardian-assertion", args.guardian_assertion.as_ref())?;
    let of_dependent = authentication("--dependent-assertion", args.dependent_assertion.as_ref())?;
    let body = body(&[
        guardian,
        dependent,
        ("channel", maybe(args.channel.as_ref())),
        ("guardian_authentication", of_guardian),
        ("dependent_authentication", of_dependent),
    ]);
    session.change("/api/v1/relate", body, "related").await
}

pub(crate) async fn unrelate(session: &Session, args: &UnrelateArgs) -> Result<(), Failure> {
    let [guardian, dependent] = args.pair.parts()?;
    let body = body(&[
        guardian,
        dependent,
        ("channel", maybe(args.channel.as_ref())),
        ("authentication", args.asserted.authentication()?),
    ]);
    let done = "the relationship is ended, and the codes that depend on it are revoked";
    session.change("/api/v1/unrelate", body, done).await
}
