//! `citycode issue`.

use std::path::PathBuf;

use citycode_service_kit::problem::Outcome;
use clap::Args;
use serde_json::Value;

use super::holders_code::HoldersCode;
use super::{Session, body, maybe};
use crate::phone::Phone;
use crate::picture::PictureFormat;
use citycode_terminal::failure::{EXIT_USAGE, Failure};

/// Flags of `issue`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode issue --kind offline --id-number @number.txt --channel kiosk --out code.pdf\n  citycode issue --kind live --id-number @number.txt --channel app --phone phone.json"
)]
pub(crate) struct IssueArgs {
    #[command(flatten)]
    code: HoldersCode,
    /// The file used as the phone's key store; created if absent.
    #[arg(long, value_name = "FILE")]
    phone: Option<PathBuf>,
    /// The channel has seen the disability certificate.
    #[arg(long)]
    disability: bool,
    /// The channel attests this special group of the policy.
    #[arg(long)]
    group: Option<String>,
    /// Also write a picture (.png, .svg) or a print sheet (.pdf).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(session: &Session, args: &IssueArgs) -> Result<(), Failure> {
    // The new code supersedes the old print, so everything that can fail on this machine is tried first.
    let format = args.out.as_deref().map(PictureFormat::of).transpose()?;
    let mut parts = args.code.parts()?.to_vec();
    let picture = session.prepare_picture(args.out.as_deref(), &args.code.kind).await?;
    let command_id = session.command_id();
    let phone = args.phone.as_deref().map(Phone::at);
    let key = phone
        .as_ref()
        .map(|phone| phone.key_for(command_id, &args.code.kind, &*session.entropy))
        .transpose()?;
    parts.extend([
        ("device_key", key),
        ("disability", args.disability.then_some(Value::Bool(true))),
        ("group", maybe(args.group.as_ref())),
        (
            "print",
            (format == Some(PictureFormat::Pdf)).then_some(Value::Bool(true)),
        ),
    ]);
    let issued = session
        .client
        .post("/api/v1/issue", &body(&parts), Some(command_id))
        .await;
    let code = match issued {
        Ok(code) => code,
        Err(failure) => {
            // A newly drawn command id has no earlier attempt that may have issued a code for the key.
            let key_is_unused = session.command_id.is_none() && failure.outcome() == Some(Outcome::NotDone);
            if let Some(phone) = phone.filter(|_| key_is_unused) {
                phone.forget(command_id)?;
            }
            return Err(without_phone(session, args, failure).await);
        }
    };
    let stored = phone.map_or(Ok(()), |phone| {
        let issued = super::issued(&code)?;
        phone.record_code(command_id, &issued.code_id, &issued.token)
    });
    session.deliver(&code, picture, stored).await
}

/// Replaces the failure by a better explanation if the kind needs a phone and none was named.
async fn without_phone(session: &Session, args: &IssueArgs, failure: Failure) -> Failure {
    if args.phone.is_some() || failure.exit() != EXIT_USAGE {
        return failure;
    }
    match session.policy().await {
        Ok(policy) if policy.kind(&args.code.kind).device_bound => Failure::usage(
            format_args!(
                "codes of the kind {} are bound to a phone's key, and no phone was named",
                args.code.kind
            ),
            "add --phone FILE, which is used as the phone's key store and is created if absent",
        ),
        _ => failure,
    }
}
