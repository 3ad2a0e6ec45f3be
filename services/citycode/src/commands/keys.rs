//! `citycode keys`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Session;
use super::codes::print_list;
use citycode_terminal::failure::Failure;

/// Flags of `keys`.
#[derive(Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// List the public keys with their validity periods.
    List,
    /// Sign with a new key from now on; the old key still verifies.
    Rotate,
    /// Mark a key compromised: it no longer signs. Codes that the log contains as issued stay valid.
    Compromise {
        /// The key's id, 8 hex digits.
        kid: String,
    },
}

pub(crate) async fn run(session: &Session, args: &KeysArgs) -> Result<(), Failure> {
    match &args.command {
        KeysCommand::List => {
            let answer = session.client.get("/api/v1/keys").await?;
            print_list(
                session,
                &answer,
                "keys",
                &["kid", "signs_from", "signs_until", "verifies_until", "compromised"],
            )
            .await
        }
        KeysCommand::Rotate => {
            session
                .change("/api/v1/keys/rotate", json!({}), "a new key signs")
                .await
        }
        KeysCommand::Compromise { kid } => {
            let well_formed = kid.len() == 8 && kid.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !well_formed {
                return Err(Failure::usage(
                    "a key's id is 8 hex digits",
                    "`citycode keys list` shows them",
                ));
            }
            session
                .change(
                    &format!("/api/v1/keys/{kid}/compromise"),
                    json!({}),
                    "marked compromised; it no longer signs",
                )
                .await
        }
    }
}
