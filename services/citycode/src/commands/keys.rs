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
    act: KeysAct,
}

#[derive(Subcommand)]
enum KeysAct {
    /// List the public keys with their windows.
    List,
    /// A new key signs from now on; the old one goes on verifying.
    Rotate,
    /// Mark a key compromised: it signs no more. What the log knows as issued stays valid.
    Compromise {
        /// The key's id, 8 hex digits.
        kid: String,
    },
}

pub(crate) async fn run(session: &Session, args: &KeysArgs) -> Result<(), Failure> {
    match &args.act {
        KeysAct::List => {
            let answer = session.client.get("/api/v1/keys").await?;
            print_list(
                session,
                &answer,
                "keys",
                &["kid", "signs_from", "signs_until", "verifies_until", "compromised"],
            )
            .await
        }
        KeysAct::Rotate => {
            session
                .change("/api/v1/keys/rotate", json!({}), "a new key signs")
                .await
        }
        KeysAct::Compromise { kid } => {
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
                    "marked compromised; it signs no more",
                )
                .await
        }
    }
}
