//! `citycode vault`: operations on the vault on NATS servers.

mod backup;
mod import;
mod unknown;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_service_kit::clock::Clock;
use citycode_service_kit::config::{self, Sources};
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::files;
use citycode_service_kit::problem::Code;
use citycode_vault::jetstream::{JetStreamVault, VaultConfig, VaultKey, VaultKeys};
use clap::{Args, Subcommand};
use serde_json::json;

use citycode_runtime::distributed::ServiceSettings;
use citycode_runtime::wiring::StartError;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Output, progress};

/// The client name in the servers' monitoring.
const CLIENT: &str = "citycode vault";

/// Flags of `vault`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode vault rotate-master --config /etc/citycode/vault.toml\n  citycode vault back-up --config /etc/citycode/vault-backup.toml --to /backup/vault-2026-11-25\n  citycode vault bring-back --config /etc/citycode/vault-backup.toml --from /backup/vault-2026-11-25\n  citycode vault import --config /etc/citycode/vault.toml --from /var/lib/citycode"
)]
pub struct VaultArgs {
    #[command(subcommand)]
    command: VaultCommand,
}

#[derive(Subcommand)]
enum VaultCommand {
    /// Replace the master key: every page is rewritten under the next one.
    RotateMaster(RotateArgs),
    /// Copy the sealed vault from its servers into a new folder; it may be in use meanwhile.
    BackUp(backup::BackUpArgs),
    /// Restore the vault from a backup to servers without one.
    BringBack(backup::BringBackArgs),
    /// After a restore: suspend the codes of holders who are not in the vault. No issuer may run.
    SuspendUnknown(unknown::UnknownArgs),
    /// Import all people from the data folder of a `citycode up` whose log was moved to the servers.
    Import(import::ImportArgs),
}

#[derive(Args)]
#[command(
    after_help = "Before: run `citycode secrets --next-master`, give every service its `vault-….next.key` next to its current key, and restart the services.\nThe folder `keys` of the configuration contains vault-master.key and vault-master.next.key; the NATS user is `vault-issuer`.\nIf it is interrupted, run it again: it continues. After: rename each .next.key to replace the current key, and restart the services."
)]
struct RotateArgs {
    /// The configuration file (TOML), in the services' format.
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs a command on the vault.
///
/// # Errors
/// [`Failure`] with advice.
pub async fn run(
    args: &VaultArgs,
    output: Output,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(), Failure> {
    match &args.command {
        VaultCommand::SuspendUnknown(args) => unknown::run(args, output, clock, entropy).await,
        VaultCommand::RotateMaster(args) => rotate(args, output, entropy).await,
        VaultCommand::BackUp(args) => backup::back_up(args, output).await,
        VaultCommand::BringBack(args) => backup::bring_back(args, output).await,
        VaultCommand::Import(args) => import::run(args, output, entropy).await,
    }
}

fn settings(file: Option<&Path>) -> Result<ServiceSettings, Failure> {
    let settings = config::load::<ServiceSettings>(&Sources::from_process(file.map(Path::to_owned)));
    settings.map_err(|error| StartError::Config(error).into_failure())
}

fn vault_config(settings: &ServiceSettings) -> Result<VaultConfig, Failure> {
    let servers = settings.vault();
    Ok(VaultConfig {
        connection: servers.connection(CLIENT).map_err(StartError::into_failure)?,
        replicas: servers.replicas(),
        expected_log_id: None,
        replaced_by: None,
    })
}

async fn rotate(args: &RotateArgs, output: Output, entropy: &Arc<dyn Entropy>) -> Result<(), Failure> {
    let settings = settings(args.config.as_deref())?;
    let folder = settings.keys.as_ref();
    let folder = folder.ok_or_else(|| not_rotated("the folder of the keys is not configured", "name it in `keys`"))?;
    let key = |name: &str| {
        let path = folder.join(name);
        let key = files::read_secret(&path).map_err(|error| Failure::file("read", &path, error))?;
        Ok::<_, Failure>(VaultKey::Master(key))
    };
    let keys = VaultKeys {
        current: key("vault-master.key")?,
        next: Some(key("vault-master.next.key")?),
    };
    let config = vault_config(&settings)?;
    let entropy = Arc::clone(entropy);
    let random: citycode_vault::FillRandom = Arc::new(move |bytes| entropy.fill(bytes));
    let vault = JetStreamVault::open(&config, &keys, random).await;
    let vault = vault.map_err(|error| not_rotated(error, "fix the cause and run it again"))?;
    let bar = progress(vault.pages(), "pages");
    let counted = bar.clone();
    let rotated = vault.rotate(move || counted.inc(1)).await;
    let written = rotated.map_err(|error| not_rotated(error, "run it again: it continues where it stopped"))?;
    bar.finish_and_clear();
    let whole = json!({ "pages": vault.pages(), "written_anew": written });
    let facts = [
        ("pages", vault.pages().to_string()),
        ("rewritten", written.to_string()),
        (
            "next step",
            "rename each .next.key to replace the current key, and restart the services".to_owned(),
        ),
    ];
    output.thing(&whole, &facts)
}

fn not_rotated(why: impl std::fmt::Display, what_to_do: &str) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        format_args!("the master key was not replaced on every page"),
        why,
        Some(what_to_do),
    )
}
