//! `citycode vault back-up` and `bring-back`: back up the vault to two files in the servers' format, and restore it.
//!
//! ```text
//! FOLDER/           0700, both files 0600
//!   stream.tar.s2   the sealed pages; they open with the master key at the time of the backup
//!   backup.json     the stream's configuration and state; written last, so that a folder without it is not a backup
//! ```
//! The file names are those of `nats stream backup`.

use std::path::{Path, PathBuf};

use citycode_jetstream::snapshot::Description;
use citycode_service_kit::files;
use citycode_service_kit::problem::Code;
use citycode_vault::jetstream as vault;
use clap::Args;
use serde_json::{Value, json};

use super::{settings, vault_config};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::Output;

const PAGES: &str = "stream.tar.s2";
pub(super) const DESCRIPTION: &str = "backup.json";

#[derive(Args)]
#[command(
    after_help = "The NATS user is `vault-backup` of the secrets that `citycode secrets` creates (`nkey_file` under [vault]). The vault stays sealed, so no key is needed."
)]
pub(super) struct BackUpArgs {
    /// The configuration file (TOML), in the services' format; [vault] and [log] are used.
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
    /// A folder without a backup; created if absent.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

#[derive(Args)]
#[command(
    after_help = "Run it before `citycode provision`, which creates an empty vault if there is none. Then start an issuer first: it applies again the erasures that the log recorded after the backup."
)]
pub(super) struct BringBackArgs {
    /// The configuration file (TOML), in the services' format; [vault] and [log] are used.
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of a backup.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
}

pub(super) async fn back_up(args: &BackUpArgs, output: Output) -> Result<(), Failure> {
    let config = vault_config(&settings(args.config.as_deref())?)?;
    files::create_private_dir(&args.to).map_err(|error| Failure::file("make", &args.to, error))?;
    let path = args.to.join(PAGES);
    // An existing file is not overwritten: it may be the only backup.
    files::create_private(&path, &[]).map_err(|error| Failure::file("make", &path, error))?;
    let opened = tokio::fs::OpenOptions::new().write(true).open(&path).await;
    let mut file = opened.map_err(|error| Failure::file("open", &path, error))?;
    let taken = vault::back_up(&config, &mut file).await;
    let description = taken.map_err(|error| failed("the vault was not backed up", &error))?;
    // A crash before the description is written leaves a folder that is not accepted as a backup.
    let durable = file.sync_all().await;
    durable.map_err(|error| Failure::file("write", &path, error))?;
    let text = json!({ "config": description.config, "state": description.state }).to_string();
    let file = args.to.join(DESCRIPTION);
    let written = files::create_private(&file, text.as_bytes());
    written.map_err(|error| Failure::file("write", &file, error))?;
    print(&args.to, &description, "backed up to", output)
}

pub(super) async fn bring_back(args: &BringBackArgs, output: Output) -> Result<(), Failure> {
    let config = vault_config(&settings(args.config.as_deref())?)?;
    let description = read(&args.from.join(DESCRIPTION))?;
    let path = args.from.join(PAGES);
    let opened = tokio::fs::File::open(&path).await;
    let mut file = opened.map_err(|error| Failure::file("open", &path, error))?;
    let restored = vault::bring_back(&config, &description, &mut file).await;
    restored.map_err(|error| failed("the vault was not restored", &error))?;
    print(&args.from, &description, "restored from", output)
}

pub(super) fn read(path: &Path) -> Result<Description, Failure> {
    let text = files::read_private(path).map_err(|error| Failure::file("read", path, error))?;
    let whole: Value = serde_json::from_slice(&text).map_err(|error| Failure::file("use", path, error))?;
    let part = |name: &str| {
        let part = whole[name].as_object().cloned();
        part.ok_or_else(|| Failure::file("use", path, format_args!("it has no `{name}`")))
    };
    Ok(Description {
        config: part("config")?,
        state: part("state")?,
    })
}

fn print(folder: &Path, description: &Description, what: &'static str, output: Output) -> Result<(), Failure> {
    let messages = description
        .state
        .get("messages")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let folder = folder.display().to_string();
    let whole = json!({ "folder": folder, "messages": messages });
    output.thing(&whole, &[(what, folder), ("versions of pages", messages.to_string())])
}

fn failed(what: &str, error: &vault::BackupError) -> Failure {
    let fix = "fix the cause and run it again; a folder without backup.json is not a backup and may be removed";
    Failure::of_code(Code::Unavailable, format_args!("{what}"), error, Some(fix))
}
